"""Matomo in the lab: its tables in each version's shape, rows in them, and its archiver as real processes."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from . import archiving, matomo_tables, processes, run
from .mariadb import MariaDb
from .waiting import wait_until

VERSIONS = matomo_tables.VERSIONS
CONSOLE = Path(__file__).with_name("console")
END_SECONDS = 60.0
MARK = "LAB_ARCHIVER"

TIME_ZONES = ("UTC", "America/New_York", "Asia/Karachi")


def create_tables(
    server: MariaDb, database: str, *, version: str = "5.3", prefix: str = "matomo_", upgraded: bool = False
) -> None:
    """Create the tables of a Matomo of this version (`VERSIONS`), with the three sites 1, 2 and 3."""
    with server.connect(database) as connection, connection.cursor() as cursor:
        for statement in matomo_tables.statements(version, prefix=prefix, upgraded=upgraded):
            cursor.execute(statement)
        for zone in TIME_ZONES:
            cursor.execute(f"INSERT INTO `{prefix}site` (name, timezone) VALUES (%s, %s)", (zone, zone))


def upgrade_to_5_3(server: MariaDb, database: str, prefix: str = "matomo_") -> None:
    """Do to the table what Matomo's update to 5.3.0-b1 does."""
    server.sql(matomo_tables.UPDATE_5_3.format(prefix=prefix), database=database)


def insert_rows(server: MariaDb, database: str, *rows: Mapping[str, object], prefix: str = "matomo_") -> list[int]:
    """Insert invalidations and return their ids; what a row does not say is a waiting day of site 1.

    Each day is one earlier than the row's before it, from yesterday on, and invalidated just now. A timedelta for
    `ts_invalidated` or `ts_started` means that long ago, on the server's clock and in the column's own time zone.
    """
    ids = []
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT UTC_DATE()")
        (today,) = cursor.fetchone() or (date.min,)
        for days, row in enumerate(rows, start=1):
            day = today - timedelta(days=days)
            values: dict[str, object] = {
                "name": "done",
                "idsite": 1,
                "date1": row.get("date2", day),
                "date2": row.get("date1", day),
                "period": 1,
                "ts_invalidated": timedelta(0),
                **row,
            }
            marks = ", ".join(_mark(column, value) for column, value in values.items())
            cursor.execute(
                f"INSERT INTO `{prefix}archive_invalidations` ({', '.join(values)}) VALUES ({marks})",
                [value.total_seconds() if isinstance(value, timedelta) else value for value in values.values()],
            )
            ids.append(cursor.lastrowid)
    return ids


def _mark(column: str, value: object) -> str:
    if not isinstance(value, timedelta):
        return "%s"
    # UTC is what Matomo writes to ts_invalidated, the session's zone to ts_started
    return (
        "UTC_TIMESTAMP() - INTERVAL %s SECOND" if column == "ts_invalidated" else "FROM_UNIXTIME(UNIX_TIMESTAMP() - %s)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveWorker:
    """A process that builds one archive: `console climulti:request …`."""

    process: processes.Process
    argv: tuple[str, ...]

    def kill(self) -> None:
        """Kill it with SIGKILL, as the kernel does when memory runs out."""
        self.process.send(signal.SIGKILL)

    def finish(self) -> None:
        """Let it end its work now, with success, instead of when its time is over; AssertionError if it is done."""
        is_at_work = self.process.now() is not None and self.process.catches(archiving.FINISH)
        assert is_at_work, f"worker {self.process.pid} is not at work any more"
        self.process.send(archiving.FINISH)


class Archiver:
    """One run of `core:archive`, in a process group of its own, as cron starts it.

    `with Archiver(url) as archiver:` starts it, and kills what is left of it and of its workers. `url` is SQLAlchemy's,
    of an account that may do all to the database. `work_seconds` is how long each archive takes unless it is finished
    by hand. Started elsewhere, on a host of the lab for one, it takes `command` and `environment`.
    """

    def __init__(
        self,
        url: str,
        *,
        work_seconds: float = 0.05,
        concurrent_requests: int = 3,
        recovery_after: timedelta = timedelta(days=1),
        prefix: str = "matomo_",
    ) -> None:
        self._mark = secrets.token_hex(8)
        self._folder = run.scratch("archiver")
        self.command = [sys.executable, str(CONSOLE), "core:archive", "--url=http://127.0.0.1/"]
        if concurrent_requests != 3:
            self.command.append(f"{archiving.CONCURRENT}{concurrent_requests}")
        self.environment = {
            archiving.URL: url,
            archiving.PREFIX: prefix,
            archiving.WORK_SECONDS: str(work_seconds),
            archiving.RECOVERY_SECONDS: str(recovery_after.total_seconds()),
            archiving.FOLDER: str(self._folder),
            MARK: self._mark,
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid it records in its rows, also after it has ended."""
        return self._started.pid

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def start(self) -> None:
        """Start it; its rows are claimed a quarter of a second later."""
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def workers(self) -> list[ArchiveWorker]:
        """Return its workers that are at work, also those it has left behind.

        One that has not begun is not shown: killed that early, its parent misses it only after 8 s.
        """
        found = [ArchiveWorker(process=process, argv=process.argv()) for process in self._family()]
        return [
            worker for worker in found if "climulti:request" in worker.argv and worker.process.catches(archiving.FINISH)
        ]

    def wait(self, within: float = END_SECONDS) -> int:
        """Wait until it has ended by itself and return its exit code; negative if a signal ended it."""
        return self._started.wait(within)

    def stop(self) -> int:
        """Stop it as systemd would, by SIGTERM, and return its exit code; its workers go on."""
        self._started.terminate()
        return self.wait()

    def kill(self, *, group: bool = False) -> None:
        """Kill it with SIGKILL: alone, so that its workers go on, or with its process group."""
        if group:
            wait_until(self._kill_family, within=END_SECONDS, what="the archiver and its workers are dead")
        self._started.kill()
        self.wait()

    def freeze(self) -> None:
        """Stop it and its workers in mid-work."""
        wait_until(self._freeze_family, within=END_SECONDS, what="the archiver and its workers are frozen")

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._family():
            process.send(signal.SIGCONT)

    def close(self) -> None:
        """Kill what is left of it and of its workers, and remove its files."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(END_SECONDS)
        wait_until(self._kill_family, within=END_SECONDS, what="the archiver's workers are dead")
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        assert self._child is not None, "never started"
        return self._child

    def _family(self) -> list[processes.Process]:
        return processes.marked(MARK, self._mark)

    def _freeze_family(self) -> bool:
        family = self._family()
        for process in family:
            process.send(signal.SIGSTOP)
        return all(process.state in "Tt" for process in family)

    def _kill_family(self) -> bool:
        family = self._family()
        for process in family:
            process.send(signal.SIGKILL)
        return not family
