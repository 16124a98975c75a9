"""One way to drive every kind of queue: enqueue, start, finish, release, and set a job's times back."""

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

from exporter.jobs import Kind, QueueName
from exporter.options import read_duration
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.queues.memory import MemoryQueue
from exporter.queues.protocol import Queue
from exporter.queues.table import TableOptions, TableQueue
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

Text: TypeAlias = str | None

NAME = QueueName("q")
MAX_STARTED = 5
SELECT = (
    "SELECT (idinvalidation, name, idsite, date1, date2, period, ts_invalidated, ts_started, status, report,"
    " processing_host, process_id) ON matomo_archive_invalidations"
)


class Bench(Protocol):
    """A queue and the hands that work on it; `postpone` sets a start a day into the future."""

    kind: Kind

    @property
    def queue(self) -> Queue: ...
    def enqueue(self, number: int = 1, *, ago: str = "1m") -> list[str]: ...
    def start(
        self, job_id: str, *, host: str | None = "web1", pid: str | None = "100", ago: str | None = "30s"
    ) -> None: ...
    def finish(self, job_id: str) -> None: ...
    def release(self, job_id: str) -> None: ...
    def postpone(self, job_id: str) -> None: ...


class MemoryBench:
    """The shipped fake, with a clock that stands still."""

    kind = Kind("job")

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.queue = MemoryQueue(NAME, now=lambda: self.now, max_started=MAX_STARTED)

    def enqueue(self, number: int = 1, *, ago: str = "1m") -> list[str]:
        self.now -= read_duration(ago)
        ids = [str(self.queue.enqueue()) for _ in range(number)]
        self.now += read_duration(ago)
        return ids

    def start(
        self, job_id: str, *, host: str | None = "web1", pid: str | None = "100", ago: str | None = "30s"
    ) -> None:
        span = read_duration(ago or "1s")
        self.now -= span
        self.queue.start(int(job_id), host=host, pid=pid)
        self.now += span
        if ago is None:
            self.queue.forget_start(int(job_id))

    def finish(self, job_id: str) -> None:
        self.queue.finish(int(job_id))

    def release(self, job_id: str) -> None:
        self.queue.release(int(job_id))

    def postpone(self, job_id: str) -> None:  # noqa: ARG002  its clock goes back instead
        self.now -= read_duration("1d")


class MatomoBench:
    """Matomo's table on MariaDB, read by an account that has SELECT on the columns and nothing else."""

    kind = Kind("day")

    def __init__(self, server: MariaDb, database: str) -> None:
        self.server, self.database = server, database
        url = server.account(database, [SELECT])
        self.options = MatomoOptions(url=url, max_started=MAX_STARTED)
        self.queue = MatomoQueue(NAME, self.options)

    def _sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        return self.server.sql(statement, *params, database=self.database)

    def enqueue(self, number: int = 1, *, ago: str = "1m") -> list[str]:
        ids = []
        for _ in range(number):
            rows = self._sql(
                "INSERT INTO matomo_archive_invalidations (name, idsite, date1, date2, period, ts_invalidated)"
                " VALUES ('done', 1, '2026-01-01', '2026-01-01', 1, UTC_TIMESTAMP() - INTERVAL %s SECOND)"
                " RETURNING idinvalidation",
                read_duration(ago).total_seconds(),
            )
            ids.append(str(rows[0][0]))
        return ids

    def start(
        self, job_id: str, *, host: str | None = "web1", pid: str | None = "100", ago: str | None = "30s"
    ) -> None:
        seconds = read_duration(ago).total_seconds() if ago else None
        self._sql(
            "UPDATE matomo_archive_invalidations SET status = 1, ts_started = NOW() - INTERVAL %s SECOND,"
            " processing_host = %s, process_id = %s WHERE idinvalidation = %s AND status = 0",
            seconds,
            host,
            pid,
            job_id,
        )

    def finish(self, job_id: str) -> None:
        self._sql("DELETE FROM matomo_archive_invalidations WHERE idinvalidation = %s", job_id)

    def release(self, job_id: str) -> None:
        self._sql(
            "UPDATE matomo_archive_invalidations SET status = 0, ts_started = NULL, processing_host = NULL,"
            " process_id = NULL WHERE idinvalidation = %s",
            job_id,
        )

    def postpone(self, job_id: str) -> None:
        self._sql(
            "UPDATE matomo_archive_invalidations SET ts_started = NOW() + INTERVAL 1 DAY WHERE idinvalidation = %s",
            job_id,
        )


