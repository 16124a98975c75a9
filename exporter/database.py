"""Read watched databases: read-only, limited, verified, and never waited for without an end.

A `Reader` holds at most one connection and gives out one transaction at a time:
- read-only is enforced by the server, and one transaction sees one state of the data (`openers`);
- the whole transaction, connecting included, has one deadline: the server ends the statement, and if nothing comes
  back the socket is shut down from another thread (`deadline`). No transaction outlives its poll;
- after any failure the connection is dropped, and the next transaction opens a new one. A connection that the server
  closed while it was idle is replaced without a failure.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from . import clock
from .address import Address
from .deadline import MOST_BYTES, Deadline
from .driver_errors import read_error
from .errors import NoAnswer, PollTimeout, ReadError, Unreachable
from .jobs import Role
from .openers import Access, connect, limit_statements, watch

CLOCK: Final = MappingProxyType(
    {
        "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6,"
        " @@read_only, @@innodb_read_only",
        "postgresql": "SELECT extract(epoch FROM clock_timestamp()), pg_is_in_recovery(), false",
        "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0, 0, 0",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A read-only transaction in progress, and what the database said of itself in its first statement."""

    connection: Connection
    read_at: datetime
    database_now: datetime
    role: Role


class Reader:
    """One read-only connection to one database, opened when it is first needed. Not for two threads at once.

    `find_address` is asked at each new connection, so that a changed password takes effect without a restart.
    """

    def __init__(self, find_address: Callable[[], Address], *, limit: timedelta) -> None:
        self._find_address = find_address
        self._limit = limit
        self._connection: Connection | None = None
        self._deadline: Deadline | None = None
        self._statement_seconds = 0.0
        self._dialect = ""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run the block in a read-only transaction; raises ReadError, and drops the connection, after any failure."""
        with Deadline(self._limit) as deadline:
            self._deadline = deadline
            has_begun = False
            try:
                transaction = self._begin(deadline)
                has_begun = True
                yield transaction
                self._end()
            except BaseException as cause:
                self.close()
                if deadline.has_overflowed and isinstance(cause, Exception):
                    raise ReadError(f"the database sends more than {MOST_BYTES >> 20} MiB in one poll") from cause
                is_late = deadline.has_expired and not has_begun
                if is_late and isinstance(cause, SQLAlchemyError | OSError | PollTimeout):
                    raise NoAnswer(f"no answer within {deadline.limit_seconds:g} s") from cause
                if isinstance(cause, SQLAlchemyError | OSError):
                    limit = timedelta(seconds=deadline.limit_seconds)
                    raise read_error(cause, has_expired=deadline.has_expired, limit=limit) from cause
                raise
            finally:
                self._deadline = None

    @property
    def is_connected(self) -> bool:
        """Whether the next transaction goes on with a connection that is already there."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection, if there is one, in the server's own way; does not wait for an answer."""
        connection, self._connection = self._connection, None
        if connection:
            with suppress(SQLAlchemyError):
                connection.invalidate()  # else `close` would wait for the answer to a ROLLBACK
            connection.close()

    def _begin(self, deadline: Deadline) -> Transaction:
        if self._connection:
            watch(self._connection, deadline)
            try:
                return self._read_clock(self._connection)
            except SQLAlchemyError as cause:
                error = read_error(cause, has_expired=deadline.has_expired, limit=self._limit)
                if not isinstance(error, Unreachable):
                    raise
                self.close()
        return self._read_clock(self._connect(deadline))

    def _read_clock(self, connection: Connection) -> Transaction:
        self._statement_seconds = 0.0
        seconds, *read_only = connection.exec_driver_sql(CLOCK[self._dialect]).one()
        is_replica = any(str(flag).upper() not in ("0", "OFF", "FALSE") for flag in read_only)
        return Transaction(
            connection=connection,
            read_at=clock.now(),
            database_now=datetime.fromtimestamp(float(seconds), UTC),
            role=Role.REPLICA if is_replica else Role.PRIMARY,
        )

    def _end(self) -> None:
        if self._connection:
            self._connection.rollback()
            if self._dialect == "sqlite" or self._connection.invalidated:
                self.close()

    def _connect(self, deadline: Deadline) -> Connection:
        address = self._find_address()
        self._dialect = address.dialect
        self._connection = connect(address, deadline, access=Access.READ, before_statement=self._before_statement)
        return self._connection

    def _before_statement(self, connection: Connection, *arguments: Any) -> None:
        """Hold the server's limit for a statement at what is left of the poll, to the second."""
        *_, context, _is_many = arguments
        if self._deadline is None or context.execution_options.get("sets_limit"):
            return
        left = self._deadline.remaining_seconds()
        seconds = self._limit.total_seconds()
        if seconds - left > 1.0:
            seconds = left
        if seconds != self._statement_seconds:
            self._statement_seconds = seconds
            options = {"sets_limit": True, "stream_results": False}
            limit = limit_statements(connection, seconds, lock_seconds=seconds)
            connection.exec_driver_sql(*limit, execution_options=options).close()
