"""Read Meltano's runs: one transaction a poll, one scan of the table in it."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from exporter.database import Reader, Transaction
from exporter.errors import BadSchema
from exporter.jobs import (
    Attempt,
    Cursor,
    Finished,
    JobId,
    Kind,
    QueueName,
    Snapshot,
    State,
    WorkerSigns,
    count_left_out,
)

from ..by_id import chunks
from .options import MeltanoOptions
from .rows import Group, read_attempt, read_beginnings, read_finished, read_groups, read_waiting
from .source import Source
from .statements import POSTGRESQL, SQLITE, Statements

CHUNK = 5000
MOST_BOUND = 30_000  # SQLite binds 32,766 values in a statement, unless it was built otherwise; PostgreSQL 65,535
# The table is `runs` since 2.2.0 (migration 5b43800443d1); before, `job`, with heartbeats since 1.67 (d135f52a6f49).
SCHEMAS = {"runs": "2.2", "job": "1.67"}


class MeltanoQueue:
    """One Meltano project's runs; follows the protocol in `exporter.queues.protocol`."""

    system = "meltano"
    kinds: tuple[Kind, ...] = ()
    signs = WorkerSigns(has_heartbeats=True)
    index_hint = "delete old finished rows of runs: Meltano never does, and reads them all itself"

    def __init__(self, name: QueueName, options: MeltanoOptions) -> None:
        """Raises ConfigurationError where the database cannot even be named."""
        self.name = name
        self._options = options
        source = Source(options)
        address = source.find_address()
        if address.tls:
            address.tls.context()
        self.server, self.place = address.server, address.place
        self._reader = Reader(source.find_address, limit=options.poll_timeout)

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the runs."""
        with self._reader.transaction() as transaction:
            return self._snapshot(transaction, after)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _snapshot(self, transaction: Transaction, after: Cursor | None) -> Snapshot:
        connection = transaction.connection
        dialect = SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
        table = connection.exec_driver_sql(dialect.find_table).scalar()
        if table is None:
            raise BadSchema("there is neither a table runs nor job; this is no system database of Meltano")
        statements = Statements(dialect, table=table)
        values = {
            "last_id": after.last_id if after else None,
            "window_seconds": self._options.timeout_window.total_seconds(),
        }
        groups = read_groups(connection.execute(statements.scan, values))
        running = frozenset(JobId(str(number)) for group in groups for number in group.started_ids)
        started, left_out = self._read_started(connection, statements, groups)
        unread = running - {attempt.job_id for attempt in started}
        return Snapshot(
            queue=self.name,
            schema=SCHEMAS.get(table, table),
            role=transaction.role,
            read_at=transaction.read_at,
            database_now=transaction.database_now,
            waiting=read_waiting(groups),
            started=started,
            started_left_out=left_out,
            left_started=dict.fromkeys(unread & after.started if after else (), State.STARTED),
            finished=tuple(_read_finished(connection, statements, after, running)),
            last_successes=tuple(group.success for group in groups if group.success),
            beginnings=read_beginnings(groups),
            cursor=Cursor(last_id=max((group.last_id for group in groups), default=0), started=running),
        )

    def _read_started(
        self, connection: Connection, statements: Statements, groups: Sequence[Group]
    ) -> tuple[tuple[Attempt, ...], dict[Kind, int]]:
        """Read the running rows that the scan found, the oldest first, and count those beyond the limit by kind."""
        limit = self._options.max_started
        ids = [number for group in groups for number in group.started_ids]
        if len(ids) > min(limit, MOST_BOUND):
            # More than are read, or can be asked for at once: which of them are the oldest is worth a second scan.
            rows = connection.execute(statements.oldest_started, {"limit": limit}).all()
        else:
            rows = connection.execute(statements.started, {"ids": ids, "limit": limit}).all() if ids else []
        started = {group.kind: group.started for group in groups}
        attempts = tuple(read_attempt(self.name, row, kinds=started) for row in rows)
        return attempts, count_left_out(started, attempts)


def _read_finished(
    connection: Connection, statements: Statements, after: Cursor | None, running: frozenset[JobId]
) -> Iterator[Finished]:
    """Read the runs that ended since the cursor: new ones, and those that were running then."""
    if after is None:
        return
    for row in connection.execute(statements.finished_since, {"last_id": after.last_id}):
        yield read_finished(row)
    for ids in chunks(sorted(int(job_id) for job_id in after.started - running), CHUNK):
        for row in connection.execute(statements.finished_of, {"ids": ids, "last_id": after.last_id}):
            yield read_finished(row)
