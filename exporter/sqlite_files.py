"""What reading a SQLite database can leave beside it."""

import os
import pwd
import stat
from pathlib import Path

from .errors import Refused


def is_wal(path: Path) -> bool:
    """Whether a database is in WAL mode (sqlite.org/fileformat2.html, 1.3: the file format write version)."""
    with path.open("rb") as file:
        return file.read(20)[18:19] == b"\x02"


def refuse_to_leave_files(path: Path) -> None:
    """Refuse to read in WAL mode where SQLite would leave files beside the database that its owner cannot write.

    A reader makes -wal and -shm where they are missing, and leaves them there. Root gives them to the owner
    (SQLite 3.40, os_unix.c, robustFchown); anybody else's keep the owner from writing to the database from then on.
    """
    path = path.resolve()  # they are made beside the database, and not beside a link to it
    status, folder = path.stat(), path.parent.stat()
    groups = {folder.st_gid} if folder.st_mode & stat.S_ISGID else {os.getegid()}
    is_shared = bool(status.st_mode & stat.S_IWGRP) and status.st_gid in groups
    if os.geteuid() not in (0, status.st_uid) and not is_shared:
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = f"the user {status.st_uid}"
        raise Refused(
            f"{path}: is in WAL mode, where whoever reads also writes beside the database, and what another user writes"
            f" there would stop its own; run Queuemedic as {owner}"
        )
    if not os.access(path.parent, os.W_OK, effective_ids=True):
        raise Refused(f"{path}: is in WAL mode, where reading needs the right to write to {path.parent}; give that")
