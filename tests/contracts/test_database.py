"""What a `Reader` promises on every database: it cannot write, sees one state, and says what the server is.

Here are also the databases that its other tests use: what it does in trouble is in test_database_faults, whom it
trusts and who is refused in test_database_tls.
"""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from exporter.address import Address, Tls, normalise
from exporter.database import Reader, Transaction
from exporter.errors import BadSchema
from exporter.jobs import Role
from tests.lab.administrator import Statement
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.processes import look
from tests.lab.waiting import wait_until

TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, host VARCHAR(100))"
ROW = "INSERT INTO jobs VALUES (1, 'web1')"
LIMIT = 20.0  # for what is to succeed, also on a busy machine
ALTER = {
    "mysql": "ALTER TABLE jobs WAIT 0 ADD COLUMN pid INTEGER",
    "postgresql": "SET lock_timeout = '10ms'; ALTER TABLE jobs ADD COLUMN pid INTEGER",
    "sqlite": "ALTER TABLE jobs ADD COLUMN pid INTEGER",
}


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database with a table `jobs` of one row; `sql` works in it as its administrator, `url` may do all but that."""

    dialect: str
    url: str
    root_url: str
    sql: Callable[..., list[Any]]
    server: Any = None

    def sessions(self, *, idle: bool = False) -> list[Statement]:
        """Return what the account is doing."""
        look = self.server.processlist if self.dialect == "mysql" else self.server.activity
        return [session for session in look(idle=idle) if session.database == make_url(self.url).database]


@contextmanager
def on_mariadb(server: MariaDb) -> Iterator[Database]:
    """A database on this server."""
    with server.database() as name:
        for statement in (TABLE, ROW):
            server.sql(statement, database=name)
        yield Database(
            dialect="mysql",
            url=server.account(name, ["ALL ON *"]),
            root_url=server.root_url(name),
            sql=lambda statement, *params: server.sql(statement, *params, database=name),
            server=server,
        )


@contextmanager
def on_postgres(server: Postgres) -> Iterator[Database]:
    """A database on this server."""
    with server.database() as name:
        for statement in (TABLE, ROW):
            server.sql(statement, database=name)
        yield Database(
            dialect="postgresql",
            url=server.account(name, ["ALL ON jobs", "ALL ON SCHEMA public"]),
            root_url=server.root_url(name),
            sql=lambda statement, *params: server.sql(statement, *params, database=name),
            server=server,
        )


def on_sqlite(path: Path) -> Database:
    """A database in this file, with a rollback journal."""

    def sql(statement: str) -> list[Any]:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            return connection.execute(statement).fetchall()

    sql(TABLE)
    sql(ROW)
    return Database(dialect="sqlite", url=f"sqlite:///{path}", root_url=f"sqlite:///{path}", sql=sql)


@contextmanager
def shared_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database on the run's server of the kind that the fixture's parameter names."""
    if request.param == "mariadb":
        with on_mariadb(request.getfixturevalue("mariadb")) as database:
            yield database
    elif request.param == "postgres":
        with on_postgres(request.getfixturevalue("postgres")) as database:
            yield database
    else:
        yield on_sqlite(tmp_path / "jobs é%.db")


@contextmanager
def reading(url: str, *, limit: float = LIMIT, tls: Tls | None = None) -> Iterator[Reader]:
    """A reader of this database, closed in the end."""
    address = Address(url=normalise(make_url(url)), tls=tls)
    with closing(Reader(lambda: address, limit=timedelta(seconds=limit))) as reader:
        yield reader


def changed(url: str, **parts: Any) -> str:
    """Return the URL with other parts."""
    return make_url(url).set(**parts).render_as_string(hide_password=False)


