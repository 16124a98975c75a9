"""Open connections to watched databases: read-only, limited, verified, and never waited for without an end.

The only module that connects. A `Reader` holds at most one connection and gives out one transaction at a time:
- read-only is enforced by the server (MySQL, MariaDB, PostgreSQL: a read-only transaction; SQLite: `mode=ro`);
- one transaction sees one state of the data (repeatable read), and none outlives its poll;
- the whole transaction, connecting included, has one deadline: the server ends the statement, and if nothing comes
  back the socket is shut down from another thread. The drivers' own timeouts are not used: PyMySQL's (1.2.4) begin
  anew with each byte, psycopg's (3.3) last 2 s at least. Only the resolver keeps to limits of its own (resolv.conf);
- after any failure the connection is dropped, and the next transaction opens a new one. A connection that the server
  closed while it was idle is replaced without a failure.
TLS is verified whenever it is asked for: PyMySQL's own `ssl_ca` alone is not, so it gets an `ssl.SSLContext`.
"""

import math
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, NullPool, event
from sqlalchemy.exc import SQLAlchemyError

from . import clock
from .address import Address, Tls
from .driver_errors import read_error
from .errors import ConfigurationError, NoAnswer, PollTimeout, Refused, Unreachable
from .jobs import Role
from .sqlite_files import is_wal, refuse_to_leave_files

CONNECT_SECONDS: Final = 10.0
ABORT_AGAIN_SECONDS: Final = 0.1
# A reader of SQLite outside WAL mode keeps writers out; theirs usually give up after 5 s (Python's sqlite3, Meltano).
LOCKED_SECONDS: Final = 3.0
CLOCK: Final = MappingProxyType(
    {
        "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6,"
        " @@read_only, @@innodb_read_only",
        "postgresql": "SELECT extract(epoch FROM clock_timestamp()), pg_is_in_recovery(), false",
        "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0, 0, 0",
    }
)
# psycopg's binary wheels bring an OpenSSL that does not know where the system keeps its authorities.
AUTHORITIES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A read-only transaction in progress, and what the database said of itself in its first statement."""

    connection: Connection
    read_at: datetime
    database_now: datetime
    role: Role


class Deadline:
    """An end for everything that is done within it: when time is up, `abort` is called from another thread.

    It is called until the work is over, not once: SQLite forgets an interrupt that comes between two statements.
    """

    def __init__(self, limit: timedelta) -> None:
        self._begins = clock.monotonic_seconds()
        self.limit_seconds = limit.total_seconds()
        self._abort: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._is_over = threading.Event()
        self._is_changed = threading.Event()
        self._watch = threading.Thread(target=self._abort_in_time, name="deadline", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._is_changed.set()
        self._watch.join()
        self._held.close()

    @property
    def has_expired(self) -> bool:
        """Whether time is up."""
        return self._seconds_left() <= 0

    def remaining_seconds(self) -> float:
        """Return the seconds left; raises PollTimeout when there are none."""
        left = self._seconds_left()
        if left <= 0:
            raise PollTimeout(f"no answer within {self.limit_seconds:g} s")
        return left

    def shorten(self, limit_seconds: float) -> None:
        """End earlier, if that is earlier."""
        self.limit_seconds = min(self.limit_seconds, limit_seconds)
        self._is_changed.set()

    def abort_with(self, abort: Callable[[], None]) -> None:
        """Say what ends the work in hand."""
        with self._lock:
            self._abort = abort

    def abort_by_shutdown(self, connection: Any) -> None:
        """Let the work in hand end by a shutdown of this connection's socket.

        Of a duplicate: the driver may close its own at any time, and the number may then be another connection's.
        """
        duplicate = self._held.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
        self.abort_with(partial(duplicate.shutdown, socket.SHUT_RDWR))

    def _abort_in_time(self) -> None:
        while not self._is_over.is_set():
            left = self._seconds_left()
            if self._is_changed.wait(left if left > 0 else ABORT_AGAIN_SECONDS):
                self._is_changed.clear()
            elif self.has_expired:
                with self._lock, suppress(OSError, sqlite3.ProgrammingError):  # what is closed already has ended
                    if self._abort:
                        self._abort()

    def _seconds_left(self) -> float:
        return self._begins + self.limit_seconds - clock.monotonic_seconds()


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
            held: Any = self._connection.connection.dbapi_connection
            # PyMySQL has no public name for its socket.
            deadline.abort_by_shutdown(held._sock if self._dialect == "mysql" else held)
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
        try:
            engine = sqlalchemy.create_engine(address.url, poolclass=NullPool)
        except ModuleNotFoundError as cause:
            raise ConfigurationError("url: PostgreSQL needs a driver; pip install 'queuemedic[postgresql]'") from cause
        opener = partial(OPENERS[address.dialect], address=address, deadline=deadline)
        event.listen(engine, "do_connect", lambda dialect, _, __, given: opener(dialect.loaded_dbapi, given))
        if address.dialect == "sqlite":
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        event.listen(engine, "before_cursor_execute", self._before_statement)
        self._connection = engine.connect()
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
            connection.exec_driver_sql(*_limit(connection, seconds), execution_options=options).close()


def _limit(connection: Connection, seconds: float) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that limits those to come; 0 would be no limit.

    PostgreSQL's limits hold for the transaction, not the session: behind a pooler, sessions are shared.
    SQLite does not mind an interrupt while it waits for a lock, so that gets a limit, too.
    """
    milliseconds = max(math.ceil(seconds * 1000), 1)
    if connection.dialect.name == "sqlite":
        return f"PRAGMA busy_timeout = {milliseconds:d}", ()
    if connection.dialect.name == "postgresql":
        names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
        return "SELECT set_config(name, %s, true) FROM unnest(%s::text[]) AS name", (str(milliseconds), names)
    if getattr(connection.dialect, "is_mariadb", False):
        return "SET SESSION max_statement_time = %s", (max(seconds, 0.001),)
    return "SET SESSION max_execution_time = %s", (milliseconds,)


