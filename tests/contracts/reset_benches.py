"""One way to drive the reset of every kind of queue: claim a row, change one thing in it, and look at all rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

import pytest
from pydantic import TypeAdapter

from exporter.jobs import Attempt, Claim, JobId
from exporter.queues.matomo import MatomoOptions
from exporter.queues.memory import MemoryQueue
from exporter.queues.protocol import Queue
from healers.options import HealingOptions
from healers.resets.matomo import make_matomo_reset
from healers.resets.meltano import MeltanoHealing, make_meltano_reset
from healers.resets.memory import MemoryReset
from healers.resets.protocol import Reset
from healers.resets.table import TableHealing, make_table_reset
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .benches import MariaDbBench, MatomoBench, MemoryBench, PostgresBench, SqliteBench, TableBench
from .meltano_bench import MeltanoBench, PostgresDatabase, SqliteDatabase

MATOMO_GRANTS = (
    "SELECT ON matomo_archive_invalidations",
    "UPDATE (status, ts_started, processing_host, process_id) ON matomo_archive_invalidations",
)
TABLE_GRANTS = ("SELECT ON jobs", "UPDATE (busy, begun, beat, host, pid) ON jobs")
MELTANO_GRANTS = ("SELECT ON runs", "UPDATE (state, ended_at, payload) ON runs")
BACK = {"busy": 0, "begun": None, "beat": None, "host": None, "pid": None}
SYSTEMS = (
    "memory",
    "matomo",
    "table-sqlite",
    "table-mariadb",
    "table-postgres",
    "meltano-sqlite",
    "meltano-postgres",
)

Rows = dict[str, tuple[object, ...]]


class ResetBench(Protocol):
    """A queue with its resets. `changes` name what a claim rests on; `change` alters just that, in the database."""

    @property
    def changes(self) -> tuple[str, ...]: ...
    @property
    def queue(self) -> Queue: ...
    def make(self) -> Reset: ...
    def start(self) -> str: ...
    def change(self, job_id: str, what: str) -> None: ...
    def finish(self, job_id: str) -> None: ...
    def is_back(self, job_id: str) -> bool: ...
    def rows(self) -> Rows: ...


class MemoryResets:
    """The shipped fake."""

    changes = ("state", "started", "host", "pid", "heartbeat")

    def __init__(self) -> None:
        self.bench = MemoryBench()
        self.queue: MemoryQueue = self.bench.queue
        self._holders: list[MemoryReset] = []

    def make(self) -> Reset:
        return MemoryReset(self.queue, holders=self._holders)

    def start(self) -> str:
        (job_id,) = self.bench.enqueue()
        self.bench.start(job_id)
        return job_id

    def change(self, job_id: str, what: str) -> None:
        started = {"host": "web2"} if what == "host" else {"pid": "101"} if what == "pid" else {}
        match what:
            case "state":
                self.bench.release(job_id)
            case "started":
                self.bench.start(job_id, ago="5s")
            case "heartbeat":
                self.queue.beat(int(job_id))
            case _:
                self.bench.start(job_id, **started)

    def finish(self, job_id: str) -> None:
        self.bench.finish(job_id)

    def is_back(self, job_id: str) -> bool:
        return not self.queue.jobs[int(job_id)].is_started

    def rows(self) -> Rows:
        return {str(number): (job,) for number, job in self.queue.jobs.items()}


class SqlResets(ABC):
    """A queue in a database, with the hands of an administrator."""

    changes: ClassVar[tuple[str, ...]]
    altered: ClassVar[dict[str, str]]
    table: ClassVar[str]
    id_column: ClassVar[str] = "id"
    done: ClassVar[str]

    @abstractmethod
    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement as an administrator; `%s` is a value."""

    def change(self, job_id: str, what: str) -> None:
        self.sql(f"UPDATE {self.table} SET {self.altered[what]} WHERE {self.id_column} = %s", int(job_id))

    def finish(self, job_id: str) -> None:
        self.sql(f"DELETE FROM {self.table} WHERE {self.id_column} = %s", int(job_id))

    def is_back(self, job_id: str) -> bool:
        found = self.sql(f"SELECT 1 FROM {self.table} WHERE {self.id_column} = %s AND {self.done}", int(job_id))
        return found == [(1,)]

    def rows(self) -> Rows:
        found = self.sql(f"SELECT {self.id_column}, {self.table}.* FROM {self.table}")
        return {str(number): rest for number, *rest in found}  # type: ignore[misc]


class MatomoResets(SqlResets):
    """Matomo on MariaDB, healed by an account that has the least rights."""

    changes = ("state", "started", "missing", "host", "case", "pid", "space")
    altered: ClassVar = {
        "state": "status = 2",
        "started": "ts_started = ts_started + INTERVAL 1 SECOND",
        "missing": "ts_started = NULL",
        "host": "processing_host = 'web2'",
        "case": "processing_host = 'WEB1'",
        "pid": "process_id = '101'",
        "space": "process_id = '100 '",
    }
    table, id_column = "matomo_archive_invalidations", "idinvalidation"
    done = "status = 0 AND ts_started IS NULL AND processing_host IS NULL AND process_id IS NULL"

    def __init__(self, server: MariaDb, database: str, *, grants: tuple[str, ...] = MATOMO_GRANTS) -> None:
        self.bench = MatomoBench(server, database)
        self.queue = self.bench.queue
        self.options: MatomoOptions = self.bench.options
        self.write_url = server.account(database, grants)

    def make(self, write_url: str | None = None) -> Reset:
        return make_matomo_reset(self.options, healing(write_url or self.write_url))

    def start(self) -> str:
        (job_id,) = self.bench.enqueue()
        self.bench.start(job_id)
        return job_id

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        return self.bench.server.sql(statement, *values, database=self.bench.database)


