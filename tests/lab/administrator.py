"""What the administrator of a MariaDB server does in it: statements, scripts, databases, accounts, its clock.

Every call opens and closes a connection of its own (about 2 ms), so a server that is killed or frozen in between
leaves nothing broken here.
"""

import secrets
import subprocess
import zoneinfo
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pymysql

from .programs import NotInstalled, program

SYSTEM_SCHEMA = "mysql"
CLOCKS = f"{SYSTEM_SCHEMA}.lab_clocks"
ZONES = ("UTC", "Europe/Berlin", "America/New_York")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a session of some account is doing; `text` is None if it is idle."""

    connection_id: int
    user: str
    database: str | None
    text: str | None


class Administrator(ABC):
    """The account `root`, which has no password.

    It connects over TCP: PyMySQL 1.2.4 leaves a Unix socket open that was refused.
    """

    host: ClassVar[str]
    port: int

    @property
    @abstractmethod
    def socket(self) -> Path:
        """The server's Unix socket."""

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether the server runs and is not frozen."""

    def root_url(self, database: str | None = None) -> str:
        """Return root's SQLAlchemy URL, over TCP."""
        return f"mysql+pymysql://root@{self.host}:{self.port}/{database or ''}"

    @contextmanager
    def connect(self, database: str | None = None) -> Iterator["pymysql.Connection[Any]"]:
        """Yield a connection of root's that commits each statement, and close it."""
        with closing(
            pymysql.connect(
                host=self.host,
                port=self.port,
                user="root",
                database=database,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=5,
                read_timeout=60,
                write_timeout=60,
            )
        ) as connection:
            yield connection

    def sql(self, statement: str, *params: object, database: str | None = None) -> list[Row]:
        """Run one statement, with `%s` for each of `params`, and return its rows."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, params or None)
            return list(cursor.fetchall())

    def script(self, text: str, database: str) -> None:
        """Run many statements, a dump for one, through the `mariadb` client; it stops at the first fault."""
        subprocess.run(
            [
                program("mariadb", package="mariadb-client"),
                "--no-defaults",
                "--user=root",
                f"--socket={self.socket}",
                database,
            ],
            input=text.encode(),
            check=True,
            capture_output=True,
        )

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the name of a new, empty database; end the sessions on it and drop it, if the server is up."""
        name = f"lab_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self.is_up:
                self._drop(name)

    def _drop(self, database: str) -> None:
        self.set_clock(None, database=database)
        for session in self.processlist(idle=True):
            if session.database == database:
                with suppress(pymysql.MySQLError):  # it may have ended by itself
                    self.sql(f"KILL {session.connection_id}")
        self.sql(f"DROP DATABASE {database}")

    def account(self, database: str, grants: Sequence[str], *, require: str = "") -> str:
        """Return the URL of a new account with exactly these rights, each as written in GRANT … TO.

        A table is named without its database: `SELECT (id, status) ON jobs`; all of them: `ALL ON *`.
        `require` ends CREATE USER: `REQUIRE SSL`, `WITH MAX_USER_CONNECTIONS 2`.
        """
        name, password = f"lab_{secrets.token_hex(6)}", secrets.token_urlsafe(12)
        self.sql(f"CREATE USER {name} IDENTIFIED BY %s {require}", password)
        for grant in grants:
            self.sql(f"GRANT {grant} TO {name}", database=database)
        return f"mysql+pymysql://{name}:{password}@{self.host}:{self.port}/{database}"

    def processlist(self, *, idle: bool = False) -> list[Statement]:
        """Return the statements that other accounts than root are running; with `idle`, all of their sessions."""
        rows = self.sql(
            "SELECT id, user, db, IF(command = 'Sleep', NULL, COALESCE(info, command))"
            " FROM information_schema.processlist"
            " WHERE user NOT IN ('root', 'system user', 'event_scheduler') AND (%s OR command <> 'Sleep') ORDER BY id",
            idle,
        )
        return [Statement(connection_id=id_, user=user, database=db, text=text) for id_, user, db, text in rows]

    def set_clock(self, instant: datetime | None, *, database: str) -> None:
        """Hold the clock of sessions that are opened on `database` from now on; None lets it run again.

        By `init_connect`, which the server runs at the start of a session of an account that is no administrator:
        NOW(), UTC_TIMESTAMP() and UNIX_TIMESTAMP() stand still in it; root and SYSDATE() keep the real time. The
        clocks of other databases are left alone, so tests may share a server.
        """
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, 20)", (CLOCKS,))
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {CLOCKS} (name VARCHAR(64) PRIMARY KEY, at DECIMAL(17, 6))")
            cursor.execute(f"DELETE FROM {CLOCKS} WHERE name = %s", (database,))
            if instant is not None:
                cursor.execute(f"INSERT INTO {CLOCKS} VALUES (%s, %s)", (database, instant.timestamp()))
            cursor.execute(f"SELECT CONCAT('WHEN ''', name, ''' THEN ', at) FROM {CLOCKS}")
            cases = " ".join(case for (case,) in cursor.fetchall())
            init = f"SET timestamp = CASE DATABASE() {cases} ELSE 0 END" if cases else ""
            cursor.execute("SET GLOBAL init_connect = %s", (init,))

    def load_time_zones(self, *names: str) -> None:
        """Make the server know zones by name, `ZONES` unless named, from this machine's zoneinfo; about 20 ms each."""
        convert = program("mariadb-tzinfo-to-sql", package="mariadb-server")
        for name in names or ZONES:
            files = [Path(folder) / name for folder in zoneinfo.TZPATH if (Path(folder) / name).is_file()]
            if not files:
                raise NotInstalled(f"there is no zoneinfo of {name}: apt-get install tzdata")
            made = subprocess.run([convert, str(files[0]), name], check=True, capture_output=True, text=True)
            self.script(made.stdout, SYSTEM_SCHEMA)
