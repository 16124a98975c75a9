"""The lab's servers, network and bookkeeping do what the tests that stand on them believe."""

import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymysql
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.conftest import installed
from tests.lab import processes, proxy
from tests.lab.certificates import Authority
from tests.lab.mariadb import MariaDb
from tests.lab.ports import LOOPBACK, free_port, free_ports
from tests.lab.postgres import Postgres
from tests.lab.prometheus import Prometheus, Target, promtool_check_metrics
from tests.lab.proxy import Mode, Proxy
from tests.lab.waiting import wait_until

MakeMariaDb = Callable[..., MariaDb]
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ask(url: str, statement: str, **connect_args: object) -> list[tuple[object, ...]]:
    """Run one statement with an account's own rights."""
    engine = create_engine(url, poolclass=NullPool, connect_args=connect_args)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_free_ports_can_be_listened_on() -> None:
    """They differ, and each is free."""
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        socket.create_server((LOOPBACK, port)).close()


def test_a_mariadb_keeps_its_rows_over_stop_and_kill(private_mariadb: MakeMariaDb) -> None:
    """Started again it is on the same port, with another pid and the same rows."""
    server = private_mariadb()
    pids = [server.pid]
    with server.database() as database:
        server.sql("CREATE TABLE jobs (id INT PRIMARY KEY)", database=database)
        for id_, end in enumerate((server.stop, server.kill)):
            server.sql("INSERT INTO jobs VALUES (%s)", id_, database=database)
            end()
            assert processes.look(pids[-1]) is None
            server.start()
            pids.append(server.pid)
        assert server.sql("SELECT id FROM jobs ORDER BY id", database=database) == [(0,), (1,)]
    assert len(set(pids)) == 3


def test_a_frozen_mariadb_does_not_answer_until_it_is_thawed(private_mariadb: MakeMariaDb) -> None:
    """The connection stands, the reply does not come."""
    server = private_mariadb()
    server.freeze()
    with pytest.raises(OperationalError, match="timed out"):
        ask(server.root_url(), "SELECT 1", read_timeout=0.3)
    server.thaw()
    assert ask(server.root_url(), "SELECT 1") == [(1,)]


@pytest.mark.parametrize("end", [MariaDb.freeze, MariaDb.kill, MariaDb.stop])
def test_a_mariadb_is_cleaned_up_whatever_has_become_of_it(end: Callable[[MariaDb], None]) -> None:
    """No process and no file is left."""
    with installed(), MariaDb() as server:
        end(server)
    assert processes.look(server.pid) is None
    assert not server.folder.exists()


def test_a_mariadb_that_cannot_start_says_why() -> None:
    """Its log is in the error, at once and not after the whole wait."""
    with (
        installed(),
        pytest.raises(Exception, match="unknown option '--no-such-option'"),
        MariaDb(options=["--no-such-option"]),
    ):
        pass


def test_the_system_zone_of_a_mariadb_can_be_chosen(private_mariadb: MakeMariaDb) -> None:
    """Sessions are in it unless told otherwise."""
    server = private_mariadb(system_time_zone="Asia/Karachi")
    [(offset,)] = server.sql("SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())")
    assert offset == 300


def test_the_shared_mariadb_knows_zones_by_name(mariadb: MariaDb) -> None:
    """Summer time is in it."""
    [row] = mariadb.sql(
        "SELECT CONVERT_TZ(%s, 'UTC', 'Europe/Berlin'), CONVERT_TZ(%s, 'UTC', 'America/New_York')",
        *["2026-07-01 12:00"] * 2,
    )
    assert row == (datetime(2026, 7, 1, 14), datetime(2026, 7, 1, 8))  # noqa: DTZ001 - MariaDB's are naive


