"""A PostgreSQL server of the test's own: data, port and socket of its own, on the loopback address only.

PostgreSQL refuses root: if the tests run as root, it runs as the user `postgres`. The empty data folder is made once
per run and copied. A commit reaches the kernel but not the disk.
"""

import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from . import run
from .administrator import Statement
from .daemon import DidNotStart, ids_of
from .programs import postgres_program
from .server import Server

THRIFTY = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "timezone": "UTC",
}
ACCESS = """\
local all postgres                trust
host  all postgres 127.0.0.1/32   trust
host  all all      127.0.0.1/32   scram-sha-256
"""

Row = tuple[Any, ...]


class Postgres(Server):
    """A server and its administrator, the account `postgres`; `settings` are parameters of postgresql.conf."""

    user = "postgres"
    stop_signal = signal.SIGINT

    def __init__(
        self, *, settings: Mapping[str, str] | None = None, folder: Path | None = None, port: int | None = None
    ) -> None:
        self._settings = {**THRIFTY, **(settings or {})}
        super().__init__(folder=folder, port=port)

    def _command(self) -> list[str]:
        settings = {
            **self._settings,
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        arguments = [f"-c{name}={value}" for name, value in settings.items()]
        return [postgres_program("postgres"), "-D", str(self.data_folder), *arguments]

    def _prepare(self) -> None:
        if not self.data_folder.exists():
            shutil.copytree(run.once("postgres-template", _install) / "data", self.data_folder)
            _give(self.folder)

    def _answers(self) -> bool:
        return self.sql("SELECT 1") == [(1,)]

    def root_url(self, database: str | None = None) -> str:
        """Return the administrator's SQLAlchemy URL."""
        return f"postgresql+psycopg://{Postgres.user}@{self.host}:{self.port}/{database or self.user}"

    def sql(self, statement: str, *params: object, database: str | None = None) -> list[Row]:
        """Run one statement, with `%s` for each of `params`, in a session of its own, and return its rows."""
        with (
            psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                dbname=database or self.user,
                autocommit=True,
                connect_timeout=5,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, params or None)
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the name of a new, empty database; end its sessions and drop it, if the server is up."""
        name = f"lab_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self.is_up:
                self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def account(self, database: str, grants: Sequence[str]) -> str:
        """Return the URL of a new account with these rights, each as written in GRANT … TO: `SELECT ON runs`."""
        name, password = f"lab_{secrets.token_hex(6)}", secrets.token_urlsafe(12)
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        for grant in grants:
            self.sql(f"GRANT {grant} TO {name}", database=database)
        return f"postgresql+psycopg://{name}:{password}@{self.host}:{self.port}/{database}"

    def activity(self, *, idle: bool = False) -> list[Statement]:
        """Return the statements that other accounts are running; with `idle`, all of their sessions.

        A transaction left open without a statement counts as idle.
        """
        rows = self.sql(
            "SELECT pid, usename, datname, CASE state WHEN 'active' THEN query END FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND usename <> current_user AND (%s OR state = 'active')"
            " ORDER BY pid",
            idle,
        )
        return [Statement(connection_id=pid, user=user, database=db, text=text) for pid, user, db, text in rows]


def _install(folder: Path) -> None:
    _give(folder)
    uid, gid = ids_of(Postgres.user)
    made = subprocess.run(
        [
            postgres_program("initdb"),
            f"--pgdata={folder / 'data'}",
            f"--username={Postgres.user}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
    )
    if made.returncode != 0:
        raise DidNotStart(f"initdb: {made.stdout}{made.stderr}")
    (folder / "data" / "pg_hba.conf").write_text(ACCESS)


def _give(folder: Path) -> None:
    """Give a folder and all in it to the user the server runs as."""
    uid, gid = ids_of(Postgres.user)
    if uid is not None and gid is not None:
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, uid, gid)
