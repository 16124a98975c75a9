"""Read Matomo's queue: one transaction a poll, one scan of the table in it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from exporter import clock
from exporter.database import Reader, Transaction
from exporter.errors import ReadError
from exporter.jobs import (
    Attempt,
    Breakdown,
    Cursor,
    Finished,
    JobId,
    Kind,
    QueueName,
    Signal,
    Snapshot,
    WorkerSigns,
    count_left_out,
)
from exporter.jobs import State as JobState

from ..by_id import chunks
from ..detected import Detected
from .breakdown import BreakdownReader
from .names import KINDS, read_kind
from .options import MatomoOptions
from .rows import STATES, count_by_kind, read_attempt, read_signals, read_waiting
from .scan import read_table
from .shape import Shape, Tables, detect
from .source import Source
from .statements import Statements

MOST_BLOCKERS = 50
MOST_FINISHED = 5000
MOST_GROUPS = 100_000
CHUNK = 5000
WRITE_RIGHTS = re.compile(r"^GRANT (?:.*\b)?(ALL PRIVILEGES|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE|SUPER)\b.* ON ")

# Denied, missing, or invalid (MariaDB 10.11, include/mysqld_error.h): 1356 and 1449 are about a view's definer.
VIEW_ERRORS = frozenset({1045, 1054, 1142, 1143, 1146, 1356, 1370, 1449})

SIGNS = WorkerSigns(
    commands=(("*console", "core:archive"), ("*archive.php",)),
    child_marks=("climulti:request",),
    child_owner="runid",
    child_job=(("idSite", "site"), ("period", "kind"), ("date", "date1")),
    web_workers=("php-fpm", "apache2", "httpd", "lsphp"),
)

log = structlog.get_logger()


class MatomoQueue:
    """One Matomo's `archive_invalidations`; follows the protocol in `exporter.queues.protocol`."""

    system = "matomo"
    kinds = KINDS
    signs = SIGNS

    def __init__(self, name: QueueName, options: MatomoOptions) -> None:
        """Raises ConfigurationError where the database cannot even be named."""
        self.name = name
        self._options = options
        self._source = Source(options)
        address = self._source.find_address()
        if address.tls:
            address.tls.context()
        self.server, self.place = address.server, address.place
        table = Tables(prefix=self._source.tables_prefix()).invalidations
        self.index_hint = f"CREATE INDEX queuemedic ON {table} (status, period, date2, ts_invalidated)"
        self._reader = Reader(self._source.find_address, limit=options.poll_timeout)
        self._detected = Detected(self._detect)
        self._breakdown = BreakdownReader(options.max_reports)
        self._breakdown_every = options.breakdown_every.total_seconds()
        self._breakdown_due = 0.0
        self._last_breakdown: Breakdown | None = None
        self._has_warned = False

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the queue."""
        return self._detected.retry(lambda: self._read(after))

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _read(self, after: Cursor | None) -> Snapshot:
        with self._reader.transaction() as transaction:
            snapshot = self._snapshot(transaction, self._detected.of(transaction.connection), after)
        if clock.monotonic_seconds() >= self._breakdown_due:
            self._renew_breakdown(snapshot.started)
        return replace(snapshot, breakdown=self._last_breakdown)

    def _detect(self, connection: Connection) -> Statements:
        shape = detect(connection, Tables(prefix=self._source.tables_prefix()))
        if not self._has_warned:
            self._has_warned = True
            self._warn(connection, shape)
        return Statements(shape)

    def _warn(self, connection: Connection, shape: Shape) -> None:
        """Say once what an administrator should know about the account."""
        grants = [str(row[0]) for row in connection.exec_driver_sql("SHOW GRANTS")]
        if any(WRITE_RIGHTS.match(grant) for grant in grants):
            advice = "the exporter never writes; give it an account that has SELECT only (docs/howto/watch-matomo.md)"
            log.warning("account.found_writable", queue=self.name, advice=advice)
        if not shape.has_worker:
            advice = "Matomo has processing_host and process_id since 5.3; from then on, grant SELECT on them"
            log.warning("workers.not_recorded", queue=self.name, advice=advice)

    def _snapshot(self, transaction: Transaction, statements: Statements, after: Cursor | None) -> Snapshot:
        connection = transaction.connection
        signals = self._read_signals(connection, statements)
        limit = self._options.max_started
        scan = read_table(connection, statements, today=transaction.database_now.date(), max_started=limit)
        started = tuple(read_attempt(self.name, row) for row in scan.started)
        enqueued = _read_enqueued(connection, statements, after)
        last_metric, finished = _read_finished(connection, statements, after)
        seen = frozenset(attempt.job_id for attempt in started)
        return Snapshot(
            queue=self.name,
            schema=statements.schema,
            role=transaction.role,
            read_at=transaction.read_at,
            database_now=transaction.database_now,
            waiting=read_waiting(scan.waiting, enqueued),
            started=started,
            started_left_out=count_left_out(scan.jobs_started, started),
            left_started=_read_left(connection, statements, after.started - seen if after else frozenset()),
            signals=signals,
            finished=finished,
            cursor=Cursor(
                last_id=connection.execute(statements.last_id).scalar_one(),
                started=seen,
                last_finished_id=last_metric,
            ),
        )

    def _read_signals(self, connection: Connection, statements: Statements) -> tuple[Signal, ...]:
        signals = [*self._select_signals(connection, statements)]
        is_maintained = self._source.is_maintenance_mode()
        if is_maintained is not None:
            signals.append(Signal(name="matomo_maintenance_mode", value=float(is_maintained)))
        return tuple(signals)

    def _select_signals(self, connection: Connection, statements: Statements) -> Sequence[Signal]:
        """Ask for the signals; a view that is broken or denied, for one because its definer is gone, is left out."""
        if statements.signals is None:
            return ()
        try:
            return read_signals(connection.execute(statements.signals))
        except DBAPIError as error:
            if error.connection_invalidated or error.orig is None or error.orig.args[0] not in VIEW_ERRORS:
                raise
            log.warning("signals.refused", queue=self.name, error=str(error.orig))
            statements.signals = None
            return ()

    def _renew_breakdown(self, started: tuple[Attempt, ...]) -> None:
        """Read the dear figures in a transaction of their own: if it fails, the poll does not, and it gets rarer."""
        try:
            with self._reader.transaction() as transaction:
                connection = transaction.connection
                statements = self._detected.of(connection)
                blocked = self._read_blocked(connection, statements, started)
                rows = connection.execute(statements.breakdown, {"limit": MOST_GROUPS + 1}).all()
                if len(rows) > MOST_GROUPS:
                    raise ReadError(f"more than {MOST_GROUPS} different names and reports; they are not broken down")
                self._last_breakdown = self._breakdown.read(rows, blocked_jobs=blocked)
                self._breakdown_every = self._options.breakdown_every.total_seconds()
        except ReadError as error:
            self._last_breakdown = None
            self._breakdown_every *= 2
            log.warning("breakdown.failed", queue=self.name, error=str(error), next_after_seconds=self._breakdown_every)
        self._breakdown_due = clock.monotonic_seconds() + self._breakdown_every

    def _read_blocked(self, connection: Connection, statements: Statements, started: tuple[Attempt, ...]) -> int:
        limit = self._options.timeout_after
        # A row without a start time is never taken back (5.2 and later), so it holds others back at once and for ever.
        blockers = [
            attempt
            for attempt in started
            if not attempt.has_start_time or (limit and attempt.age is not None and attempt.age >= limit)
        ][:MOST_BLOCKERS]
        if not blockers:
            return 0
        values: dict[str, object] = {}
        for n, attempt in enumerate(blockers):
            flag = attempt.natural_key[0].partition(".")[0]
            detail = attempt.detail
            values |= {f"site{n}": detail["site"], f"period{n}": detail["period"], f"flag{n}": flag}
            values |= {f"date1_{n}": detail["date1"], f"date2_{n}": detail["date2"]}
        return int(connection.execute(statements.blocked(len(blockers)), values).scalar_one())


def _read_enqueued(connection: Connection, statements: Statements, after: Cursor | None) -> dict[Kind, int]:
    if after is None:
        return {}
    return count_by_kind(connection.execute(statements.enqueued, {"last_id": after.last_id}))


def _read_left(connection: Connection, statements: Statements, ids: frozenset[JobId]) -> dict[JobId, JobState]:
    """Say which of these jobs are still there, and in which state."""
    left: dict[JobId, JobState] = {}
    for numbers in chunks(sorted(int(number) for number in ids), CHUNK):
        for row in connection.execute(statements.states, {"ids": numbers}):
            if row.status in STATES:
                left[JobId(str(row.idinvalidation))] = STATES[row.status]
    return left


def _read_finished(
    connection: Connection, statements: Statements, after: Cursor | None
) -> tuple[int | None, tuple[Finished, ...]]:
    """Read what `archiving_metrics` has had since the cursor; from Matomo 5.7 on, milliseconds."""
    if statements.metrics is None:
        return None, ()
    if after is None or after.last_finished_id is None:
        return int(connection.execute(statements.last_metric).scalar_one()), ()
    rows = connection.execute(statements.metrics, {"last_id": after.last_finished_id, "limit": MOST_FINISHED}).all()
    finished = tuple(
        Finished(
            kind=read_kind(row.period), outcome="done", duration=timedelta(milliseconds=max(0, row.total_time or 0))
        )
        for row in rows
    )
    if rows:
        return int(rows[-1].metadataid), finished
    # The highest id there is: it can be lower than the cursor, where the table was emptied or restored.
    return int(connection.execute(statements.last_metric).scalar_one()), ()
