"""A `Reader` in trouble: slow statements, locked tables, servers that freeze, restart or hang up, a bad network.

Whatever it is, a transaction ends within its limit and a second, and leaves nothing behind, here or on the server.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError

from exporter.errors import PollTimeout, Unreachable
from tests.conftest import installed
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.proxy import Mode, Proxy
from tests.lab.waiting import wait_until

from .test_database import (
    ALTER,
    Database,
    ask,
    changed,
    check_all_is_freed,
    count_descriptors,
    on_mariadb,
    on_postgres,
    on_sqlite,
    reading,
    shared_database,
    succeed,
)

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) SELECT count(*) FROM n"
SLEEP = {"mysql": "SELECT SLEEP({})", "postgresql": "SELECT pg_sleep({})", "sqlite": COUNT}


@pytest.fixture(params=["mariadb", "postgres", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind in turn."""
    with shared_database(request, tmp_path) as database:
        yield database


on_servers = pytest.mark.parametrize("database", ["mariadb", "postgres"], indirect=True)


@pytest.fixture(params=["mariadb", "postgres"])
def lone(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database on a server of the test's own."""
    with installed(), ExitStack() as undo:
        if request.param == "mariadb":
            yield undo.enter_context(on_mariadb(undo.enter_context(MariaDb())))
        else:
            yield undo.enter_context(on_postgres(undo.enter_context(Postgres())))


@contextmanager
def in_vain(descriptors: int, *, limit: float = 0.5) -> Iterator[None]:
    """The block fails by PollTimeout within the limit and a second, and all is freed."""
    began = time.monotonic()
    with pytest.raises(PollTimeout):
        yield
    assert limit - 0.1 <= time.monotonic() - began < limit + 1
    check_all_is_freed(descriptors)


def pause(seconds: float) -> None:
    """Do nothing, where that is what is tested."""
    threading.Event().wait(seconds)


def test_a_slow_statement_is_ended_here_and_on_the_server(database: Database) -> None:
    """And the next transaction works."""
    descriptors = count_descriptors()
    with reading(database.url, limit=0.5) as reader:
        succeed(reader)
        with in_vain(descriptors), reader.transaction() as transaction:
            ask(transaction, SLEEP[database.dialect].format(20))
        if database.server:
            wait_until(lambda: not database.sessions(), within=5, what="the statement has ended")
        succeed(reader)


@on_servers
@pytest.mark.parametrize("naps", [(0.9, 0.9, 0.9), (1.1, 20)])
def test_the_limit_is_for_all_statements_together(database: Database, naps: tuple[float, ...]) -> None:
    """The server ends the last one when the time of the transaction is up, not a whole limit after it began."""
    descriptors, limit = count_descriptors(), 1.5
    began = time.monotonic()
    with reading(database.url, limit=limit) as reader:
        with in_vain(descriptors, limit=limit), reader.transaction() as transaction:
            for nap in naps:
                ask(transaction, SLEEP[database.dialect].format(nap))
        wait_until(lambda: not database.sessions(), within=5, what="the statement has ended")
        assert time.monotonic() - began < limit + 1
        succeed(reader)


def test_many_short_statements_are_limited_as_one_long_one(database: Database) -> None:
    """None of them is too long by itself."""
    descriptors = count_descriptors()
    with reading(database.url, limit=0.5) as reader, in_vain(descriptors), reader.transaction() as transaction:
        for _ in range(200):
            ask(transaction, "SELECT 1")
            pause(0.01)


def test_a_statement_that_begins_as_time_runs_out_is_ended(tmp_path: Path) -> None:
    """SQLite forgets an interrupt that finds no statement running."""
    url = on_sqlite(tmp_path / "jobs.db").url
    descriptors = count_descriptors()
    with reading(url, limit=0.5) as reader, in_vain(descriptors), reader.transaction() as transaction:

        def hold_up(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement == COUNT:
                pause(0.6)

        event.listen(transaction.connection.engine, "before_cursor_execute", hold_up)
        ask(transaction, COUNT)


def test_a_frozen_server_is_given_up_and_found_again(lone: Database) -> None:
    """With a connection that stands, and with one that has yet to be opened."""
    descriptors = count_descriptors()
    with reading(lone.url, limit=0.5) as reader:
        succeed(reader)
        lone.server.freeze()
        for _ in ("connected", "not connected"):
            with in_vain(descriptors):
                succeed(reader)
            assert not reader.is_connected
        lone.server.thaw()
        wait_until(lambda: lone.sql("SELECT 1"), within=20, what="the server answers")
        succeed(reader)
        lone.server.freeze()
        began = time.monotonic()
        reader.close()
        assert time.monotonic() - began < 0.5


@on_servers
@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.DROP_REPLIES])
def test_a_network_that_swallows_everything_is_given_up(database: Database, mode: Mode) -> None:
    """With a connection that stands, and with one that is accepted and never greeted."""
    with Proxy(database.server.port) as proxy:
        descriptors = count_descriptors()
        with reading(changed(database.url, port=proxy.port), limit=0.5) as reader:
            succeed(reader)
            proxy.mode = mode
            for _ in ("connected", "not connected"):
                with in_vain(descriptors):
                    succeed(reader)
            proxy.mode = Mode.FORWARD
            succeed(reader)


