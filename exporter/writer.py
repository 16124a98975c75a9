"""Write to the database that is watched, and to no other: one connection, short transactions, each with a deadline.

Before anything is done on a new connection, it is held against one of the account that watches: server and database
must be the same, and no replica. A connection that is lost is not replaced, as whatever lock it held is lost with it.
After an error before COMMIT nothing is written, and the connection stays if it still answers; an error at COMMIT is
`Unsettled`, and the connection is gone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from .address import Address
from .database import Reader
from .deadline import Deadline
from .driver_errors import read_error
from .errors import ConfigurationError, PollTimeout, ReadError, Unreachable, Unsettled
from .openers import LOCK_SECONDS, Access, connect, limit_statements, watch

Identity: TypeAlias = tuple[object, ...]

RIGHT: Final = "give an account on the server and database that are watched"
IDENTITY: Final = MappingProxyType(
    {
        "mariadb": "SELECT @@server_id, @@hostname, @@port, @@datadir, DATABASE()",
        "mysql": "SELECT @@server_uuid, DATABASE()",
        "postgresql": "SELECT pg_postmaster_start_time(), current_setting('port'), current_schemas(false)::text,"
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
    }
)
REPLICA: Final = MappingProxyType(
    {
        "mysql": "SELECT @@read_only, @@innodb_read_only",
        "postgresql": "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')",
        "sqlite": "SELECT 0",
    }
)
NO: Final = frozenset({"0", "OFF", "FALSE"})


class Writer:
    """The connection that may write. Not for two threads at once.

    `find_address` is where to write, `find_watched` what is watched; both are asked at each new connection. `limit` is
    for each transaction, and for connecting.
    """

    def __init__(
        self, find_address: Callable[[], Address], *, find_watched: Callable[[], Address], limit: timedelta
    ) -> None:
        self._find_address = find_address
        self._find_watched = find_watched
        self._limit = limit
        self._connection: Connection | None = None

    def connect(self) -> None:
        """Open a new connection; raises ReadError, and ConfigurationError where it leads elsewhere or to a replica."""
        self.close()
        address, watched = self._find_address(), self._find_watched()
        if address.dialect != watched.dialect:
            raise ConfigurationError(f"healing.write_url: it is {address.dialect}, not {watched.dialect}; {RIGHT}")
        expected = self._identify_watched(watched)
        with Deadline(self._limit) as deadline, _naming_key(), self._translated(deadline):
            connection = self._connection = connect(address, deadline, access=Access.WRITE)
            found = _identify(connection, address)
            if found != expected:
                raise ConfigurationError(
                    f"healing.write_url: it leads to {_show(found)}, but {_show(expected)} is watched; {RIGHT}"
                )
            flags = connection.exec_driver_sql(REPLICA[address.dialect]).one()
            if any(str(flag).upper() not in NO for flag in flags):
                raise ConfigurationError("healing.write_url: the server is read-only; give the primary, and watch that")
            connection.rollback()

    @property
    def is_connected(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return self._connection is not None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run the block in a transaction and commit it.

        Raises ReadError where nothing was written, `Unsettled` where that is not known, and what the block raises, with
        nothing written.
        """
        with Deadline(self._limit) as deadline:
            with self._translated(deadline, closes=False):
                connection = self._begin(deadline)
                yield connection
            with self._translated(deadline, is_settled=False):
                connection.commit()

    def close(self) -> None:
        """Close the connection, if there is one; does not wait for an answer."""
        connection, self._connection = self._connection, None
        if connection:
            with suppress(SQLAlchemyError):
                connection.invalidate()  # else `close` would wait for the answer to a ROLLBACK
            connection.close()

    def _identify_watched(self, watched: Address) -> Identity:
        if watched.dialect == "sqlite":
            return _identify_file(watched)
        reader = Reader(lambda: watched, limit=self._limit)
        try:
            with reader.transaction() as transaction:
                return _identify(transaction.connection, watched)
        finally:
            reader.close()

    def _begin(self, deadline: Deadline) -> Connection:
        connection = self._connection
        if connection is None:
            raise Unreachable("the connection was lost")
        watch(connection, deadline)
        limit = limit_statements(connection, self._limit.total_seconds(), lock_seconds=LOCK_SECONDS)
        connection.exec_driver_sql(*limit).close()
        return connection

    @contextmanager
    def _translated(self, deadline: Deadline, *, closes: bool = True, is_settled: bool = True) -> Iterator[None]:
        """Undo what was done in the block, and raise the program's own errors."""
        try:
            yield
        except BaseException as cause:
            if closes or deadline.has_expired or not self._roll_back():
                self.close()
            # Of a garbled answer to COMMIT drivers make errors of any kind; before it such are the block's own.
            if not isinstance(cause, SQLAlchemyError | OSError | PollTimeout if is_settled else Exception):
                raise
            error = _error(cause, deadline)
            raise (error if is_settled else Unsettled(str(error))) from cause

    def _roll_back(self) -> bool:
        """Tell whether the connection is there still, and nothing is left of its transaction."""
        if self._connection is None:
            return False
        try:
            self._connection.rollback()
        except (SQLAlchemyError, OSError):
            return False
        return not self._connection.invalidated


@contextmanager
def _naming_key() -> Iterator[None]:
    """Say of an error which of the two accounts it is about."""
    try:
        yield
    except ReadError as cause:
        raise type(cause)(f"healing.write_url: {cause}") from cause


def _error(cause: BaseException, deadline: Deadline) -> ReadError:
    if isinstance(cause, PollTimeout):
        return cause
    limit = timedelta(seconds=deadline.limit_seconds)
    return read_error(cause, has_expired=deadline.has_expired, limit=limit)


def _identify(connection: Connection, address: Address) -> Identity:
    """Say which database this is, in values that no other has at the same time."""
    if address.dialect == "sqlite":
        return _identify_file(address)
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    return tuple(connection.exec_driver_sql(IDENTITY["mariadb" if is_mariadb else address.dialect]).one())


def _identify_file(address: Address) -> Identity:
    path = Path(address.url.database or "")
    try:
        status = path.stat()
    except OSError as cause:
        raise Unreachable(f"{path}: cannot be looked at ({cause.strerror})") from cause
    return status.st_dev, status.st_ino


def _show(identity: Identity) -> str:
    return " ".join(str(value) for value in identity)