class TableResets(SqlResets):
    """A described table with heartbeats."""

    changes = ("state", "started", "missing", "host", "case", "pid", "space", "heartbeat")
    altered: ClassVar = {
        "state": "busy = 0",
        "started": "begun = '2026-01-01 00:00:00'",
        "missing": "begun = NULL",
        "host": "host = 'web2'",
        "case": "host = 'WEB1'",
        "pid": "pid = '101'",
        "space": "pid = '100 '",
        "heartbeat": "beat = '2026-01-01 00:00:00'",
    }
    table = "jobs"
    done = "busy = 0 AND begun IS NULL AND beat IS NULL AND host IS NULL AND pid IS NULL"

    def __init__(self, bench: TableBench, *, write_url: str | None) -> None:
        self.bench, self.queue, self.write_url = bench, bench.queue, write_url

    def make(self, reset: dict[str, object] | None = None) -> Reset:
        section = {"write_url": self.write_url, "reset": BACK if reset is None else reset}
        return make_table_reset(self.bench.options, TableHealing.model_validate(section))

    def start(self) -> str:
        (job_id,) = self.bench.enqueue()
        self.bench.start(job_id)
        return job_id

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        return self.bench.sql(statement.replace("%s", "?"), *values)


class MeltanoResets(SqlResets):
    """Meltano's runs, which record neither host nor pid."""

    changes = ("state", "started", "missing", "heartbeat", "silent")
    altered: ClassVar = {
        "state": "state = 'SUCCESS'",
        "started": "started_at = '2026-01-01 00:00:00.000000'",
        "missing": "started_at = NULL",
        "heartbeat": "last_heartbeat_at = '2026-01-01 00:00:00.000000'",
        "silent": "last_heartbeat_at = NULL",
    }
    table = "runs"
    done = "state = 'FAIL' AND ended_at IS NOT NULL"

    def __init__(self, bench: MeltanoBench, *, write_url: str | None) -> None:
        self.bench, self.queue, self.write_url = bench, bench.queue(), write_url

    def make(self) -> Reset:
        section = MeltanoHealing.model_validate({"write_url": self.write_url})
        return make_meltano_reset(self.bench.options(), section)

    def start(self, *, payload: str = "{}") -> str:
        return self.bench.add(heartbeat="40s", payload=payload)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        return self.bench.database.sql(statement, *values)


def healing(write_url: str | None) -> HealingOptions:
    """Return the options of healing with such an account."""
    return TypeAdapter(HealingOptions).validate_python({"write_url": write_url})


def attempt_of(bench: ResetBench, job_id: str) -> Attempt:
    """Return a started job as the poll reads it."""
    found = {attempt.job_id: attempt for attempt in bench.queue.read(None).started}
    return found[JobId(job_id)]


def claim_of(bench: ResetBench, job_id: str) -> Claim:
    """Return the claim of a started job as the poll reads it."""
    return attempt_of(bench, job_id).claim


@contextmanager
def opened(system: str, request: pytest.FixtureRequest) -> Iterator[ResetBench]:
    """Give an empty queue of a system."""
    made: ResetBench
    with ExitStack() as undo:

        def on(name: str) -> tuple[MariaDb | Postgres, str]:
            server: MariaDb | Postgres = request.getfixturevalue(name)
            return server, undo.enter_context(server.database())

        match system:
            case "memory":
                made = MemoryResets()
            case "matomo":
                made = MatomoResets(request.getfixturevalue("mariadb"), request.getfixturevalue("matomo_database"))
            case "table-sqlite":
                made = TableResets(SqliteBench(request.getfixturevalue("tmp_path"), heartbeat=True), write_url=None)
            case "table-mariadb" | "table-postgres":
                make: Callable[..., TableBench] = MariaDbBench if system == "table-mariadb" else PostgresBench
                server, database = on(system.removeprefix("table-"))
                table = make(server, database, heartbeat=True)
                made = TableResets(table, write_url=server.account(database, TABLE_GRANTS))
            case "meltano-sqlite":
                folder: Path = request.getfixturevalue("tmp_path")
                made = MeltanoResets(MeltanoBench(SqliteDatabase(folder / "meltano.db")), write_url=None)
            case _:
                server, name = on("postgres")
                assert isinstance(server, Postgres)
                runs = MeltanoBench(PostgresDatabase(server, name, table="runs"))
                made = MeltanoResets(runs, write_url=server.account(name, MELTANO_GRANTS))
        undo.callback(made.queue.close)
        yield made
