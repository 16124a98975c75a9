"""The whole program heals under exactly the least rights, and says what is missing where there are fewer."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from exporter.errors import ConfigurationError
from tests.contracts.meltano_bench import MeltanoBench, PostgresDatabase
from tests.contracts.reset_benches import MeltanoResets
from tests.lab import matomo, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import (
    OrphanQueue,
    Worker,
    changed,
    events,
    on_mariadb,
    on_postgres,
    until_alive,
    until_put_back,
    until_refused,
    write_config,
)
from tests.lab.ports import free_port
from tests.lab.postgres import Postgres

pytestmark = pytest.mark.timeout(300)

MATOMO_COLUMNS = ("status", "ts_started", "processing_host", "process_id")
TABLE_COLUMNS = ("busy", "begun", "beat", "host", "pid")
DENIED = frozenset({1044, 1142, 1143, 1227})
GRANT = {
    "matomo": r"GRANT SELECT, UPDATE \(status, ts_started, ",
    "table": r"GRANT SELECT, and UPDATE of the columns in",
}


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is to be undone at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process that looks like an archiver."""
    with Worker() as process:
        yield process


@pytest.fixture(params=["matomo", "table"])
def queue(request: pytest.FixtureRequest, undo: ExitStack) -> OrphanQueue:
    """Matomo's queue on MariaDB, and a described table on PostgreSQL."""
    if request.param == "table":
        return undo.enter_context(on_postgres(request.getfixturevalue("postgres")))
    server, database = request.getfixturevalue("mariadb"), request.getfixturevalue("matomo_database")
    return undo.enter_context(on_mariadb(server, database))


def is_refused(url: str, statement: str) -> bool:
    """Run a statement with an account, and tell whether the server refuses it for want of a right."""
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+psycopg", "")) as session, suppress(psycopg.errors.InsufficientPrivilege):
            session.execute(statement.encode())
            return False
        return True
    parts = make_url(url)
    connection = pymysql.connect(
        host=parts.host or "",
        port=parts.port or 0,
        user=parts.username,
        password=str(parts.password),
        database=parts.database,
    )
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except pymysql.MySQLError as error:
            return error.args[0] in DENIED
    return False


def forbidden(queue: OrphanQueue) -> tuple[list[str], list[str]]:
    """Return what neither account may do, and what of a reset the one that watches may not."""
    table, others = ("matomo_archive_invalidations", ["name", "idsite"]) if queue.is_matomo else ("jobs", ["kind"])
    neither = [
        f"INSERT INTO {table} ({others[0]}) VALUES ('x')",
        f"DELETE FROM {table}",
        f"TRUNCATE TABLE {table}",
        f"ALTER TABLE {table} ADD COLUMN more INT",
        f"DROP TABLE {table}",
        "CREATE TABLE more (id INT)",
        *(f"UPDATE {table} SET {column} = NULL" for column in others),
    ]
    return neither, [f"UPDATE {table} SET {column} = NULL" for column in columns_of(queue)]


def columns_of(queue: OrphanQueue) -> tuple[str, ...]:
    """Return the columns that a reset sets."""
    return MATOMO_COLUMNS if queue.is_matomo else TABLE_COLUMNS


def test_two_accounts_with_the_least_rights_are_enough_and_can_do_nothing_else(
    queue: OrphanQueue, worker: Worker, tmp_path: Path
) -> None:
    """One selects the columns that are watched; the other selects the table and updates what a reset sets."""
    write_url = queue.account(*queue.grants)
    (other,) = queue.bench.bench.enqueue()
    config = write_config(tmp_path, {"q": queue.section(write_url=write_url)})
    with queuemedic.serving(config, tmp_path) as served:
        job = queue.start(worker.pid)
        before = queue.bench.rows()
        until_alive(served, "q")
        worker.kill()
        until_put_back(served, "q")
        assert queue.bench.is_back(job)
        assert queue.bench.rows()[other] == before[other]
        for event in ("account.found_writable", "heal.hindered", "Traceback"):
            assert event not in served.log
        assert served.stop() == 0
    neither, by_healing = forbidden(queue)
    left = queue.bench.rows()
    allowed = [(url, one) for url in (queue.url, write_url) for one in neither if not is_refused(url, one)]
    allowed += [(queue.url, one) for one in by_healing if not is_refused(queue.url, one)]
    assert allowed == []
    assert queue.bench.rows() == left


def faulty_accounts(queue: OrphanQueue, undo: ExitStack, elsewhere: MariaDb | Postgres) -> dict[str, tuple[str, str]]:
    """Make accounts that cannot heal, each with what is to be said about it."""
    kind, columns = "matomo" if queue.is_matomo else "table", columns_of(queue)
    select, _update = queue.grants
    table = select.rpartition(" ")[2]
    good = queue.account(*queue.grants)
    found = {"no-select": (queue.account(queue.grants[1]), f"(SELECT command|permission) denied.*{GRANT[kind]}")}
    for column in columns:
        rest = ", ".join(one for one in columns if one != column)
        said = f"UPDATE command denied.*{column}" if queue.is_matomo else f"permission denied for table {table}"
        found[f"no-{column}"] = (queue.account(select, f"UPDATE ({rest}) ON {table}"), f"{said}.*{GRANT[kind]}")
    nothing = "Access denied" if queue.is_matomo else "permission denied"
    found["nothing"] = (queue.account(), f"{nothing}.*{GRANT[kind]}")
    found["password"] = (changed(good, password="wrong"), "(Access denied|authentication failed)")
    found["gone"] = (changed(good, port=free_port()), "(cannot connect to|refused)")
    server, name = queue.server, undo.enter_context(queue.server.database())
    server.sql(f"CREATE TABLE {table} (id INT)", database=name)
    found["database"] = (server.account(name, [f"ALL ON {table}"]), "it leads to .* is watched")
    name = undo.enter_context(elsewhere.database())
    elsewhere.sql(f"CREATE TABLE {table} (id INT)", database=name)
    found["server"] = (elsewhere.account(name, [f"ALL ON {table}"]), "it leads to .* is watched")
    return found


