"""A table with a job whose worker is dead, one whose worker lives, and one that waits, on every database.

The database itself counts how often each job is put back, by a trigger.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.builders import a_process
from tests.lab import queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.watchdog import HEALING, PlayedHost, Watchdog, machine_id_of

from .benches import MariaDbBench, PostgresBench, SqliteBench, TableBench

HOST, DEAD_PID, LIVE_PID = "web1", 100, 200
BACK = {"busy": 0, "begun": None, "host": None, "pid": None}
GRANTS = ("SELECT ON jobs", "UPDATE (busy, begun, host, pid) ON jobs")
COLUMNS = {"id": "id", "kind": "kind", "enqueued_at": "made", "started_at": "begun", "host": "host", "pid": "pid"}
SYSTEMS = ("sqlite", "mariadb", "postgresql")
COUNTED = "CREATE TABLE resets (job BIGINT)"
ON_UPDATE = "CREATE TRIGGER counting AFTER UPDATE ON jobs"
IS_RESET = "OLD.busy = 1 AND NEW.busy = 0"
FUNCTION = """
CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$BEGIN INSERT INTO resets VALUES (OLD.id); RETURN NULL; END$$
"""
COUNTING: Mapping[str, tuple[str, ...]] = {
    "sqlite": (COUNTED, f"{ON_UPDATE} WHEN {IS_RESET} BEGIN INSERT INTO resets VALUES (OLD.id); END"),
    "mariadb": (COUNTED, f"{ON_UPDATE} FOR EACH ROW INSERT INTO resets SELECT OLD.id FROM DUAL WHERE {IS_RESET}"),
    "postgresql": (COUNTED, FUNCTION, f"{ON_UPDATE} FOR EACH ROW WHEN ({IS_RESET}) EXECUTE FUNCTION counted()"),
}

Rows = dict[str, tuple[object, ...]]


class HealingBench:
    """One such table, with the configuration of the program for it."""

    def __init__(self, system: str, table: TableBench, folder: Path, *, ledger: str, write_url: str | None) -> None:
        self.table, self.folder, self.ledger, self.write_url = table, folder, ledger, write_url
        self.databases: frozenset[str] = frozenset()
        for statement in COUNTING[system]:
            self.table.sql(statement)
        self.start()
        self.table.enqueue()

    def start(self, *, host: str = HOST, pid: str = str(LIVE_PID)) -> str:
        """Add a job that a worker has, unless told otherwise the one that lives."""
        (job,) = self.table.enqueue()
        self.table.start(job, host=host, pid=pid, ago="5m")
        return job

    def kill(self, number: int = 1) -> list[str]:
        """Add jobs of a worker that is dead."""
        return [self.start(pid=str(DEAD_PID)) for _ in range(number)]

    def write_config(
        self,
        *,
        write_url: str | None = None,
        changes: Mapping[str, Any] = MappingProxyType({}),
        more_hosts: Mapping[str, Any] = MappingProxyType({}),
        **healing: Any,
    ) -> Path:
        """Write the configuration; `changes` are of the queue's section."""
        found = {"write_url": write_url or self.write_url, "reset": BACK, **HEALING, **healing}
        assert self.table.options.url is not None
        section = {
            "system": "table",
            "url": self.table.options.url.render_as_string(hide_password=False),
            "from": "jobs",
            "columns": COLUMNS,
            "waiting_when": "busy = 0",
            "started_when": "busy = 1",
            "worker": {"command": ["*console", "core:archive"]},
            "poll_every": "1s",
            "poll_timeout": "2s",
            "max_duty": 1,
            "healing": {key: value for key, value in found.items() if value is not None},
            **changes,
        }
        hosts = {HOST: {"via": "local", "machine_id": machine_id_of(HOST)}, **more_hosts}
        return queuemedic.write_config(self.folder, {"q": section}, hosts=hosts, ledger=self.ledger)

    def rows(self) -> Rows:
        """Return all jobs."""
        return {str(row[0]): row for row in self.table.sql("SELECT id, kind, made, busy, begun, host, pid FROM jobs")}

    def resets(self) -> Counter[str]:
        """Count, for each job, how often the database has put it back."""
        return Counter(str(job) for (job,) in self.table.sql("SELECT job FROM resets"))

    def put_back(self, before: Rows, jobs: list[str]) -> Rows:
        """Return what all jobs are once these were put back, and nothing else was done."""
        return {job: (*row[:3], 0, None, None, None) if job in jobs else row for job, row in before.items()}


def played_host() -> PlayedHost:
    """Return the host, on which one of the workers lives."""
    host = PlayedHost(HOST)
    host.processes = {LIVE_PID: a_process(LIVE_PID)}
    return host


def watch(config: Path) -> Watchdog:
    """Begin a run of the program beside the one host."""
    return Watchdog(config, {HOST: played_host()})


def on_sqlite(folder: Path, *, ledger: Path | None = None) -> HealingBench:
    """Make one on SQLite, in a folder that may not be there yet."""
    folder.mkdir(exist_ok=True)
    url = f"sqlite:///{ledger or folder / 'ledger.db'}"
    return HealingBench("sqlite", SqliteBench(folder), folder, ledger=url, write_url=None)


@contextmanager
def on_server(server: MariaDb | Postgres, folder: Path, *, has_ledger: bool = True) -> Iterator[HealingBench]:
    """Make one on a server; its ledger is there, too, in a database of its own, or else a file."""
    folder.mkdir(exist_ok=True)
    system, make = ("mariadb", MariaDbBench) if isinstance(server, MariaDb) else ("postgresql", PostgresBench)
    with ExitStack() as undo:
        name, ledger = undo.enter_context(server.database()), f"sqlite:///{folder / 'ledger.db'}"
        databases = {name}
        if has_ledger:
            ledger_name = undo.enter_context(server.database())
            ledger = server.root_url(ledger_name)
            databases.add(ledger_name)
        table: TableBench = make(server, name)
        bench = HealingBench(system, table, folder, ledger=ledger, write_url=server.account(name, GRANTS))
        bench.databases = frozenset(databases)
        yield bench


@contextmanager
def opened(system: str, request: pytest.FixtureRequest) -> Iterator[HealingBench]:
    """Make one on the run's server of a system."""
    folder: Path = request.getfixturevalue("tmp_path")
    if system == "sqlite":
        yield on_sqlite(folder)
    else:
        server = request.getfixturevalue("mariadb" if system == "mariadb" else "postgres")
        with on_server(server, folder) as bench:
            yield bench
