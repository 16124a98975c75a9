"""Open sessions with MariaDB, MySQL, PostgreSQL and SQLite: to read or to write, verified, limited, within a deadline.

The only module that connects. What a session may do is for the server to hold: one that reads is read-only (MySQL,
MariaDB, PostgreSQL: a read-only transaction; SQLite: `mode=ro`) and sees one state of the data (repeatable read); one
that writes sees what is committed (read committed), waits `LOCK_SECONDS` for a lock at most, and creates no file. The
server ends it when it has said nothing for twice its limit and `IDLE_SECONDS` (PostgreSQL: from 14 on): one that froze,
or was cut off, must not keep the lock of healers from others for the hours that servers else allow.
TLS is verified whenever it is asked for: PyMySQL's own `ssl_ca` alone is not, so it gets an `ssl.SSLContext`.
Only the resolver keeps to limits of its own (resolv.conf).
"""

import math
import os
import socket
import sqlite3
import ssl
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, NullPool, event

from .address import Address, Tls
from .deadline import ABORT_AGAIN_SECONDS, Deadline
from .errors import ConfigurationError, Refused, Unreachable
from .imports import import_pymysql
from .sqlite_files import is_wal, refuse_to_leave_files


class Access(Enum):
    """What a session is for."""

    READ = "read"
    WRITE = "write"


CONNECT_SECONDS: Final = 10.0
LOCK_SECONDS: Final = 1
# Between two transactions of one pass lies at most a write to a ledger.
IDLE_SECONDS: Final = 30
IDLE_SINCE: Final = 140_000
# A reader of SQLite outside WAL mode keeps writers out; theirs usually give up after 5 s (Python's sqlite3, Meltano).
LOCKED_SECONDS: Final = 3.0
# psycopg's binary wheels bring an OpenSSL that does not know where the system keeps its authorities.
AUTHORITIES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
RIGHTS: Final = MappingProxyType(
    {Access.READ: (("read", os.R_OK),), Access.WRITE: (("read", os.R_OK), ("write to", os.W_OK))}
)
SQLITE_LOCK_SECONDS: Final = MappingProxyType({Access.READ: 5.0, Access.WRITE: float(LOCK_SECONDS)})
BEGIN: Final = MappingProxyType({Access.READ: "BEGIN", Access.WRITE: "BEGIN IMMEDIATE"})
SQLITE_MODES: Final = MappingProxyType({Access.READ: "ro", Access.WRITE: "rw"})
MYSQL_SETTINGS: Final = MappingProxyType(
    {
        Access.READ: ("sql_mode = ''",),
        # What does not fit a column is refused, rather than cut.
        Access.WRITE: (
            "sql_mode = 'STRICT_ALL_TABLES'",
            f"lock_wait_timeout = {LOCK_SECONDS:d}",
            f"innodb_lock_wait_timeout = {LOCK_SECONDS:d}",
        ),
    }
)


MYSQL_TRANSACTIONS: Final = MappingProxyType(
    {
        Access.READ: "TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        Access.WRITE: "TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    }
)


def connect(
    address: Address, deadline: Deadline, *, access: Access, before_statement: Callable[..., None] | None = None
) -> Connection:
    """Open a session; `before_statement` is called as SQLAlchemy's `before_cursor_execute`."""
    if address.dialect == "mysql":
        import_pymysql()
    try:
        engine = sqlalchemy.create_engine(address.url, poolclass=NullPool)
    except ModuleNotFoundError as cause:
        raise ConfigurationError("url: PostgreSQL needs a driver; pip install 'queuemedic[postgresql]'") from cause
    opener = partial(OPENERS[address.dialect], address=address, deadline=deadline, access=access)
    event.listen(engine, "do_connect", lambda dialect, _, __, given: opener(dialect.loaded_dbapi, given))
    if address.dialect == "sqlite":
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(BEGIN[access]))
    if before_statement is not None:
        event.listen(engine, "before_cursor_execute", before_statement)
    return engine.connect()


