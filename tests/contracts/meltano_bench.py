"""Meltano's table on SQLite or PostgreSQL, as its migrations leave it, and the hands that write to it.

Columns as of 4.4.1 (models core/job/job.py, migrations/versions); before 2.2.0 the table is `job` with `job_id`.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias
from uuid import uuid4

from exporter.jobs import QueueName
from exporter.options import read_duration
from exporter.queues.meltano import MeltanoOptions, MeltanoQueue
from tests.lab.postgres import Postgres

Row: TypeAlias = tuple[object, ...]

SQLITE_COLUMNS = (
    "id INTEGER NOT NULL PRIMARY KEY, {name} VARCHAR, state VARCHAR(7), started_at DATETIME, ended_at DATETIME,"
    " payload VARCHAR, payload_flags INTEGER, run_id CHAR(32), trigger VARCHAR, last_heartbeat_at DATETIME"
)
POSTGRESQL_COLUMNS = (
    "id SERIAL PRIMARY KEY, {name} VARCHAR, state VARCHAR, started_at TIMESTAMP(6), ended_at TIMESTAMP(6),"
    " payload VARCHAR, payload_flags INTEGER, run_id UUID, trigger VARCHAR, last_heartbeat_at TIMESTAMP(6)"
)


class Database(Protocol):
    """Where the table is: `sql` takes `%s` for each value."""

    columns: str
    url: str

    def sql(self, statement: str, *values: object) -> list[Row]: ...


class SqliteDatabase:
    """A file in WAL mode, which is what Meltano sets (core/db.py)."""

    columns = SQLITE_COLUMNS

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.sql("PRAGMA journal_mode = WAL")

    def sql(self, statement: str, *values: object) -> list[Row]:
        """Run one statement in a connection of its own, as Meltano does."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            return connection.execute(statement.replace("%s", "?"), values).fetchall()


class PostgresDatabase:
    """A database of its own, read by an account that has SELECT on the table and nothing else."""

    columns = POSTGRESQL_COLUMNS

    def __init__(self, server: Postgres, name: str, *, table: str) -> None:
        self._server, self._name = server, name
        self.sql(f"CREATE TABLE {table} ({self.columns.format(name='job_name' if table == 'runs' else 'job_id')})")
        self.url = server.account(name, [f"SELECT ON {table}"])

    def sql(self, statement: str, *values: object) -> list[Row]:
        """Run one statement as the administrator."""
        return self._server.sql(statement, *values, database=self._name)


class MeltanoBench:
    """Runs in a table, written as Meltano writes them: naive UTC with six digits."""

    def __init__(self, database: Database, *, table: str = "runs", is_new: bool = True) -> None:
        self.database, self.table = database, table
        self._name = "job_name" if table == "runs" else "job_id"
        if is_new and isinstance(database, SqliteDatabase):
            database.sql(f"CREATE TABLE {table} ({database.columns.format(name=self._name)})")

    def options(self, **options: object) -> MeltanoOptions:
        """Return the options of a queue that reads the table."""
        return MeltanoOptions.model_validate({"url": self.database.url, **options})

    def queue(self, **options: object) -> MeltanoQueue:
        """Return a queue that reads the table."""
        return MeltanoQueue(QueueName("q"), self.options(**options))

    def add(
        self,
        name: str | None = "dev:tap-to-target",
        state: str | None = "RUNNING",
        *,
        started: str | None = "1m",
        ended: str | None = None,
        heartbeat: str | None = "0s",
        payload: str = "{}",
    ) -> str:
        """Insert a run whose times lie so long ago, and return its id."""
        run_id = uuid4()
        ((number,),) = self.database.sql(
            f"INSERT INTO {self.table} ({self._name}, state, started_at, ended_at, payload, payload_flags, run_id,"
            " trigger, last_heartbeat_at) VALUES (%s, %s, %s, %s, %s, 0, %s, 'cli', %s) RETURNING id",
            name,
            state,
            ago(started),
            ago(ended),
            payload,
            run_id.hex if isinstance(self.database, SqliteDatabase) else str(run_id),
            ago(heartbeat),
        )
        return str(number)

    def end(self, run: str, state: str = "SUCCESS", *, ended: str = "0s") -> None:
        """End a run."""
        self.database.sql(f"UPDATE {self.table} SET state = %s, ended_at = %s WHERE id = %s", state, ago(ended), run)

    def beat(self, run: str, *, ago_: str | None = "0s") -> None:
        """Write a heartbeat."""
        self.database.sql(f"UPDATE {self.table} SET last_heartbeat_at = %s WHERE id = %s", ago(ago_), run)


def ago(span: str | None) -> str | None:
    """Write the instant that lies so long ago as Meltano does; `-1h` lies ahead, and other text is taken as it is."""
    if span is None or not span.strip("-")[:1].isdigit() or span[-1] not in "smhd":
        return span
    back = read_duration(span.strip("-")) if span.strip("-") != "0s" else read_duration("1s") * 0
    instant = datetime.now(UTC) + back if span.startswith("-") else datetime.now(UTC) - back
    return instant.strftime("%Y-%m-%d %H:%M:%S.%f")