def test_a_clock_stands_still_for_the_accounts_of_one_database(mariadb: MariaDb) -> None:
    """Other databases and root keep the real time, so that tests can share a server."""
    clock = "SELECT UNIX_TIMESTAMP(), UNIX_TIMESTAMP(UTC_TIMESTAMP()), UNIX_TIMESTAMP(NOW()), SLEEP(0)"
    with mariadb.database() as held, mariadb.database() as other:
        mariadb.set_clock(NOON, database=held)
        urls = {database: mariadb.account(database, ["SELECT ON *"]) for database in (held, other)}
        noon = int(NOON.timestamp())
        assert ask(urls[held], clock) == [(noon, noon, noon, 0)]
        [(real, *_)] = ask(urls[other], clock)
        assert real == pytest.approx(time.time(), abs=5)
        assert mariadb.sql(clock, database=held)[0][0] == pytest.approx(time.time(), abs=5)
        mariadb.set_clock(NOON + timedelta(hours=1), database=held)
        assert ask(urls[held], clock)[0][0] == noon + 3600
        mariadb.set_clock(None, database=held)
        assert ask(urls[held], clock)[0][0] == pytest.approx(time.time(), abs=5)


def test_an_account_has_exactly_its_rights(mariadb: MariaDb) -> None:
    """What was not granted is refused by the server."""
    with mariadb.database() as database:
        mariadb.script("CREATE TABLE jobs (id INT, secret INT); INSERT INTO jobs VALUES (1, 2), (3, 4);", database)
        url = mariadb.account(database, ["SELECT (id) ON jobs"])
        assert ask(url, "SELECT id FROM jobs") == [(1,), (3,)]
        for statement in ("SELECT secret FROM jobs", "DELETE FROM jobs", "SELECT * FROM mysql.user"):
            with pytest.raises(OperationalError, match=r"1142|1143"):
                ask(url, statement)


def test_the_statements_of_accounts_are_seen(mariadb: MariaDb) -> None:
    """A running statement is listed with its text; an idle session only when asked for."""
    with mariadb.database() as database:
        mariadb.sql("CREATE TABLE jobs (id INT)", database=database)
        url = mariadb.account(database, ["SELECT ON *"])

        def seen(*, idle: bool = False) -> list[str | None]:
            return [row.text for row in mariadb.processlist(idle=idle) if row.database == database]

        engine = create_engine(url)
        with engine.connect() as connection:
            reader = threading.Thread(target=connection.execute, args=[text("SELECT id FROM jobs")])
            with mariadb.connect(database) as writer:
                writer.query("LOCK TABLES jobs WRITE")
                reader.start()
                wait_until(lambda: seen() == ["SELECT id FROM jobs"], within=10, what="the statement is running")
            reader.join()
            wait_until(lambda: (seen(), seen(idle=True)) == ([], [None]), within=10, what="the session is idle")
        engine.dispose()
        wait_until(lambda: not seen(idle=True), within=10, what="the session is gone")


def test_a_mariadb_with_tls_is_verified_by_its_authority(private_mariadb: MakeMariaDb, tmp_path: Path) -> None:
    """The right authority is accepted, another one is not, and an account may insist on TLS."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path)
    certificate = authority.issue("server")
    server = private_mariadb(ssl_cert=certificate.cert_file, ssl_key=certificate.key_file, ssl_ca=authority.ca_file)
    with server.database() as database:
        url = server.account(database, ["SELECT ON *"], require="REQUIRE SSL")
        trusting = ssl.create_default_context(cafile=str(authority.ca_file))
        [(_, cipher)] = ask(url, "SHOW STATUS LIKE 'Ssl_cipher'", ssl=trusting)
        assert cipher
        with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(url, "SELECT 1", ssl=ssl.create_default_context(cafile=str(stranger.ca_file)))
        with pytest.raises(OperationalError, match="1045"):
            ask(url, "SELECT 1", ssl_disabled=True)


def test_a_postgres_stops_freezes_and_dies_like_the_others(postgres: Postgres) -> None:
    """All of its processes are frozen, not only the first, and its rows outlive a kill."""
    assert postgres.sql("SHOW timezone") == [("UTC",)]
    with Postgres() as server, server.database() as database:
        server.sql("CREATE TABLE jobs AS SELECT 1 AS id", database=database)
        url = server.account(database, ["SELECT ON jobs"])
        engine = create_engine(url)
        with engine.connect() as connection:
            server.freeze()
            assert {process.state for process in processes.running() if process.parent == server.pid} == {"T"}
            server.thaw()
            assert connection.execute(text("SELECT id FROM jobs")).all() == [(1,)]
            assert [(row.database, row.text) for row in server.activity(idle=True)] == [(database, None)]
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(text("DELETE FROM jobs"))
        engine.dispose()
        server.kill()
        server.start()
        assert server.sql("SELECT id FROM jobs", database=database) == [(1,)]
    assert processes.look(server.pid) is None


def test_a_prometheus_scrapes_the_page_it_was_given() -> None:
    """Its query and targets show the page's figures."""
    registry = CollectorRegistry()
    Gauge("lab_answer", "A figure.", ["who"], registry=registry).labels("me").set(42)
    http, thread = start_http_server(0, LOOPBACK, registry)
    target = f"{LOOPBACK}:{http.server_port}"
    try:
        with installed(), Prometheus(target) as prometheus:
            [(labels, value)] = wait_until(
                lambda: prometheus.query('lab_answer{who="me"}'), within=15, what="the page is scraped"
            )
            assert (labels["__name__"], value) == ("lab_answer", 42)
            assert prometheus.query("scalar(up)") == [({}, 1.0)]
            assert prometheus.targets() == [Target(url=f"http://{target}/metrics", health="up", last_error="")]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def test_promtool_checks_a_page() -> None:
    """A good page passes in silence, a bad one is named."""
    with installed():
        assert promtool_check_metrics("# HELP a_ratio A.\n# TYPE a_ratio gauge\na_ratio 1\n") == (0, "")
        code, output = promtool_check_metrics("# TYPE a_total gauge\na_total 1\n")
    assert code == 3
    assert "a_total" in output