def watch(connection: Connection, deadline: Deadline) -> None:
    """Let a session that is already open end with this deadline."""
    held: Any = connection.connection.dbapi_connection
    if isinstance(held, sqlite3.Connection):
        deadline.abort_with(held.interrupt)
    else:
        # PyMySQL has no public name for its socket.
        deadline.abort_by_shutdown((held if connection.dialect.name == "postgresql" else held._sock).fileno())


def limit_statements(connection: Connection, seconds: float, *, lock_seconds: float) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that limits those to come; 0 would be no limit.

    PostgreSQL's limits hold for the transaction, not the session: behind a pooler, sessions are shared.
    `lock_seconds` is how long a lock may be waited for; MySQL's sessions are told when they are opened.
    SQLite does not mind an interrupt while it waits for a lock, so that gets a limit, too.
    """
    milliseconds = max(math.ceil(seconds * 1000), 1)
    if connection.dialect.name == "sqlite":
        return f"PRAGMA busy_timeout = {min(milliseconds, math.ceil(lock_seconds * 1000)):d}", ()
    if connection.dialect.name == "postgresql":
        names = ["statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"]
        limits = [str(milliseconds), str(milliseconds), str(min(milliseconds, math.ceil(lock_seconds * 1000)))]
        statement = "SELECT set_config(name, span, true) FROM unnest(%s::text[], %s::text[]) AS given (name, span)"
        return statement, (names, limits)
    if getattr(connection.dialect, "is_mariadb", False):
        return "SET SESSION max_statement_time = %s", (max(seconds, 0.001),)
    return "SET SESSION max_execution_time = %s", (milliseconds,)


def _open_sqlite(
    _driver: Any, _parameters: object, *, address: Address, deadline: Deadline, access: Access
) -> sqlite3.Connection:
    path = Path(address.url.database or "")
    if not path.is_file():  # SQLite's own message names neither the file nor the reason
        raise Unreachable(f"{path}: there is no such file")
    for right, mode in RIGHTS[access]:
        if not os.access(path, mode, effective_ids=True):
            raise Refused(f"{path}: there is no right to {right} it")
    if is_wal(path):
        refuse_to_leave_files(path)
    elif access is Access.READ:
        deadline.shorten(LOCKED_SECONDS)
    location = f"file:{quote(str(path))}?mode={SQLITE_MODES[access]}"
    connection = sqlite3.connect(
        location, uri=True, check_same_thread=False, isolation_level=None, timeout=SQLITE_LOCK_SECONDS[access]
    )
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    deadline.abort_with(connection.interrupt)
    return connection


def _open_postgresql(
    driver: Any, parameters: dict[str, Any], *, address: Address, deadline: Deadline, access: Access
) -> Any:
    """Do what `psycopg.connect` does (3.3), within the deadline."""
    parameters.pop("context", None)
    # Left to the database, texts of one in SQL_ASCII are bytes to psycopg, the server's version among them.
    parameters |= {"application_name": "queuemedic", "client_encoding": "UTF8", **_libpq_tls(address.tls)}

    def start(attempt: dict[str, Any], seconds: float) -> Any:
        with closing(driver.generators.connect(driver.conninfo.make_conninfo(**attempt))) as opening:
            return driver.waiting.wait_conn(_watched(opening, deadline), ABORT_AGAIN_SECONDS, seconds)

    attempts = driver.conninfo.conninfo_attempts(parameters)
    connection = driver.Connection(_first(attempts, start, fault=driver.OperationalError, deadline=deadline))
    deadline.abort_by_shutdown(connection.fileno())
    if access is Access.READ:
        connection.isolation_level, connection.read_only = driver.IsolationLevel.REPEATABLE_READ, True
    else:
        connection.isolation_level, connection.read_only = driver.IsolationLevel.READ_COMMITTED, False
        if connection.info.server_version >= IDLE_SINCE:
            connection.autocommit = True
            connection.execute(f"SET idle_session_timeout = '{_idle_seconds(deadline):d}s'").close()
            connection.autocommit = False
    return connection


def _watched(opening: Generator[Any, Any, Any], deadline: Deadline) -> Generator[Any, Any, Any]:
    """Go through the steps of opening a session, of whose socket the deadline knows from the first one on."""
    descriptor = None
    ready = None
    while True:
        try:
            step = opening.send(ready)
        except StopIteration as end:
            return end.value
        if step[0] != descriptor:
            descriptor = step[0]
            deadline.abort_by_shutdown(descriptor)
        ready = yield step


def _idle_seconds(deadline: Deadline) -> int:
    """Return how long a session that writes may say nothing."""
    return 2 * math.ceil(deadline.limit_seconds) + IDLE_SECONDS


def _libpq_tls(tls: Tls | None) -> Mapping[str, str]:
    if tls is None:
        return {}
    tls.context()  # says by its name which file cannot be used
    known = ssl.get_default_verify_paths().cafile or next(filter(os.path.exists, AUTHORITIES), "system")
    verified = {"sslmode": "verify-full", "sslrootcert": str(tls.ca_file or known)}
    own = {"sslcert": str(tls.cert_file), "sslkey": str(tls.key_file or tls.cert_file)}
    return (verified if tls.is_verified else {"sslmode": "require"}) | (own if tls.cert_file else {})


def _open_mysql(
    driver: Any, parameters: dict[str, Any], *, address: Address, deadline: Deadline, access: Access
) -> Any:
    parameters |= {"charset": "utf8mb4", "local_infile": False, "program_name": "queuemedic", "defer_connect": True}
    if address.url.password is not None:
        # PyMySQL 1.2.4 sends text as latin-1; PHP, mysql and everybody else send UTF-8.
        parameters["password"] = address.url.password.encode()
    parameters |= {"ssl": address.tls.context()} if address.tls else {"ssl_disabled": True}
    parameters["auth_plugin_map"] = {"mysql_clear_password": _ClearText, "dialog": _ClearText}
    connection = driver.connect(**parameters)
    if address.tls is None:
        # PyMySQL would do the same, with a context for each connection that holds every authority of the system: 1 MiB.
        connection.ssl, connection.ctx = True, _trusting_context()
    try:
        link = _first(_endpoints(parameters), _open_socket, fault=OSError, deadline=deadline)
    except OSError as cause:
        if deadline.has_expired:
            raise
        place = parameters.get("unix_socket") or f"{parameters.get('host')}:{parameters.get('port') or 3306}"
        raise Unreachable(f"cannot connect to {place}: {cause.strerror or cause}") from cause
    deadline.abort_by_shutdown(link.fileno())
    connection.connect(link)
    seconds = math.ceil(deadline.limit_seconds)
    settings = [*MYSQL_SETTINGS[access]]
    if access is Access.READ:
        settings.append(f"lock_wait_timeout = {seconds:d}")
    else:
        settings.append(f"wait_timeout = {_idle_seconds(deadline):d}")
    if "mariadb" in connection.get_server_info().lower():
        settings.append(f"idle_transaction_timeout = {seconds:d}")
    with connection.cursor() as cursor:
        for setting in (MYSQL_TRANSACTIONS[access], ", ".join(settings)):
            cursor.execute(f"SET SESSION {setting}")
    return connection


class _ClearText:
    """Tells the password as it is where the server asks for that, but to nobody who listens: as `mysql` does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def authenticate(self, _asked: object) -> Any:
        connection = self._connection
        if not (connection._secure or connection.unix_socket):
            raise Refused("the server asks for the password in clear text without TLS; write tls: for this database")
        connection.write_packet(connection.password + b"\0")
        packet = connection._read_packet()
        packet.check_error()
        return packet


@cache
def _trusting_context() -> ssl.SSLContext:
    """Return what encrypts where the server offers it, and trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


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