STAGES = {
    "mariadb": (b"lab_", b"READ ONLY", b"VERSION()", b"ROLLBACK", b"SELECT TIMESTAMPDIFF"),
    "postgres": (b"lab_", b"SCRAM", b"version()", b"set_config", b"clock_timestamp", b"FROM jobs"),
}


@pytest.mark.parametrize(
    ("database", "marker"),
    [(server, marker) for server, markers in STAGES.items() for marker in markers],
    indirect=["database"],
)
def test_no_reply_is_waited_for_for_ever(database: Database, marker: bytes) -> None:
    """Whichever reply it is that gets lost, from the first of the handshake on."""
    with Proxy(database.server.port) as proxy:
        descriptors = count_descriptors()
        with reading(changed(database.url, port=proxy.port), limit=0.4) as reader:
            proxy.drop_replies_to(marker)
            with in_vain(descriptors, limit=0.4):
                succeed(reader)
            assert proxy.mode is Mode.DROP_REPLIES


@pytest.mark.parametrize(
    ("scheme", "greeting"), [("mysql", b"\xff\xff\x00\x00" + b"\x0a" * 99), ("postgresql", b"NR\0\0\x07" + b"\0" * 99)]
)
def test_a_server_that_drips_is_given_up(scheme: str, greeting: bytes) -> None:
    """A byte now and then does not make the limit begin anew."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with listener.accept()[0] as client:
                for number in greeting:
                    try:
                        client.sendall(bytes([number]))
                    except OSError:
                        return
                    pause(0.05)

        descriptors = count_descriptors()
        dripping = threading.Thread(target=drip)
        dripping.start()
        url = f"{scheme}://reader:x@127.0.0.1:{listener.getsockname()[1]}/jobs"
        with reading(url, limit=0.5) as reader, in_vain(descriptors):
            succeed(reader)
        dripping.join(10)


@contextmanager
def full_house(port: int) -> Iterator[str]:
    """Listen where nobody accepts and no more can wait: a new connection is neither taken nor refused."""
    host = "127.0.0.2"
    with ExitStack() as sockets, socket.socket() as listener:
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield host


@on_servers
def test_an_address_that_is_dead_leaves_time_for_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host with two addresses; alone it is given up as any other."""
    port = database.server.port
    with full_house(port) as dead:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in (dead, "127.0.0.1")]
        descriptors = count_descriptors()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        url = changed(database.url, host="db.example")
        with reading(url, limit=4) as reader:
            succeed(reader)
        del found[1]
        with reading(url, limit=0.5) as reader, in_vain(descriptors):
            succeed(reader)


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the table so that nobody can read it."""
    name = str(make_url(database.url).database)
    if database.dialect == "mysql":
        with database.server.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES jobs WRITE")
            yield
    elif database.dialect == "postgresql":
        with psycopg.connect(changed(database.root_url, drivername="postgresql")) as session:
            session.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        command = [sys.executable, "-c", LOCK, name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            yield


def test_a_locked_table_is_given_up_and_not_held_up(database: Database) -> None:
    """When whoever locked it is done, the next in line is not kept waiting by us."""
    with reading(database.url, limit=0.5) as reader:
        with locked(database):
            descriptors = count_descriptors()
            with in_vain(descriptors):
                succeed(reader)
            if database.server:
                wait_until(lambda: not database.sessions(idle=True), within=0.5, what="the session has ended")
        database.sql(ALTER[database.dialect])
        succeed(reader)


def test_a_lock_that_is_met_late_is_waited_for_no_longer_than_what_is_left(tmp_path: Path) -> None:
    """SQLite does not mind an interrupt while it waits for a lock."""
    database = on_sqlite(tmp_path / "jobs.db")
    with reading(database.url, limit=1.5) as reader, locked(database):
        descriptors = count_descriptors()
        with in_vain(descriptors, limit=1.5), reader.transaction() as transaction:
            pause(1.2)
            ask(transaction, "SELECT id FROM jobs")


def test_a_restart_is_not_noticed_and_a_stop_at_once(lone: Database) -> None:
    """The connection is made anew; while the server is down it is unreachable."""
    with reading(lone.url, limit=1.5) as reader:
        succeed(reader)
        lone.server.stop()
        lone.server.start()
        succeed(reader)
        lone.server.stop()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(Unreachable):
                succeed(reader)
            assert time.monotonic() - began < 0.5
        lone.server.start()
        succeed(reader)


def kill_sessions(database: Database) -> None:
    """End the account's sessions, as an administrator would."""
    for session in database.sessions(idle=True):
        statement = "KILL {}" if database.dialect == "mysql" else "SELECT pg_terminate_backend({})"
        database.sql(statement.format(session.connection_id))