def ask(transaction: Transaction, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction."""
    return [tuple(row) for row in transaction.connection.exec_driver_sql(statement)]


def succeed(reader: Reader) -> None:
    """Run a transaction that reads the table."""
    with reader.transaction() as transaction:
        assert ask(transaction, "SELECT id FROM jobs") == [(1,)]


def count_descriptors() -> int:
    """Count the files and sockets that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def check_all_is_freed(descriptors: int) -> None:
    """Wait until there are as many descriptors as there were, and see that no deadline runs on."""
    assert "deadline" not in {thread.name for thread in threading.enumerate()}
    wait_until(lambda: count_descriptors() == descriptors, within=10, what=f"{descriptors} descriptors are open")


@pytest.fixture(params=["mariadb", "postgres", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind in turn."""
    with shared_database(request, tmp_path) as database:
        yield database


WRITES = (
    "INSERT INTO jobs VALUES (2, 'web2')",
    "UPDATE jobs SET host = 'web2'",
    "DELETE FROM jobs",
    "CREATE TABLE made (id INTEGER)",
    "DROP TABLE jobs",
    "SELECT id FROM jobs FOR UPDATE",
    "SELECT id FROM missing",
)


def test_the_server_refuses_every_write_whatever_came_before(database: Database) -> None:
    """Of an account with all rights, after a failed statement, after ROLLBACK, and in a later transaction."""
    with reading(database.root_url) as reader:
        for _ in range(2):
            with reader.transaction() as transaction:
                for statement in (*WRITES, *WRITES):
                    with pytest.raises(DBAPIError):
                        ask(transaction, statement)
                    transaction.connection.rollback()
                transaction.connection.exec_driver_sql("ROLLBACK")
                with pytest.raises(DBAPIError):
                    ask(transaction, WRITES[0])
                transaction.connection.rollback()
                assert ask(transaction, "SELECT * FROM jobs") == [(1, "web1")]
    assert database.sql("SELECT * FROM jobs") == [(1, "web1")]
    with pytest.raises(Exception, match="made"):
        database.sql("SELECT * FROM made")


def check_one_state(database: Database) -> None:
    """See that what others commit during a transaction is seen in the next one."""
    with reading(database.url) as reader:
        with reader.transaction() as transaction:
            assert ask(transaction, "SELECT id FROM jobs") == [(1,)]
            database.sql("INSERT INTO jobs VALUES (2, 'web2')")
            database.sql("DELETE FROM jobs WHERE id = 1")
            assert ask(transaction, "SELECT id FROM jobs") == [(1,)]
        with reader.transaction() as transaction:
            assert ask(transaction, "SELECT id FROM jobs") == [(2,)]


def test_a_transaction_sees_one_state(database: Database) -> None:
    """What others commit meanwhile is seen in the next one."""
    if database.dialect == "sqlite":
        database.sql("PRAGMA journal_mode = WAL")  # else a writer would have to wait for us
    check_one_state(database)


CLOCKS = {
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6))",
    "postgresql": "SELECT extract(epoch FROM now())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


def test_a_transaction_says_the_databases_time_and_role(database: Database) -> None:
    """Its time is the server's, aware, to the millisecond."""
    before = float(database.sql(CLOCKS[database.dialect])[0][0])
    with reading(database.url) as reader, reader.transaction() as transaction:
        assert transaction.role is Role.PRIMARY
        now = transaction.database_now
        assert before - 0.01 <= now.timestamp() <= before + 1
        assert now.utcoffset() == timedelta(0)
        assert abs(transaction.read_at - now) < timedelta(seconds=1)


def test_a_server_that_takes_no_writes_is_a_replica(private_mariadb: Callable[..., MariaDb]) -> None:
    """To all but its administrators; and what it takes for isolation by itself does not count."""
    server = private_mariadb(options=["--read-only=1", "--transaction-isolation=READ-COMMITTED"])
    with on_mariadb(server) as database:
        with reading(database.url) as reader, reader.transaction() as transaction:
            assert transaction.role is Role.REPLICA
        check_one_state(database)
        with reading(database.url) as reader, pytest.raises(BadSchema), reader.transaction() as transaction:
            ask(transaction, "SELECT id FROM missing")
        assert database.sql("SHOW GLOBAL STATUS LIKE 'Aborted_clients'") == [("Aborted_clients", "0")]


@pytest.mark.parametrize("database", ["mariadb", "postgres"], indirect=True)
def test_a_changed_password_takes_effect_at_the_next_connection(database: Database) -> None:
    """The address is asked for again, and not before."""
    url = make_url(database.url)
    asked = []

    def find_address() -> Address:
        asked.append(url)
        return Address(url=normalise(url))

    with closing(Reader(find_address, limit=timedelta(seconds=LIMIT))) as reader:
        for _ in range(2):
            with reader.transaction():
                pass
        assert len(asked) == 1
        change = (
            "SET PASSWORD FOR {} = PASSWORD('new')" if database.dialect == "mysql" else "ALTER ROLE {} PASSWORD 'new'"
        )
        database.sql(change.format(url.username))
        url = url.set(password="new")
        reader.close()
        with reader.transaction() as transaction:
            assert ask(transaction, "SELECT 1") == [(1,)]
    assert len(asked) == 2


def test_the_time_zone_of_a_session_is_the_servers(private_mariadb: Callable[..., MariaDb]) -> None:
    """Matomo's times are in it."""
    with on_mariadb(private_mariadb(system_time_zone="Asia/Karachi")) as database, reading(database.url) as reader:
        for zone in ("SYSTEM", "+07:00"):
            database.sql("SET GLOBAL time_zone = %s", zone)
            with reader.transaction() as transaction:
                assert ask(transaction, "SELECT @@session.time_zone, @@global.time_zone") == [(zone, zone)]
                assert abs(transaction.database_now - transaction.read_at) < timedelta(seconds=1)
            reader.close()


def test_a_column_that_changes_between_two_transactions_does_no_harm(database: Database) -> None:
    """Nothing of a statement is kept: PostgreSQL refuses to run one again that it has prepared before."""
    with reading(database.url) as reader:
        for _ in range(7):
            with reader.transaction() as transaction:
                assert ask(transaction, "SELECT * FROM jobs") == [(1, "web1")]
        database.sql("ALTER TABLE jobs ADD COLUMN pid VARCHAR(10)")
        with reader.transaction() as transaction:
            assert ask(transaction, "SELECT * FROM jobs") == [(1, "web1", None)]


def open_transactions(database: Database) -> list[Any]:
    """Return the account's transactions that are open on the server; MariaDB's list is up to 0.1 s old."""
    if database.dialect == "mysql":
        ids = [session.connection_id for session in database.sessions(idle=True)]
        rows = database.sql("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")
        return [row for row in rows if row[0] in ids]
    return database.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state ~ 'transaction'")


def test_no_transaction_outlives_its_poll(database: Database) -> None:
    """Between two, a table can be altered at once."""
    with reading(database.url, limit=60) as reader:  # the server ends a transaction when that is over
        succeed(reader)
        assert reader.is_connected is (database.server is not None)
        if database.server:
            wait_until(lambda: database.sessions(idle=True), within=10, what="the session is idle")
            wait_until(lambda: not open_transactions(database), within=10, what="there is no transaction")
        database.sql(ALTER[database.dialect])
        succeed(reader)


def is_frozen(pid: int) -> bool:
    """Whether a process has been stopped."""
    process = look(pid)
    return process is not None and process.state == "T"


FORSAKE = """
import os, signal, sys
from datetime import timedelta
from sqlalchemy import make_url
from exporter.address import Address, normalise
from exporter.database import Reader
address = Address(url=normalise(make_url(sys.argv[1])))
with Reader(lambda: address, limit=timedelta(seconds=30)).transaction():
    pass  # whatever is slow the first time
with Reader(lambda: address, limit=timedelta(seconds=3)).transaction() as transaction:
    transaction.connection.exec_driver_sql("SELECT id FROM jobs").all()
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("database", ["mariadb", "postgres"], indirect=True)
def test_the_server_ends_the_transaction_of_an_exporter_that_is_frozen(database: Database) -> None:
    """It cannot do so itself."""
    with subprocess.Popen([sys.executable, "-c", FORSAKE, database.url]) as frozen:
        try:
            wait_until(lambda: is_frozen(frozen.pid), within=20, what="the exporter is frozen")
            wait_until(lambda: open_transactions(database), within=2, what="its transaction is open")
            wait_until(lambda: not open_transactions(database), within=10, what="the server has ended it")
            database.sql(ALTER[database.dialect])
        finally:
            frozen.send_signal(signal.SIGKILL)


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    """A database in a file."""
    return on_sqlite(tmp_path / "jobs.db")


def test_a_file_is_open_during_a_transaction_only(sqlite: Database, tmp_path: Path) -> None:
    """Nothing is made beside it, and a file that has taken its place is seen."""
    descriptors = count_descriptors()
    with reading(sqlite.url) as reader:
        for host in ("web1", "web2"):
            with reader.transaction() as transaction:
                assert ask(transaction, "SELECT host FROM jobs") == [(host,)]
                assert [path.name for path in tmp_path.iterdir()] == ["jobs.db"]
                assert count_descriptors() > descriptors
            assert not reader.is_connected
            assert count_descriptors() == descriptors
            other = on_sqlite(tmp_path / "other.db")
            other.sql("UPDATE jobs SET host = 'web2'")
            (tmp_path / "other.db").replace(tmp_path / "jobs.db")


def test_text_that_is_not_utf_8_can_be_read(sqlite: Database) -> None:
    """SQLite keeps whatever a program has put there."""
    sqlite.sql("UPDATE jobs SET host = CAST(x'77e962' AS TEXT)")
    with reading(sqlite.url) as reader, reader.transaction() as transaction:
        assert ask(transaction, "SELECT host FROM jobs") == [("w\ufffdb",)]


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
for number in range(2, 10_000):
    connection.execute("INSERT INTO jobs VALUES (?, 'web1')", (number,))
    print(number, flush=True)
    sys.stdin.readline()
"""


def test_a_file_that_another_process_writes_ahead_is_read(sqlite: Database, tmp_path: Path) -> None:
    """Each transaction sees what was committed before it began, though none of it is in the file itself yet."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "jobs.db")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer,
        reading(sqlite.url) as reader,
    ):
        assert writer.stdin is not None
        assert writer.stdout is not None
        for _ in range(5):
            last = int(writer.stdout.readline())
            with reader.transaction() as transaction:
                assert ask(transaction, "SELECT max(id) FROM jobs") == [(last,)]
                writer.stdin.write("\n")
                writer.stdin.flush()
                last = int(writer.stdout.readline())
                assert ask(transaction, "SELECT max(id) FROM jobs") == [(last - 1,)]
            writer.stdin.write("\n")
            writer.stdin.flush()
        writer.kill()