def _open_sqlite(_driver: Any, _parameters: object, address: Address, deadline: Deadline) -> sqlite3.Connection:
    path = Path(address.url.database or "")
    if not path.is_file():  # SQLite's own message names neither the file nor the reason
        raise Unreachable(f"{path}: there is no such file")
    if not os.access(path, os.R_OK):
        raise Refused(f"{path}: there is no right to read it")
    if is_wal(path):
        refuse_to_leave_files(path)
    else:
        deadline.shorten(LOCKED_SECONDS)
    location = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(location, uri=True, check_same_thread=False, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    deadline.abort_with(connection.interrupt)
    return connection


def _open_postgresql(driver: Any, parameters: dict[str, Any], address: Address, deadline: Deadline) -> Any:
    """Do what `psycopg.connect` does (3.3), within the deadline."""
    parameters.pop("context", None)
    # Left to the database, texts of one in SQL_ASCII are bytes to psycopg, the server's version among them.
    parameters |= {"application_name": "queuemedic", "client_encoding": "UTF8", **_libpq_tls(address.tls)}

    def start(attempt: dict[str, Any], seconds: float) -> Any:
        with closing(driver.generators.connect(driver.conninfo.make_conninfo(**attempt))) as opening:
            return driver.waiting.wait_conn(opening, ABORT_AGAIN_SECONDS, seconds)

    attempts = driver.conninfo.conninfo_attempts(parameters)
    connection = driver.Connection(_first(attempts, start, fault=driver.OperationalError, deadline=deadline))
    deadline.abort_by_shutdown(connection)
    connection.isolation_level = driver.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    return connection


def _libpq_tls(tls: Tls | None) -> Mapping[str, str]:
    if tls is None:
        return {}
    tls.context()  # says by its name which file cannot be used
    known = ssl.get_default_verify_paths().cafile or next(filter(os.path.exists, AUTHORITIES), "system")
    verified = {"sslmode": "verify-full", "sslrootcert": str(tls.ca_file or known)}
    own = {"sslcert": str(tls.cert_file), "sslkey": str(tls.key_file or tls.cert_file)}
    return (verified if tls.is_verified else {"sslmode": "require"}) | (own if tls.cert_file else {})


def _open_mysql(driver: Any, parameters: dict[str, Any], address: Address, deadline: Deadline) -> Any:
    parameters |= {"charset": "utf8mb4", "local_infile": False, "program_name": "queuemedic", "defer_connect": True}
    if address.url.password is not None:
        # PyMySQL 1.2.4 sends text as latin-1; PHP, mysql and everybody else send UTF-8.
        parameters["password"] = address.url.password.encode()
    if address.tls:
        parameters["ssl"] = address.tls.context()
    connection = driver.connect(**parameters)
    try:
        link = _first(_endpoints(parameters), _open_socket, fault=OSError, deadline=deadline)
    except OSError as cause:
        if deadline.has_expired:
            raise
        place = parameters.get("unix_socket") or f"{parameters.get('host')}:{parameters.get('port') or 3306}"
        raise Unreachable(f"cannot connect to {place}: {cause.strerror or cause}") from cause
    deadline.abort_by_shutdown(link)
    connection.connect(link)
    seconds = math.ceil(deadline.limit_seconds)
    settings = ["sql_mode = ''", "TRANSACTION READ ONLY", "TRANSACTION ISOLATION LEVEL REPEATABLE READ"]
    settings.append(f"lock_wait_timeout = {seconds:d}")
    if "mariadb" in connection.get_server_info().lower():
        settings.append(f"idle_transaction_timeout = {seconds:d}")
    with connection.cursor() as cursor:
        for setting in settings:
            cursor.execute(f"SET SESSION {setting}")
    return connection


def _endpoints(parameters: Mapping[str, Any]) -> list[tuple[int, Any]]:
    if "unix_socket" in parameters:
        return [(socket.AF_UNIX, parameters["unix_socket"])]
    host, port = parameters.get("host") or "localhost", parameters.get("port") or 3306
    return [(found[0], found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _open_socket(endpoint: tuple[int, Any], seconds: float) -> socket.socket:
    family, place = endpoint
    with ExitStack() as undo:
        opened = undo.enter_context(socket.socket(family))
        opened.settimeout(seconds)
        opened.connect(place)
        if family != socket.AF_UNIX:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        undo.pop_all()
    return opened


def _first(
    candidates: Sequence[Any], open_one: Callable[[Any, float], Any], *, fault: type[Exception], deadline: Deadline
) -> Any:
    """Open the first that answers; each has its share of the time, so that a dead one leaves some for the next."""
    for left in range(len(candidates), 1, -1):
        with suppress(fault):
            return open_one(candidates[-left], min(CONNECT_SECONDS, deadline.remaining_seconds() / left))
    return open_one(candidates[-1], min(CONNECT_SECONDS, deadline.remaining_seconds()))


OPENERS: Final = MappingProxyType({"mysql": _open_mysql, "postgresql": _open_postgresql, "sqlite": _open_sqlite})
