"""A MariaDB server of the test's own: data, port and socket of its own, on the loopback address only.

It is ready about 0.2 s after `start`: the empty data folder is made once per run and copied. A commit reaches the
kernel (`innodb-flush-log-at-trx-commit=2`; with 0 the last second is lost in a `kill`), but not the disk.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import run
from .administrator import Administrator
from .daemon import DidNotStart
from .programs import program
from .server import Server

PACKAGE = "mariadb-server"
TEMPORARY = "tmp"
"""A folder of each server's own: a starting MariaDB deletes the temporary tables of all that share its own."""
THRIFTY = (
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=OFF",
    "--innodb-fast-shutdown=2",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
)


class MariaDb(Server, Administrator):
    """A server.

    `system_time_zone` is the zone SYSTEM, in which sessions are unless told otherwise (None: this machine's);
    `options` go to mariadbd.
    """

    def __init__(
        self,
        *,
        system_time_zone: str | None = "UTC",
        ssl_cert: Path | None = None,
        ssl_key: Path | None = None,
        ssl_ca: Path | None = None,
        options: Sequence[str] = (),
        folder: Path | None = None,
        port: int | None = None,
    ) -> None:
        self._zone = system_time_zone
        tls = {"--ssl-cert": ssl_cert, "--ssl-key": ssl_key, "--ssl-ca": ssl_ca}
        self._options = [f"{option}={path}" for option, path in tls.items() if path is not None]
        self._options += options
        super().__init__(folder=folder, port=port)

    @property
    def socket(self) -> Path:
        """The server's Unix socket."""
        return self.folder / "socket"

    def _command(self) -> list[str]:
        return [
            program("mariadbd", package=PACKAGE),
            "--no-defaults",
            *_as_root(),
            f"--datadir={self.data_folder}",
            f"--tmpdir={self.folder / TEMPORARY}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'pid'}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            *THRIFTY,
            *self._options,
        ]

    def _environment(self) -> dict[str, str]:
        return {} if self._zone is None else {"TZ": self._zone}

    def _prepare(self) -> None:
        if not self.data_folder.exists():
            shutil.copytree(run.once("mariadb-template", _install), self.folder, dirs_exist_ok=True)

    def _answers(self) -> bool:
        return self.sql("SELECT 1") == [(1,)]


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


def _install(folder: Path) -> None:
    (folder / TEMPORARY).mkdir()
    made = subprocess.run(
        [
            program("mariadb-install-db", package=PACKAGE),
            "--no-defaults",
            *_as_root(),
            f"--datadir={folder / 'data'}",
            f"--tmpdir={folder / TEMPORARY}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=2",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        raise DidNotStart(f"mariadb-install-db: {made.stdout}{made.stderr}")
