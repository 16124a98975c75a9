"""Meltano in the lab: the real program, in a project of the test's own, on SQLite or PostgreSQL.

`meltano run tap-lab target-lab` in the environment `dev` makes the state ID `dev:tap-lab-to-target-lab`. A run is in
the database 2 to 3 s after its start. SIGKILL ends Meltano and leaves its plugins to pid 1 (4.4.1): the tap dies of
the broken pipe when it writes next, the target of the end of its input. Nothing connects anywhere: telemetry is off,
and so is 4.x's question for a newer version (core/version_check.py).
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import yaml

from . import processes, releases, run, singer
from .waiting import wait_until

STATE_ID = "dev:tap-lab-to-target-lab"
MARK = "LAB_MELTANO"
START_SECONDS = 60.0
END_SECONDS = 60.0
GAP_POLL_SECONDS = 0.001
COLUMNS = "id, job_name, state, started_at, ended_at, payload, run_id, last_heartbeat_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of `runs`; times are UTC, `run_id` is as the driver gives it: 32 hex digits on SQLite."""

    id: int
    job_name: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    payload: Any
    run_id: str
    heartbeat_at: datetime | None


class Run:
    """A `meltano` process, and its plugins as far as they live."""

    def __init__(self, child: "subprocess.Popen[bytes]", mark: str, log: Path) -> None:
        self._child = child
        self._mark = mark
        self._log = log

    @property
    def pid(self) -> int:
        """The pid of Meltano itself, also after it has ended."""
        return self._child.pid

    @property
    def output(self) -> str:
        """What Meltano has printed."""
        return self._log.read_text(errors="replace")

    def plugins(self) -> list[processes.Process]:
        """Return the tap and the target, also those that Meltano has left behind."""
        return [process for process in processes.marked(MARK, self._mark) if process.pid != self.pid]

    def wait(self, within: float = END_SECONDS) -> int:
        """Wait until Meltano has ended by itself and return its exit code; negative if a signal ended it."""
        return self._child.wait(within)

    def kill(self) -> None:
        """Kill Meltano alone with SIGKILL, as the kernel does when memory runs out."""
        self._child.kill()
        self.wait()

    def close(self) -> None:
        """Kill what is left of Meltano and its plugins."""
        self.kill()
        wait_until(self._kill_plugins, within=END_SECONDS, what="the plugins of Meltano are dead")

    def _kill_plugins(self) -> bool:
        plugins = self.plugins()
        for process in plugins:
            process.send(signal.SIGKILL)
        return not plugins


