"""Open connections to watched databases: read-only, limited, verified, and never waited for without an end.

The only module that connects. A `Reader` holds at most one connection and gives out one transaction at a time:
- read-only is enforced by the server (MySQL, MariaDB, PostgreSQL: a read-only transaction; SQLite: `mode=ro`);
- one transaction sees one state of the data (repeatable read), and none outlives its poll;
- the whole transaction has one deadline: the server ends the statement, and if nothing comes back a timer shuts the
  socket down from another thread (a frozen PostgreSQL hangs psycopg for ever otherwise);
- after any failure the connection is dropped, and the next transaction opens a new one. A connection that the server
  closed while it was idle is replaced without a failure.
TLS is verified whenever it is asked for: PyMySQL's own `ssl_ca` alone is not (1.2.4), so it gets an `ssl.SSLContext`.
"""

import math
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, NullPool, event
from sqlalchemy.exc import SQLAlchemyError

from . import clock
from .driver_errors import read_error
from .errors import ConfigurationError, PollTimeout, Unreachable
from .jobs import Role

CONNECT_SECONDS: Final = 10.0
DRIVERS: Final = MappingProxyType(
    {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
)
CLOCK: Final = MappingProxyType(
    {
        "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6,"
        " @@read_only, @@innodb_read_only",
        "postgresql": "SELECT extract(epoch FROM clock_timestamp()), pg_is_in_recovery(), false",
        "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0, 0, 0",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the server is verified: by `ca_file` or `ca_path`, or by the system's authorities; and who we are to it."""

    ca_file: Path | None = None
    ca_path: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    is_verified: bool = True

    def context(self) -> ssl.SSLContext:
        """Return a context that checks authority and name, at least TLS 1.2; raises ConfigurationError."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file, capath=self.ca_path)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as cause:
            files = [str(name) for name in (self.ca_file, self.ca_path, self.cert_file, self.key_file) if name]
            raise ConfigurationError(f"tls: {', '.join(files)} cannot be used: {cause}; give PEM files") from cause
        if not self.is_verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a database is. The password stays inside `url`, which hides it when shown."""

    url: URL
    tls: Tls | None = None

    @property
    def dialect(self) -> str:
        """`mysql` (MariaDB too), `postgresql` or `sqlite`."""
        name = self.url.get_backend_name()
        return "mysql" if name == "mariadb" else name

    @property
    def server(self) -> str:
        """Name the server, not the database: what polls have to share."""
        if self.dialect == "sqlite":
            return f"sqlite:{self.url.database}"
        unix_socket = self.url.query.get("unix_socket")
        return f"{self.dialect}:{unix_socket or f'{self.url.host}:{self.url.port}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A read-only transaction in progress, and what the database said of itself in its first statement."""

    connection: Connection
    read_at: datetime
    database_now: datetime
    role: Role


class Deadline:
    """An end for everything that is done within it: `abort` is called from another thread when time is up."""

    def __init__(self, limit: timedelta) -> None:
        self._ends = clock.monotonic_seconds() + limit.total_seconds()
        self._abort: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(limit.total_seconds(), self._expire)
        self._timer.daemon = True
        self._timer.name = "deadline"
        self.has_expired = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.abort_with(None)

    def abort_with(self, abort: Callable[[], None] | None) -> None:
        """Say what ends the work in hand; None when there is none. Waits for an abort that is being carried out."""
        with self._lock:
            self._abort = abort
            if abort and self.has_expired:
                abort()

    def remaining_seconds(self) -> float:
        """Return the seconds left; raises PollTimeout when there are none."""
        left = self._ends - clock.monotonic_seconds()
        if left <= 0 or self.has_expired:
            raise PollTimeout
        return left

    def _expire(self) -> None:
        with self._lock:
            self.has_expired = True
            if self._abort:
                self._abort()


class Reader:
    """One read-only connection to one database, opened when it is first needed. Not for two threads at once.

    `find_address` is asked at each new connection, so that a changed password takes effect without a restart.
    """

    def __init__(self, find_address: Callable[[], Address], *, limit: timedelta) -> None:
        self._find_address = find_address
        self._limit = limit
        self._connection: Connection | None = None
        self._wire: Callable[[], None] | None = None
        self._deadline: Deadline | None = None
        self._statement_seconds = 0.0
        self._dialect = ""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run the block in a read-only transaction; raises ReadError, and drops the connection, after any failure."""
        with Deadline(self._limit) as deadline:
            self._deadline = deadline
            try:
                yield self._begin(deadline)
                self._end()
            except BaseException as cause:
                deadline.abort_with(None)
                self._drop()
                if isinstance(cause, SQLAlchemyError | OSError | sqlite3.Error):
                    raise read_error(cause, has_expired=deadline.has_expired, limit=self._limit) from cause
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
        wire, self._wire = self._wire, None
        if connection:
            with suppress(SQLAlchemyError):
                connection.invalidate()
            with suppress(SQLAlchemyError):
                connection.close()
        if wire:
            wire()

    def _drop(self) -> None:
        if self._wire:
            self._wire()
        self.close()

    def _begin(self, deadline: Deadline) -> Transaction:
        if self._connection:
            try:
                return self._read_clock(self._connection, deadline)
            except SQLAlchemyError as cause:
                error = read_error(cause, has_expired=deadline.has_expired, limit=self._limit)
                if not isinstance(error, Unreachable):
                    raise
                self._drop()
        return self._read_clock(self._connect(), deadline)

    def _read_clock(self, connection: Connection, deadline: Deadline) -> Transaction:
        deadline.abort_with(self._wire)
        if self._dialect == "postgresql":
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
        if self._dialect == "sqlite":
            self.close()

    def _connect(self) -> Connection:
        address = self._find_address()
        self._dialect = address.dialect
        engine = _engine(address, self._limit)
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "before_cursor_execute", self._before_statement)
        self._connection = engine.connect()
        return self._connection

    def _on_connect(self, driver_connection: Any, _record: object) -> None:
        self._wire = _wire_cutter(driver_connection)
        if self._deadline:
            self._deadline.abort_with(self._wire)
        if self._dialect == "mysql":
            _prepare_mysql(driver_connection, self._limit)
            self._statement_seconds = 0.0

    def _before_statement(self, connection: Connection, *_: object) -> None:
        """Hold the server's limit for a statement at what is left of the poll, to the second."""
        if self._deadline is None:
            return
        left = self._deadline.remaining_seconds()
        seconds = self._limit.total_seconds()
        if seconds - left > 1.0:
            seconds = left
        driver_connection = connection.connection.dbapi_connection
        if self._dialect != "sqlite" and seconds != self._statement_seconds and driver_connection is not None:
            self._statement_seconds = seconds
            limit_statement = _limit_mysql if self._dialect == "mysql" else _limit_postgresql
            limit_statement(driver_connection, seconds)


def normalise(url: URL) -> URL:
    """Return the URL with the driver that is used here; raises ConfigurationError for a database that is not known."""
    driver = DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError(f"url: {url.drivername!r} is not known; write one of {', '.join(DRIVERS)}")
    if any(key.startswith("ssl") for key in url.query):
        raise ConfigurationError("url: TLS settings in a URL are not verified by every driver; write them under tls:")
    return url.set(drivername=driver)


def _engine(address: Address, limit: timedelta) -> Engine:
    makers: Mapping[str, Callable[[Address, timedelta], Engine]] = {
        "mysql": _mysql_engine,
        "postgresql": _postgresql_engine,
        "sqlite": _sqlite_engine,
    }
    return makers[address.dialect](address, limit)


def _mysql_engine(address: Address, limit: timedelta) -> Engine:
    seconds = limit.total_seconds()
    arguments: dict[str, Any] = {
        "connect_timeout": min(seconds, CONNECT_SECONDS),
        "read_timeout": seconds,
        "write_timeout": seconds,
        "charset": "utf8mb4",
        "local_infile": False,
        "program_name": "queuemedic",
    }
    if address.url.password is not None:
        # PyMySQL 1.2.4 sends text as latin-1; PHP, mysql and everybody else send UTF-8.
        arguments["password"] = address.url.password.encode()
    if address.tls:
        arguments["ssl"] = address.tls.context()
    return sqlalchemy.create_engine(address.url, poolclass=NullPool, connect_args=arguments)


def _postgresql_engine(address: Address, limit: timedelta) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": math.ceil(min(limit.total_seconds(), CONNECT_SECONDS)),
        "application_name": "queuemedic",
    }
    if address.tls:
        arguments |= {
            "sslmode": "verify-full" if address.tls.is_verified else "require",
            "sslrootcert": str(address.tls.ca_file or "system"),
        }
        if address.tls.cert_file:
            key_file = address.tls.key_file or address.tls.cert_file
            arguments |= {"sslcert": str(address.tls.cert_file), "sslkey": str(key_file)}
    try:
        return sqlalchemy.create_engine(
            address.url,
            poolclass=NullPool,
            connect_args=arguments,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
    except ModuleNotFoundError as cause:
        raise ConfigurationError("url: PostgreSQL needs a driver; pip install 'queuemedic[postgresql]'") from cause


def _sqlite_engine(address: Address, limit: timedelta) -> Engine:
    location = f"file:{quote(address.url.database or '')}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            location, uri=True, timeout=min(limit.total_seconds(), 5.0), check_same_thread=False, isolation_level=None
        )
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _prepare_mysql(driver_connection: Any, limit: timedelta) -> None:
    """Make a session read-only; one statement each, since one `init_command` takes only one."""
    seconds = math.ceil(limit.total_seconds())
    statements = [
        "SET SESSION sql_mode = ''",
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        f"SET SESSION lock_wait_timeout = {seconds}",
    ]
    if _is_mariadb(driver_connection):
        statements.append(f"SET SESSION idle_transaction_timeout = {seconds}")
    with driver_connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _limit_mysql(driver_connection: Any, seconds: float) -> None:
    """MariaDB counts `max_statement_time` in seconds, MySQL `max_execution_time` in milliseconds; 0 is no limit."""
    with driver_connection.cursor() as cursor:
        if _is_mariadb(driver_connection):
            cursor.execute("SET SESSION max_statement_time = %s", (max(seconds, 0.001),))
        else:
            cursor.execute("SET SESSION max_execution_time = %s", (max(math.ceil(seconds * 1000), 1),))


def _is_mariadb(driver_connection: Any) -> bool:
    return "mariadb" in driver_connection.get_server_info().lower()


def _limit_postgresql(driver_connection: Any, seconds: float) -> None:
    """Limit one transaction, not the session, so that it holds behind a pooler that shares sessions, too."""
    milliseconds = str(max(math.ceil(seconds * 1000), 1))
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with driver_connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, %s, true) FROM unnest(%s::text[]) AS name",
            (milliseconds, list(names)),
        )


def _wire_cutter(driver_connection: Any) -> Callable[[], None]:
    """Return what ends a connection from another thread: an interrupt for SQLite, else a shutdown of the socket.

    The socket is a duplicate of the driver's, so that it can never be another connection's by the time it is used.
    """
    if isinstance(driver_connection, sqlite3.Connection):

        def interrupt() -> None:
            with suppress(sqlite3.ProgrammingError):
                driver_connection.interrupt()

        return interrupt
    # PyMySQL has no public name for its socket; psycopg has fileno().
    number = driver_connection.fileno() if hasattr(driver_connection, "fileno") else driver_connection._sock.fileno()
    duplicate = socket.socket(fileno=os.dup(number))

    def cut() -> None:
        with suppress(OSError):
            duplicate.shutdown(socket.SHUT_RDWR)
        duplicate.close()

    return cut
