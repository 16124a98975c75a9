"""Any job table, described by its columns. This version reads SQLite, with times in UTC as SQLite writes them.

Names of tables and columns are quoted; the two conditions are trusted SQL from the configuration. One statement
aggregates, one reads the started rows, both in one transaction, and SQLite takes the ages in them.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Self

from pydantic import Field, model_validator
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects import sqlite

from exporter.address import Address, normalise
from exporter.database import Reader, Transaction
from exporter.jobs import (
    Attempt,
    AttemptKey,
    Claim,
    Cursor,
    JobId,
    Kind,
    QueueName,
    Snapshot,
    State,
    Waiting,
    WorkerSigns,
    read_pid,
)
from exporter.options import Options, QueueOptions
from exporter.secrets import DatabaseUrl

ONE_KIND = Kind("job")
CHUNK = 500


class Columns(Options):
    """Which column holds what; those that a table does not have are left out."""

    id: str
    enqueued_at: str
    started_at: str
    kind: str | None = None
    host: str | None = None
    pid: str | None = None


class TableOptions(QueueOptions):
    """A job table on SQLite; its ids are numbers that rise."""

    url: DatabaseUrl
    from_: str = Field(alias="from", description="the table")
    columns: Columns
    waiting_when: str = Field(description="SQL that is true of waiting jobs")
    started_when: str = Field(description="SQL that is true of started jobs")

    @model_validator(mode="after")
    def _sqlite(self) -> Self:
        if self.url.get_backend_name() != "sqlite":
            raise ValueError("url: this version reads tables of SQLite only; write sqlite:////path/of/the.db")
        return self


class TableQueue:
    """One job table; follows the protocol in `exporter.queues.protocol`."""

    system = "table"
    signs = WorkerSigns()

    def __init__(self, name: QueueName, options: TableOptions) -> None:
        self.name = name
        self.kinds = () if options.columns.kind else (ONE_KIND,)
        self._max_started = options.max_started
        address = Address(url=normalise(options.url))
        self.server = address.server
        self.index_hint = f"an index on {options.from_} that waiting_when and started_when can use"
        self._reader = Reader(lambda: address, limit=options.poll_timeout)
        self._statements = _Statements(options)

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the table."""
        with self._reader.transaction() as transaction:
            return self._snapshot(transaction, after)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _snapshot(self, transaction: Transaction, after: Cursor | None) -> Snapshot:
        connection, statements = transaction.connection, self._statements
        last_id = after.last_id if after else None
        groups = connection.execute(statements.groups, {"last_id": last_id}).all()
        started = connection.execute(statements.started, {"limit": self._max_started}).all()
        attempts = tuple(self._attempt(row) for row in started)
        seen = frozenset(attempt.job_id for attempt in attempts)
        left_out = {_kind(row.kind): row.started for row in groups if row.started}
        for attempt in attempts:
            left_out[attempt.kind] -= 1
        return Snapshot(
            queue=self.name,
            schema=self.system,
            role=transaction.role,
            read_at=transaction.read_at,
            database_now=transaction.database_now,
            waiting=self._waiting(groups),
            started=attempts,
            started_left_out={kind: number for kind, number in left_out.items() if number},
            left_started=_left(connection, statements, after.started - seen if after else frozenset()),
            cursor=Cursor(last_id=connection.execute(statements.last_id).scalar_one(), started=seen),
        )

    def _waiting(self, groups: Sequence[Row[Any]]) -> tuple[Waiting, ...]:
        found = {_kind(row.kind): row for row in groups}
        return tuple(
            Waiting(
                kind=kind,
                jobs=found[kind].waiting if kind in found else 0,
                enqueued=found[kind].enqueued if kind in found else 0,
                oldest_age=_age(found[kind].oldest_age) if kind in found else None,
            )
            for kind in dict.fromkeys((*self.kinds, *found))
        )

    def _attempt(self, row: Row[Any]) -> Attempt:
        key = AttemptKey(
            queue=self.name,
            job_id=JobId(str(row.id)),
            started=row.started_at,
            host=_text(row.host),
            pid_text=_text(row.pid),
        )
        return Attempt(
            key=key,
            job_id=key.job_id,
            natural_key=(key.job_id,),
            kind=_kind(row.kind),
            host=key.host,
            pid=read_pid(key.pid_text),
            pid_text=key.pid_text,
            has_start_time=row.started_at is not None,
            age=_age(row.age),
            enqueued_age=_age(row.enqueued_age),
            heartbeat_age=None,
            detail={},
            claim=Claim(key=key),
        )


class _Statements:
    """The SQL of one table."""

    def __init__(self, options: TableOptions) -> None:
        quote = sqlite.dialect().identifier_preparer.quote_identifier
        names = {key: quote(name) if name else "NULL" for key, name in options.columns.model_dump().items()}
        source, key = quote(options.from_), names["id"]
        waiting, started = _trusted(options.waiting_when), _trusted(options.started_when)
        age = "(julianday('now') - julianday({})) * 86400.0"
        self.groups = text(
            f"SELECT {names['kind']} AS kind, COALESCE(SUM({waiting}), 0) AS waiting,"
            f" COALESCE(SUM({started}), 0) AS started, COALESCE(SUM({key} > :last_id), 0) AS enqueued,"
            f" MAX(CASE WHEN {waiting} THEN {age.format(names['enqueued_at'])} END) AS oldest_age"
            f" FROM {source} WHERE {waiting} OR {started} GROUP BY 1"
        )
        self.started = text(
            f"SELECT {key} AS id, {names['kind']} AS kind, {names['started_at']} AS started_at,"
            f" {names['host']} AS host, {names['pid']} AS pid,"
            f" {age.format(names['started_at'])} AS age, {age.format(names['enqueued_at'])} AS enqueued_age"
            f" FROM {source} WHERE {started} ORDER BY {names['started_at']}, {key} LIMIT :limit"
        )
        self.last_id = text(f"SELECT COALESCE(MAX({key}), 0) FROM {source}")
        self.states = text(
            f"SELECT {key} AS id, {started} AS is_started FROM {source}"
            f" WHERE {key} IN :ids AND ({waiting} OR {started})"
        ).bindparams(bindparam("ids", expanding=True))


def _trusted(condition: str) -> str:
    """Take a condition as it is; a colon in it is never one of our parameters."""
    return f"({condition.replace(':', chr(92) + ':')})"


def _left(connection: Connection, statements: _Statements, ids: frozenset[JobId]) -> dict[JobId, State]:
    numbers = sorted(int(number) for number in ids)
    left: dict[JobId, State] = {}
    for first in range(0, len(numbers), CHUNK):
        for row in connection.execute(statements.states, {"ids": numbers[first : first + CHUNK]}):
            left[JobId(str(row.id))] = State.STARTED if row.is_started else State.WAITING
    return left


def _kind(value: object) -> Kind:
    return ONE_KIND if value is None else Kind(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _age(seconds: float | None) -> timedelta | None:
    """Return an age that can be true: half a millisecond below zero is SQLite's rounding, further below is unknown."""
    if seconds is None or seconds < -1.0:
        return None
    return timedelta(seconds=max(float(seconds), 0.0))