@on_servers
@pytest.mark.parametrize("reason", ["idle", "killed"])
def test_a_connection_closed_by_the_server_is_replaced(database: Database, reason: str) -> None:
    """Once, and without an error; also where the transaction before was a slow one."""
    descriptors = count_descriptors()
    if reason == "idle" and database.dialect == "postgresql":
        database.sql(f"ALTER ROLE {make_url(database.url).username} SET idle_session_timeout = 200")
    with reading(database.url, limit=1.5) as reader:
        with reader.transaction() as transaction:
            if reason == "idle" and database.dialect == "mysql":
                transaction.connection.exec_driver_sql("SET SESSION wait_timeout = 1")
            ask(transaction, SLEEP[database.dialect].format(1.1))
            ask(transaction, "SELECT 1")
        if reason == "killed":
            kill_sessions(database)
        wait_until(lambda: not database.sessions(idle=True), within=15, what="the session has ended")
        assert reader.is_connected
        succeed(reader)
        assert len(database.sessions(idle=True)) == 1
    check_all_is_freed(descriptors)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_deadline_ends_no_connection_but_its_own(database: Database) -> None:
    """Whoever has got the number of a socket that the driver has closed, and though the failure was not told."""
    with reading(database.url, limit=0.5) as reader:
        with reader.transaction() as transaction:
            driver: Any = transaction.connection.connection.dbapi_connection
            number = driver._sock.fileno()
            kill_sessions(database)
            with pytest.raises(DBAPIError):
                ask(transaction, "SELECT 1")
            ours, theirs = socket.socketpair()
            with ours, theirs:
                assert number in (ours.fileno(), theirs.fileno())
                pause(0.8)
                ours.sendall(b"x")
                assert theirs.recv(1) == b"x"
        succeed(reader)