def test_each_right_that_is_missing_is_named_and_nothing_is_reset(
    queue: OrphanQueue, worker: Worker, tmp_path: Path, undo: ExitStack, private_mariadb: Callable[..., MariaDb]
) -> None:
    """Whatever account it is, the message names the key, and a right is named with the GRANT that gives it."""
    elsewhere = private_mariadb() if queue.is_matomo else undo.enter_context(Postgres())
    accounts = faulty_accounts(queue, undo, elsewhere)
    if not queue.is_matomo:
        url = queue.account(*queue.grants)
        queue.server.sql(f"ALTER ROLE {make_url(url).username} SET default_transaction_read_only = on")
        accounts["read-only"] = (url, "the server is read-only; give the primary")
    sections = {name: queue.section(write_url=url) for name, (url, _) in accounts.items()}
    config = write_config(tmp_path, sections)
    with queuemedic.serving(config, tmp_path) as served:
        job = queue.start(worker.pid)
        before = queue.bench.rows()
        until_alive(served, *accounts)
        worker.kill()
        for name in accounts:
            page = until_refused(served, name, "lock")
        assert page.total("heals_total") == 0
        assert page.total("up") == len(accounts)
        said = {name: " ".join(events(served, "heal.hindered", queue=name)) for name in accounts}
        assert "Traceback" not in served.log
        assert served.stop() == 0
    assert queue.bench.rows() == before
    assert not queue.bench.is_back(job)
    wrong = {
        name: said[name]
        for name, (url, expected) in accounts.items()
        if not re.search(rf"healing\.write_url: .*{expected}", said[name]) or str(make_url(url).password) in said[name]
    }
    assert wrong == {}


def test_a_server_that_turns_read_only_is_left_until_it_is_a_primary_again(
    private_mariadb: Callable[..., MariaDb], worker: Worker, tmp_path: Path, undo: ExitStack
) -> None:
    """As one does that a failover has made a replica."""
    server = private_mariadb()
    database = undo.enter_context(server.database())
    matomo.create_tables(server, database)
    queue = undo.enter_context(on_mariadb(server, database))
    config = write_config(tmp_path, {"q": queue.section(write_url=queue.account(*queue.grants))})
    with queuemedic.serving(config, tmp_path) as served:
        job = queue.start(worker.pid)
        until_alive(served, "q")
        server.sql("SET GLOBAL read_only = ON")
        before = queue.bench.rows()
        worker.kill()
        until_refused(served, "q", "replica")
        assert any("give the address of the primary" in line for line in events(served, "heal.refused", queue="q"))
        assert queue.bench.rows() == before
        server.sql("SET GLOBAL read_only = OFF")
        until_put_back(served, "q")
        assert queue.bench.is_back(job)


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
def test_without_an_account_that_may_write_it_does_not_begin(
    queue: OrphanQueue, command: tuple[str, ...], tmp_path: Path
) -> None:
    """The message names the key, also where it is the file that cannot be used."""
    file = tmp_path / "write_url"
    for healing, fault in (
        ({}, "queues.q.healing.write_url: there is none; give an account that may write to this table"),
        ({"write_url_file": str(file)}, f"queues.q.healing.write_url_file: {file}: cannot be read"),
    ):
        ended = queuemedic.run("--config", write_config(tmp_path, {"q": queue.section(**healing)}), *command)
        assert (ended.code, ended.out) == (2, "")
        assert fault in ended.err


def test_an_account_in_a_file_is_read_anew_for_each_pass(queue: OrphanQueue, worker: Worker, tmp_path: Path) -> None:
    """A file that is spoilt stops healing, not watching, and is named; once it is mended, healing goes on."""
    file, write_url = tmp_path / "write_url", queue.account(*queue.grants)
    file.write_text(f"{write_url}\n")
    config = write_config(tmp_path, {"q": queue.section(write_url_file=str(file))})
    with queuemedic.serving(config, tmp_path) as served:
        job = queue.start(worker.pid)
        until_alive(served, "q")
        file.write_text("no URL at all")
        worker.kill()
        page = until_refused(served, "q", "lock")
        assert page.value("up", queue="q") == 1
        [said] = events(served, "heal.hindered", queue="q")
        assert f"healing.write_url_file: {file}: " in said
        assert not queue.bench.is_back(job)
        file.write_text(write_url)
        until_put_back(served, "q")
        assert queue.bench.is_back(job)


@pytest.mark.parametrize("left_out", ["SELECT", "state", "ended_at", "payload"])
def test_each_right_to_heal_meltano_is_needed_and_named(postgres: Postgres, left_out: str) -> None:
    """The journey with the real Meltano heals with exactly these; with one less, no lock is taken."""
    columns = ", ".join(column for column in ("state", "ended_at", "payload") if column != left_out)
    grants = [f"UPDATE ({columns}) ON runs", *([] if left_out == "SELECT" else ["SELECT ON runs"])]
    with postgres.database() as name:
        bench = MeltanoBench(PostgresDatabase(postgres, name, table="runs"))
        resets = MeltanoResets(bench, write_url=postgres.account(name, grants))
        named = r"healing\.write_url: .*denied.*; GRANT SELECT, UPDATE \(state, ended_at, payload\) ON runs"
        with pytest.raises(ConfigurationError, match=named), resets.make().lock(wait_seconds=0):
            pass
        resets.queue.close()
