"""One healer at a time per queue: a lock that lives and dies with the connection that runs the reset.

MariaDB and MySQL: GET_LOCK. PostgreSQL: an advisory lock of the session. SQLite, which knows no such locks: a lock on
a file beside the database. Whether it is still held is asked in each reset, in the transaction that writes: a
connection that was replaced, by a pooler for one, holds nothing. Safety does not rest on it.
"""

import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from exporter.address import Address
from exporter.errors import ConfigurationError

NOT_SUPPORTED: Final = frozenset({1235, 1289})
NO_LOCKS: Final = "healing: this server has no GET_LOCK for all of its healers (Galera); heal through one that has"
PREFIX: Final = "queuemedic."
SUFFIX: Final = ".queuemedic-lock"


class NoNamedLocks(ConfigurationError):
    """The server has no locks that hold for all of its healers."""


class Lock(Protocol):
    """A lock. `take` does not wait; `release` may be called on what is not held."""

    def take(self, connection: Connection) -> bool: ...
    def is_held(self, connection: Connection) -> bool: ...
    def release(self, connection: Connection) -> None: ...


class MysqlLock:
    """A named lock of the server; names are the server's, so this one is of the database and table.

    A node of a Galera cluster refuses GET_LOCK (MDEV-30473), or, before that (10.11), gives it for itself alone.
    """

    cluster_sql = "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'"
    take_sql = text("SELECT GET_LOCK(:name, 0)")
    held_sql = text("SELECT IS_USED_LOCK(:name) = CONNECTION_ID()")
    release_sql = text("SELECT RELEASE_LOCK(:name)")

    def __init__(self, address: Address, table: str) -> None:
        self._bound = {"name": PREFIX + _digest(f"{address.url.database}/{table}").hex()}

    def take(self, connection: Connection) -> bool:
        """Try to take it; NULL, for whatever reason, is not had. Raises NoNamedLocks."""
        cluster = connection.exec_driver_sql(self.cluster_sql).one_or_none()
        if cluster is not None and str(cluster[1]).upper() == "ON":
            raise NoNamedLocks(NO_LOCKS)
        try:
            return bool(connection.execute(self.take_sql, self._bound).scalar())
        except DBAPIError as cause:
            if cause.orig is not None and cause.orig.args[0] in NOT_SUPPORTED:
                raise NoNamedLocks(NO_LOCKS) from cause
            raise

    def is_held(self, connection: Connection) -> bool:
        """Ask the server."""
        return bool(connection.execute(self.held_sql, self._bound).scalar())

    def release(self, connection: Connection) -> None:
        """Give it back."""
        connection.execute(self.release_sql, self._bound).close()


class PostgresqlLock:
    """An advisory lock; their numbers are the database's, so this one is of the table."""

    take_sql = text("SELECT pg_try_advisory_lock(:number)")
    held_sql = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted"
        " AND objsubid = 1 AND (classid\\:\\:bigint << 32) | objid\\:\\:bigint = :number"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    release_sql = text("SELECT pg_advisory_unlock(:number)")

    def __init__(self, table: str) -> None:
        self._bound = {"number": int.from_bytes(_digest(table)[:8], signed=True)}

    def take(self, connection: Connection) -> bool:
        """Try to take it."""
        return bool(connection.execute(self.take_sql, self._bound).scalar())

    def is_held(self, connection: Connection) -> bool:
        """Ask the server."""
        return bool(connection.execute(self.held_sql, self._bound).scalar())

    def release(self, connection: Connection) -> None:
        """Give it back."""
        connection.execute(self.release_sql, self._bound).close()


class FileLock:
    """A lock on a file beside the database, which stays there; the system takes the lock away with the process."""

    def __init__(self, address: Address) -> None:
        self._database = Path(address.url.database or "").resolve()
        self._path = self._database.with_name(self._database.name + SUFFIX)
        self._file: int | None = None

    def take(self, connection: Connection) -> bool:  # noqa: ARG002  SQLite has no locks of this kind
        """Try to take it."""
        if self._file is not None:
            return False
        try:
            self._make()
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as cause:
            raise ConfigurationError(
                f"{self._path}: the lock of healers cannot be opened ({cause.strerror}); give the right to create it"
            ) from cause
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def is_held(self, connection: Connection) -> bool:  # noqa: ARG002
        """Tell whether it is held, and is the one that others would take."""
        with suppress(OSError):
            return self._file is not None and os.path.samestat(os.fstat(self._file), self._path.stat())
        return False

    def release(self, connection: Connection) -> None:  # noqa: ARG002
        """Give it back."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _make(self) -> None:
        """Make the file, where it is not there, for every account; root gives it to whom the database belongs.

        One that is there stays as it is: it may be a link to any other file.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return
        with suppress(OSError):
            os.fchmod(file, 0o644)
            if os.geteuid() == 0:
                owner = self._database.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
        os.close(file)


def make_lock(address: Address, *, table: str) -> Lock:
    """Return the lock of healers of this table."""
    makers: dict[str, Any] = {
        "mysql": lambda: MysqlLock(address, table),
        "postgresql": lambda: PostgresqlLock(table),
        "sqlite": lambda: FileLock(address),
    }
    lock: Lock = makers[address.dialect]()
    return lock


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]