class Project:
    """A project folder; `database_url` is SQLAlchemy's, of an empty database, else a file in the project's folder."""

    def __init__(self, version: str = releases.NEWEST, *, database_url: str | None = None) -> None:
        self._program = releases.meltano(version)
        self._url = database_url
        self.folder = run.scratch("meltano")
        (self.folder / "meltano.yml").write_text(yaml.safe_dump(_meltano_yml(database_url), sort_keys=False))
        for plugin in ("tap", "target"):
            file = self.folder / f"{plugin}.sh"
            file.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, singer.__file__, plugin])}\n")
            file.chmod(0o755)

    @property
    def database_file(self) -> Path:
        """Where the system database is, if nothing else is said (4.4.1, core/bundle/settings.yml `database_uri`)."""
        return self.folder / ".meltano" / "meltano.db"

    @contextmanager
    def run(self, *, seconds: int = 60, end: str = "ok", force: bool = False) -> Iterator[Run]:
        """Start `meltano run` whose tap works so long and comes to this end (`singer.ENDS`); kill what is left."""
        options = ["--force"] if force else []
        with self._started("run", *options, "tap-lab", "target-lab", seconds=seconds, end=end) as started:
            yield started

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of Meltano to its end; return its exit code and what it printed."""
        with self._started(*arguments, seconds=0, end="ok") as started:
            return started.wait(), started.output

    def begun(self) -> Row:
        """Wait until a run is in the database, and return it."""
        return wait_until(
            lambda: next((row for row in self.runs() if row.state == "RUNNING"), None),
            within=START_SECONDS,
            what="a run has begun",
        )

    def runs(self) -> list[Row]:
        """Return all rows of `runs`, the newest first."""
        return [_row(values) for values in self.sql(f"SELECT {COLUMNS} FROM runs ORDER BY id DESC")]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the system database and commit it."""
        with self._connected() as connection:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return rows

    def kill_in_gap(self, attempts: int = 20) -> Row:
        """Kill a run after it is in the database and before its first heartbeat, and return its row.

        In 3.6.0 the gap is 16 to 116 ms wide. What a miss leaves is deleted.
        """
        for _ in range(attempts):
            with self.run() as started:
                self._wait_for_row(started)
                started.kill()
            [row, *_rest] = self.runs()
            if row.heartbeat_at is None:
                return row
            self.sql(f"DELETE FROM runs WHERE id = {row.id}")
        raise AssertionError(f"no run was killed in the gap before its first heartbeat in {attempts} attempts")

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def _wait_for_row(self, started: Run) -> None:
        """Wait for a RUNNING row, asking a thousand times a second on one connection."""
        wait_until(lambda: "is active" in started.output, within=START_SECONDS, what="Meltano is at work")
        wait_until(lambda: self.sql("SELECT 1 FROM runs LIMIT 0") == [], within=START_SECONDS, what="runs is there")
        deadline = time.monotonic() + START_SECONDS
        with self._connected() as connection:
            while not connection.execute("SELECT 1 FROM runs WHERE state = 'RUNNING'").fetchall():
                connection.rollback()
                assert time.monotonic() < deadline, started.output
                time.sleep(GAP_POLL_SECONDS)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        if self._url is None:
            location = f"file:{self.database_file}?mode=rw"
            with closing(sqlite3.connect(location, uri=True, timeout=10)) as connection:
                yield connection
        else:
            with psycopg.connect(self._url.replace("+psycopg", ""), connect_timeout=5) as session:
                yield session

    @contextmanager
    def _started(self, *arguments: str, seconds: int, end: str) -> Iterator[Run]:
        assert end in singer.ENDS, end
        mark = secrets.token_hex(8)
        log = self.folder / f"{mark}.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MELTANO_")},
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
            "XDG_STATE_HOME": str(self.folder / ".state"),
            "NO_COLOR": "1",
            singer.SECONDS: str(seconds),
            singer.END: end,
            MARK: mark,
        }
        with log.open("wb") as output:
            child = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        started = Run(child, mark, log)
        try:
            yield started
        finally:
            started.close()


def _meltano_yml(database_url: str | None) -> dict[str, Any]:
    tap = {"name": "tap-lab", "namespace": "tap_lab", "executable": "./tap.sh", "capabilities": ["state"]}
    target = {"name": "target-lab", "namespace": "target_lab", "executable": "./target.sh"}
    return {
        "default_environment": "dev",
        "project_id": "00000000-0000-4000-8000-000000000000",
        "send_anonymous_usage_stats": False,
        **({"database_uri": database_url} if database_url else {}),
        "environments": [{"name": "dev"}],
        "plugins": {"extractors": [tap], "loaders": [target]},
    }


def _row(values: tuple[Any, ...]) -> Row:
    number, job_name, state, started_at, ended_at, payload, run_id, heartbeat_at = values
    return Row(
        id=number,
        job_name=job_name,
        state=state,
        started_at=_utc(started_at) or datetime.min.replace(tzinfo=UTC),
        ended_at=_utc(ended_at),
        payload=json.loads(payload),
        run_id=str(run_id),
        heartbeat_at=_utc(heartbeat_at),
    )


def _utc(value: str | datetime | None) -> datetime | None:
    """Read what Meltano writes: UTC without a zone, as text on SQLite."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if value is not None else None