def table_options(url: str, *, heartbeat: bool = False, **changes: object) -> TableOptions:
    """Return the options of the benches' table `jobs`."""
    columns = {"id": "id", "kind": "kind", "enqueued_at": "made", "started_at": "begun", "host": "host", "pid": "pid"}
    return TableOptions.model_validate(
        {
            "url": url,
            "from": "jobs",
            "columns": {**columns, "heartbeat_at": "beat"} if heartbeat else columns,
            "waiting_when": "busy = 0",
            "started_when": "busy = 1",
            "max_started": MAX_STARTED,
            **changes,
        }
    )


class TableBench(ABC):
    """A described table; `?` stands for each value, and `{ago}` for the instant that many seconds ago."""

    kind = Kind("mail")
    create: ClassVar[str]
    ago: ClassVar[str]
    options: TableOptions
    queue: TableQueue

    def _describe(self, url: str, *, heartbeat: bool) -> None:
        self.options = table_options(url, heartbeat=heartbeat)
        self.queue = TableQueue(NAME, self.options)

    @abstractmethod
    def sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        """Run one statement as an administrator."""

    def _sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        return self.sql(statement.format(ago=self.ago), *params)

    def enqueue(self, number: int = 1, *, ago: str = "1m") -> list[str]:
        insert = "INSERT INTO jobs (kind, made) VALUES ('mail', {ago}) RETURNING id"
        return [str(self._sql(insert, -read_duration(ago).total_seconds())[0][0]) for _ in range(number)]

    def start(
        self, job_id: str, *, host: str | None = "web1", pid: str | None = "100", ago: str | None = "30s"
    ) -> None:
        seconds = -read_duration(ago).total_seconds() if ago else None
        update = "UPDATE jobs SET busy = 1, begun = {ago}, beat = {ago}, host = ?, pid = ? WHERE id = ?"
        self._sql(update, seconds, seconds, host, pid, int(job_id))

    def finish(self, job_id: str) -> None:
        self._sql("DELETE FROM jobs WHERE id = ?", int(job_id))

    def release(self, job_id: str) -> None:
        update = "UPDATE jobs SET busy = 0, begun = NULL, beat = NULL, host = NULL, pid = NULL WHERE id = ?"
        self._sql(update, int(job_id))

    def postpone(self, job_id: str) -> None:
        self._sql("UPDATE jobs SET begun = {ago} WHERE id = ?", 86_400.0, int(job_id))

    def beat(self, job_id: str, *, ago: str) -> None:
        """Set the heartbeat of a started job."""
        self._sql("UPDATE jobs SET beat = {ago} WHERE id = ?", -read_duration(ago).total_seconds(), int(job_id))


class SqliteBench(TableBench):
    """A described table on SQLite."""

    create = (
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, made TEXT, begun TEXT, beat TEXT,"
        " busy INTEGER NOT NULL DEFAULT 0, host TEXT, pid TEXT)"
    )
    ago = "datetime('now', ? || ' seconds')"

    def __init__(self, folder: Path, *, heartbeat: bool = False) -> None:
        self.file = folder / "jobs.db"
        self.sql(self.create)
        self._describe(f"sqlite:///{self.file}", heartbeat=heartbeat)

    def sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            return connection.execute(statement, params).fetchall()


class ServerBench(TableBench):
    """A described table on a server, read by an account that has SELECT on the columns and nothing else."""

    select = "SELECT (id, kind, made, begun, busy, host, pid{}) ON jobs"

    def __init__(self, server: MariaDb | Postgres, database: str, *, heartbeat: bool = False) -> None:
        self.server, self.database = server, database
        self.sql(self.create)
        url = server.account(database, [self.select.format(", beat" if heartbeat else "")])
        self._describe(url, heartbeat=heartbeat)

    def sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        return self.server.sql(statement.replace("?", "%s"), *params, database=self.database)


class MariaDbBench(ServerBench):
    """A described table on MariaDB."""

    create = (
        "CREATE TABLE jobs (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(50), made DATETIME, begun DATETIME(6),"
        " beat TIMESTAMP(3) NULL, busy TINYINT NOT NULL DEFAULT 0, host VARCHAR(255), pid VARCHAR(255))"
    )
    ago = "UTC_TIMESTAMP(6) + INTERVAL ? SECOND"


class PostgresBench(ServerBench):
    """A described table on PostgreSQL."""

    create = (
        "CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text, made timestamptz,"
        " begun timestamp, beat timestamptz, busy int NOT NULL DEFAULT 0, host text, pid text)"
    )
    ago = "clock_timestamp() + make_interval(secs => ?)"
