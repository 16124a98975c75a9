"""Read any table: one transaction a poll, one scan of the table in it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row

from exporter.address import Address
from exporter.database import Reader, Transaction
from exporter.jobs import Cursor, DriverValue, JobId, QueueName, Snapshot, State, WorkerSigns, count_left_out

from ..by_id import chunks
from ..detected import Detected
from ..source import find_address
from .options import TableOptions
from .rows import ONE_KIND, Totals, read_attempts, read_totals, read_waiting
from .shape import Shape, detect
from .statements import MOST_KINDS, Statements

CHUNK: Final = 5000
SMALL_CHUNK: Final = 250  # each id of SQLite is bound in up to three forms, and old versions bind 999


class TableQueue:
    """One job table; follows the protocol in `exporter.queues.protocol`."""

    system = "table"

    def __init__(self, name: QueueName, options: TableOptions) -> None:
        """Raises ConfigurationError where the database cannot even be named."""
        self.name = name
        self.kinds = () if options.columns.kind else (ONE_KIND,)
        worker = options.worker
        self.signs = WorkerSigns(
            commands=(worker.command,) if worker else (),
            child_marks=worker.child_marks if worker else (),
            has_heartbeats=options.columns.heartbeat_at is not None,
        )
        self._options = options
        address = self._find_address()
        if address.tls:
            address.tls.context()
        self.server, self.place = address.server, address.place
        self.index_hint = f"an index on {options.table} that waiting_when and started_when can use"
        self._reader = Reader(self._find_address, limit=options.poll_timeout)
        self._detected = Detected(self._detect)

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the table."""
        return self._detected.retry(lambda: self._read(after))

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _find_address(self) -> Address:
        options = self._options
        return find_address(url=options.url, url_file=options.url_file, tls=options.tls)

    def _read(self, after: Cursor | None) -> Snapshot:
        with self._reader.transaction() as transaction:
            return self._snapshot(transaction, self._detected.of(transaction.connection), after)

    def _detect(self, connection: Connection) -> Statements:
        shape = detect(connection, self._options)
        if shape.dialect == "mysql":
            # MySQL cuts GROUP_CONCAT at 1024 bytes unless told otherwise.
            longest = 2 * shape.ids.longest * self._options.max_started
            connection.exec_driver_sql(f"SET SESSION group_concat_max_len = {longest:d}")
        return Statements(shape, max_started=self._options.max_started)

    def _snapshot(self, transaction: Transaction, statements: Statements, after: Cursor | None) -> Snapshot:
        connection, shape = transaction.connection, statements.shape
        totals = _scan(connection, statements, after)
        rows = _read_started(connection, statements, totals, limit=self._options.max_started)
        attempts = read_attempts(self.name, rows, totals=totals, ids=shape.ids)
        seen = frozenset(attempt.job_id for attempt in attempts)
        missing = after.started - seen if after else frozenset()
        if _is_foreign(after, shape) and shape.dialect != "sqlite":
            missing = frozenset()  # no server takes a number for a UUID, nor the other way round
        return Snapshot(
            queue=self.name,
            schema=self.system,
            role=transaction.role,
            read_at=transaction.read_at,
            database_now=transaction.database_now,
            waiting=read_waiting(totals, self.kinds),
            started=attempts,
            started_left_out=count_left_out(totals.started, attempts),
            left_started=_read_left(connection, statements, missing),
            cursor=Cursor(last_id=_mark(totals, shape), started=seen),
        )


def _scan(connection: Connection, statements: Statements, after: Cursor | None) -> Totals:
    mark: DriverValue = after.last_id if after else None
    is_first, is_marked = after is None or _is_foreign(after, statements.shape), mark is not None
    bound = {"after": mark} if is_marked and not is_first else {}
    groups = connection.execute(statements.scan(is_first=is_first, is_marked=is_marked), bound).all()
    rest = None
    if len(groups) > MOST_KINDS:
        groups = groups[:MOST_KINDS]
        rest = connection.execute(statements.rest(is_first=is_first, is_marked=is_marked), bound).one()
    return read_totals(groups, rest, ids=statements.shape.ids)


def _is_foreign(after: Cursor | None, shape: Shape) -> bool:
    """Tell whether the mark is of another kind than ids are now: the column was changed, and nothing is called new."""
    mark = after.last_id if after else None
    return mark is not None and isinstance(mark, int) is not shape.ids.is_rising


def _read_started(connection: Connection, statements: Statements, totals: Totals, *, limit: int) -> Sequence[Row[Any]]:
    """Read the started rows by their ids, or where these are not known, too many or not found, the oldest of them."""
    started = sum(totals.started.values())
    statements.gathers_ids = statements.shape.has_key and started <= limit
    if not started:
        return ()
    if started <= limit and len(totals.started_ids) == started:
        bound = _bound(statements.shape, totals.started_ids)
        rows = [row for ids in bound for row in connection.execute(statements.started, ids)]
        if len(rows) == started:
            return rows
    return connection.execute(statements.oldest_started, {"limit": limit}).all()


def _mark(totals: Totals, shape: Shape) -> DriverValue:
    """Return what new rows lie above: a whole number is an id, everything else a time."""
    mark = totals.mark
    return float(mark) if isinstance(mark, int) and not shape.ids.is_rising else mark


def _read_left(connection: Connection, statements: Statements, ids: frozenset[JobId]) -> dict[JobId, State]:
    """Say which of these jobs are still in the queue, and in which state."""
    shape = statements.shape
    return {
        shape.ids.read(row.id): State.STARTED if row.is_started else State.WAITING
        for bound in _bound(shape, ids)
        for row in connection.execute(statements.states, bound)
    }


def _bound(shape: Shape, ids: frozenset[JobId]) -> Iterator[dict[str, Any]]:
    """Return ids as they are bound, a statement's worth at a time."""
    size = SMALL_CHUNK if shape.dialect == "sqlite" else CHUNK
    return ({"ids": shape.ids.bind(some)} for some in chunks(sorted(ids), size))
