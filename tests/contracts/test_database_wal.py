"""Reading a SQLite database in WAL mode never stops the program that writes to it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import exporter.openers as module
from exporter.address import Address
from exporter.database import Reader
from exporter.errors import PollTimeout, Refused
from exporter.secrets import read_url

OWNER, OTHER = 65_534, 1

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Be another user, and a member of no other group than its own."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def database() -> Iterator[Path]:
    """A database in WAL mode in its owner's folder, which pytest's own would hide; nobody has it open."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.chown(folder, OWNER, OWNER)
        with acting_as(OWNER):
            write(folder / "jobs.db", "PRAGMA journal_mode = WAL", "CREATE TABLE jobs (id INTEGER)")
        yield folder / "jobs.db"


def write(path: Path, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def count(path: Path) -> int:
    """Count the jobs as the exporter reads them."""
    reader = Reader(lambda: Address(url=read_url(f"sqlite:///{path}")), limit=timedelta(seconds=5))
    with closing(reader), reader.transaction() as transaction:
        return int(transaction.connection.exec_driver_sql("SELECT COUNT(*) FROM jobs").scalar_one())


@pytest.mark.parametrize("reader", [0, OWNER])
def test_root_and_the_owner_read_and_the_owner_goes_on_writing(database: Path, reader: int) -> None:
    """SQLite gives root's files to the owner of the database."""
    with acting_as(reader):
        assert count(database) == 0
    with acting_as(OWNER):
        write(database, "INSERT INTO jobs VALUES (1)")
    with acting_as(reader):
        assert count(database) == 1


def test_another_user_is_refused_before_it_can_do_harm(database: Path) -> None:
    """Although it could read: what it would leave beside the database keeps the owner from writing."""
    database.parent.chmod(0o777)
    with acting_as(OTHER):
        with pytest.raises(Refused, match=r"jobs\.db: is in WAL mode, .*; run Queuemedic as nobody$"):
            count(database)
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT * FROM jobs").fetchall()
    with acting_as(OWNER), pytest.raises(sqlite3.OperationalError, match="readonly"):
        write(database, "INSERT INTO jobs VALUES (1)")


def test_a_member_of_the_group_reads_where_files_stay_the_groups(database: Path) -> None:
    """The database is writable for the group, and so are the files that SQLite makes beside it."""
    os.chown(database, OWNER, OTHER)
    database.chmod(0o664)
    database.parent.chmod(0o777)
    os.chown(database.parent, OWNER, OTHER)
    with acting_as(OTHER):
        assert count(database) == 0
    assert {path.stat().st_gid for path in database.parent.iterdir()} == {OTHER}
    assert {path.stat().st_mode & 0o777 for path in database.parent.iterdir()} == {0o664}


def test_without_the_right_to_write_beside_it_the_message_says_so(database: Path) -> None:
    """A folder that even the owner may not write to."""
    database.parent.chmod(0o555)
    with acting_as(OWNER), pytest.raises(Refused, match=r"the right to write to .*; give that$"):
        count(database)


def test_a_link_to_a_database_is_read_as_what_it_links_to(database: Path) -> None:
    """SQLite makes its files beside the database: the folder of the link need not be writable, and does not help."""
    with TemporaryDirectory() as name:
        link = Path(name, "link.db")
        link.symlink_to(database)
        Path(name).chmod(0o755)
        with acting_as(OWNER):
            assert count(link) == 0
        database.parent.chmod(0o555)
        os.chown(name, OWNER, OWNER)
        with acting_as(OWNER), pytest.raises(Refused, match=f"the right to write to {database.parent}; give that"):
            count(link)


def test_a_database_in_another_mode_is_anybodys_to_read(database: Path) -> None:
    """Nothing is written beside it."""
    with acting_as(OWNER):
        write(database, "PRAGMA journal_mode = DELETE")
    with acting_as(OTHER):
        assert count(database) == 0
    assert [path.name for path in database.parent.iterdir()] == ["jobs.db"]


def test_outside_wal_mode_a_reader_lets_writers_in_before_they_give_up(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a poll may take; a writer waits for a few seconds only."""
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.3)
    write(database, "PRAGMA journal_mode = DELETE")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n, jobs"
    write(database, "INSERT INTO jobs VALUES (1)")
    reader = Reader(lambda: Address(url=read_url(f"sqlite:///{database}")), limit=timedelta(minutes=1))
    with closing(reader), pytest.raises(PollTimeout, match=r"no answer within 0\.3 s"), reader.transaction() as begun:
        begun.connection.exec_driver_sql(endless)
    write(database, "INSERT INTO jobs VALUES (2)")
