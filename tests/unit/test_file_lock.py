"""The lock file beside a SQLite database: whoever may read it can take the lock, one at a time."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, create_engine

from exporter.address import Address
from healers.resets.locks import SUFFIX, FileLock

NOBODY = 65534


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Any connection: SQLite has no locks of this kind, and it is not used."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of another account, where this one may give it away."""
    file = tmp_path / "jobs.db"
    file.touch()
    if os.geteuid() == 0:
        os.chown(file, NOBODY, NOBODY)
    return file


def lock_of(database: Path) -> FileLock:
    """Return the lock of a database."""
    return FileLock(Address(url=URL.create("sqlite", database=str(database))))


def test_a_lock_file_can_be_used_by_every_account_that_shares_the_database(
    database: Path, connection: Connection
) -> None:
    """Made by root, behind a narrow umask, it belongs to whom the database does, and others may open it."""
    lock, umask = lock_of(database), os.umask(0o077)
    try:
        assert lock.take(connection)
    finally:
        os.umask(umask)
    assert lock.is_held(connection)
    assert not lock_of(database).take(connection)
    lock.release(connection)
    found, owner = database.with_name(database.name + SUFFIX).stat(), database.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o644, owner.st_uid, owner.st_gid)


def test_a_file_that_was_there_before_is_not_given_away(database: Path, connection: Connection) -> None:
    """Somebody may have put a link to another file there."""
    precious = database.with_name("precious")
    precious.touch(mode=0o600)
    database.with_name(database.name + SUFFIX).hardlink_to(precious)
    before, lock = precious.stat(), lock_of(database)
    assert lock.take(connection)
    lock.release(connection)
    after = precious.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