class Echo(threading.Thread):
    """A server for one connection after another that keeps what it gets and sends it back."""

    def __init__(self) -> None:
        super().__init__(name="echo", daemon=True)
        self.received = b""
        self._listener = socket.create_server((LOOPBACK, free_port()))
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Serve until the listener is shut."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while chunk := connection.recv(100):
                    self.received += chunk
                    connection.sendall(chunk)

    def close(self) -> None:
        """End the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._listener.close()


def test_a_proxy_forwards_swallows_loses_and_cuts() -> None:
    """Each way a network can be bad, on one connection after another."""
    echo = Echo()
    echo.start()
    try:
        with Proxy(echo.port) as bad:
            with socket.create_connection((LOOPBACK, bad.port)) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
                bad.drop_replies_to(b"COMMIT")
                client.sendall(b"COMMIT")
                wait_until(lambda: echo.received.endswith(b"COMMIT"), within=5, what="the request has arrived")
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(100)
                client.settimeout(5)
                bad.cut()
                assert client.recv(100) == b""
            wait_until(lambda: bad.connections == 0, within=5, what="the connection is gone")
            bad.mode = Mode.BLACK_HOLE
            with socket.create_connection((LOOPBACK, bad.port), timeout=0.2) as client:
                client.sendall(b"lost")
                with pytest.raises(TimeoutError):
                    client.recv(100)
        assert echo.received == b"helloCOMMIT"
    finally:
        echo.close()
    assert proxy.THREADS not in {thread.name for thread in threading.enumerate()}


def test_a_lost_reply_to_commit_leaves_the_change_made(mariadb: MariaDb) -> None:
    """The client sees an error, the row is there: what a healer has to live with."""
    with mariadb.database() as database, Proxy(mariadb.port) as bad:
        mariadb.sql("CREATE TABLE jobs (id INT)", database=database)
        url = make_url(mariadb.account(database, ["INSERT ON *"])).set(port=bad.port)
        bad.drop_replies_to(b"\x03COMMIT")
        engine = create_engine(url, poolclass=NullPool, connect_args={"read_timeout": 2})
        with pytest.raises(OperationalError, match="2013"), engine.begin() as connection:
            connection.execute(text("INSERT INTO jobs VALUES (1)"))
        assert mariadb.sql("SELECT id FROM jobs", database=database) == [(1,)]


def test_a_stopped_mariadb_refuses_its_administrator_and_nothing_leaks(private_mariadb: MakeMariaDb) -> None:
    """A driver's socket left open would be a warning in some later test."""
    server = private_mariadb()
    server.stop()
    with pytest.raises(pymysql.err.OperationalError, match="2003"):
        server.sql("SELECT 1")
    gc.collect()
