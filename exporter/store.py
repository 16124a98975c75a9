"""One connection to a database of the program's own, which it reads and writes: the ledger's.

It is connected to as watched databases are (`database.py`: address, TLS, deadlines), but for writing:
- a commit that has returned is on the disk: SQLite in WAL mode with `synchronous=FULL`; other servers as they are set;
- a transaction that fails leaves nothing behind, and its connection is dropped; one that the server closed while it was
  idle is replaced without a failure;
- each transaction has one deadline, waiting for its turn not included, which has the same limit;
- a SQLite file that was replaced while it was open is used no more: writing to the old one would be writing to nothing,
  and SQLite would take the new one together with the `-wal` of the old.
Whatever goes wrong is a `LedgerError`, and then nothing is healed.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, NullPool, event
from sqlalchemy.exc import SQLAlchemyError

from .address import Address
from .deadline import Deadline
from .driver_errors import read_error
from .errors import ConfigurationError, LedgerError, ReadError, Unreachable
from .openers import OPENERS, Access, limit_statements, watch
from .store_file import identity, look, prepare

LIMIT: Final = timedelta(seconds=10)
# SQLite's primary result codes (sqlite.org/rescode.html) of what a person can mend.
ADVICE: Final[Mapping[int, str]] = MappingProxyType(
    {
        5: "another process holds it locked",
        8: "make it writable",
        10: "look for errors of the disk with `dmesg`",
        11: "restore a copy, or move it away and begin a new ledger",
        13: "make room on its file system",
        26: "restore a copy, or move it away and begin a new ledger",
    }
)


class Store:
    """A database of the program's own, connected to when it is first needed. For any number of threads, in turn."""

    def __init__(self, address: Address, *, limit: timedelta = LIMIT, is_read_only: bool = False) -> None:
        if address.dialect == "sqlite" and address.url.database in (None, "", ":memory:"):
            raise ConfigurationError("ledger: found no file; write sqlite:////var/lib/queuemedic/ledger.db")
        self.address = address
        self.is_read_only = is_read_only
        self._access = Access.READ if is_read_only else Access.WRITE
        self._limit = limit
        self._turn = threading.Lock()
        self._writes = False
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """Name the database for people."""
        if self.address.dialect == "sqlite":
            return str(self.address.url.database)
        return self.address.place

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run the block in a transaction that changes nothing; raises LedgerError."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Run the block in a transaction that is durable when this returns; raises LedgerError, and undoes it."""
        if self.is_read_only:
            raise LedgerError(f"{self.place}: is opened for reading only")
        with self._transaction(writes=True) as connection:
            yield connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._in_turn():
            self._drop()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with self._in_turn(), Deadline(self._limit) as deadline:
            if self._connection:
                self._refuse_other_file()
            try:
                self._writes = writes
                connection = self._begin(deadline)
                yield connection
                if writes:
                    connection.commit()
                else:
                    connection.rollback()
            except BaseException as cause:
                self._drop()
                if isinstance(cause, SQLAlchemyError | OSError | ReadError):
                    raise self._explain(cause, has_expired=deadline.has_expired) from cause
                raise

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._limit.total_seconds()):
            raise LedgerError(f"{self.place}: is busy for more than {self._limit.total_seconds():g} s")
        try:
            yield
        finally:
            self._turn.release()

    def _begin(self, deadline: Deadline) -> Connection:
        if self._connection:
            watch(self._connection, deadline)
            try:
                return self._started(self._connection)
            except SQLAlchemyError as cause:
                if not isinstance(read_error(cause, has_expired=deadline.has_expired, limit=self._limit), Unreachable):
                    raise
                self._drop()
        return self._started(self._connect(deadline))

    def _started(self, connection: Connection) -> Connection:
        if self.address.dialect == "postgresql":
            # Behind a pooler sessions are shared, so limits hold for the transaction.
            seconds = self._limit.total_seconds()
            connection.exec_driver_sql(*limit_statements(connection, seconds, lock_seconds=seconds)).close()
        else:
            connection.exec_driver_sql("SELECT 1").close()
        return connection

    def _connect(self, deadline: Deadline) -> Connection:
        try:
            engine = sqlalchemy.create_engine(self.address.url, poolclass=NullPool)
        except ModuleNotFoundError as cause:
            raise ConfigurationError(
                "ledger: PostgreSQL needs a driver; pip install 'queuemedic[postgresql]'"
            ) from cause
        opener: Callable[[Any, Any], Any] = {
            "sqlite": self._open_sqlite,
            "mysql": self._open_mysql,
            "postgresql": self._open_postgresql,
        }[self.address.dialect]
        event.listen(engine, "do_connect", lambda dialect, _, __, given: opener(dialect.loaded_dbapi, given)(deadline))
        if self.address.dialect == "sqlite":
            event.listen(engine, "begin", self._begin_sqlite)
        self._connection = engine.connect()
        return self._connection

    def _begin_sqlite(self, connection: Connection) -> None:
        # IMMEDIATE waits for the other writers before anything is read: a later upgrade could only fail.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self._writes else "BEGIN")

    def _open_sqlite(self, driver: Any, _parameters: object) -> Callable[[Deadline], Any]:
        return partial(self._open_file, driver)

    def _open_file(self, driver: Any, deadline: Deadline) -> Any:
        path = Path(str(self.address.url.database))
        if self.is_read_only:
            look(path)
        else:
            prepare(path)
        location = f"file:{quote(str(path))}?mode={'ro' if self.is_read_only else 'rw'}"
        connection = driver.connect(location, uri=True, check_same_thread=False, isolation_level=None)
        deadline.abort_with(connection.interrupt)
        self._file = identity(path)
        connection.execute(f"PRAGMA busy_timeout = {round(self._limit.total_seconds() * 1000):d}")
        connection.execute("PRAGMA foreign_keys = ON")
        if not self.is_read_only:
            _begin_wal(connection, path, driver=driver, deadline=deadline)
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _open_mysql(self, driver: Any, parameters: Any) -> Callable[[Deadline], Any]:
        def connect(deadline: Deadline) -> Any:
            connection = OPENERS["mysql"](
                driver, parameters, address=self.address, deadline=deadline, access=self._access
            )
            seconds = max(round(self._limit.total_seconds()), 1)
            settings = ["sql_mode = 'STRICT_ALL_TABLES'", f"innodb_lock_wait_timeout = {seconds:d}"]
            if "mariadb" in connection.get_server_info().lower():
                settings.append(f"max_statement_time = {seconds:d}")
            with connection.cursor() as cursor:
                for setting in settings:
                    cursor.execute(f"SET SESSION {setting}")
            return connection

        return connect

    def _open_postgresql(self, driver: Any, parameters: Any) -> Callable[[Deadline], Any]:
        return partial(self._open_on_postgresql, driver, parameters)

    def _open_on_postgresql(self, driver: Any, parameters: Any, deadline: Deadline) -> Any:
        return OPENERS["postgresql"](driver, parameters, address=self.address, deadline=deadline, access=self._access)

    def _refuse_other_file(self) -> None:
        path = Path(str(self.address.url.database))
        if self.address.dialect == "sqlite" and identity(path) != self._file:
            raise LedgerError(
                f"{path}: was moved or replaced while it was open; stop Queuemedic, put back a copy or begin anew,"
                f" without the old {path.name}-wal and {path.name}-shm, and start it again"
            )

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with suppress(SQLAlchemyError):
                connection.invalidate()  # else `close` would wait for the answer to a ROLLBACK
            connection.close()

    def _explain(self, cause: Exception, *, has_expired: bool) -> LedgerError:
        error = cause if isinstance(cause, ReadError) else read_error(cause, has_expired=has_expired, limit=self._limit)
        code = getattr(getattr(cause, "orig", cause), "sqlite_errorcode", 0) & 0xFF
        advice = f"; {ADVICE[code]}" if code in ADVICE else ""
        return LedgerError(f"{self.place}: {error}{advice}")


def _begin_wal(connection: Any, path: Path, *, driver: Any, deadline: Deadline) -> None:
    """Turn to WAL mode, once in the life of a file; SQLite does not wait where several do so at once."""
    while True:
        try:
            with closing(connection.execute("PRAGMA journal_mode = WAL")) as answer:
                mode = answer.fetchone()[0]
        except driver.OperationalError as cause:
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF != driver.SQLITE_BUSY or deadline.remaining_seconds() <= 0:
                raise
        else:
            if mode != "wal":
                raise LedgerError(f"{path}: SQLite cannot use WAL here (mode {mode}); keep the ledger on a local disk")
            return
