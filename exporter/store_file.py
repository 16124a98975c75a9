"""The file of a SQLite database of the program's own: make it, and say what is wrong with it and which command helps.

SQLite's own messages ("unable to open database file", "attempt to write a readonly database") name no file and no
reason. A file that root makes (`sudo queuemedic heal`) is given to whom the folder belongs, or the service could not
write to it from then on; what SQLite puts beside it, root gives to the owner of the database (3.40, robustFchown).
The file itself is never opened here once it is there: closing it would end the locks that SQLite holds on it for
another connection of this process (sqlite.org/howtocorrupt.html, 2.2).
"""

import os
import pwd
from pathlib import Path
from typing import Final

from .errors import LedgerError, NoLedger, Refused
from .sqlite_files import refuse_to_leave_files

BESIDE: Final = ("-wal", "-shm")


def prepare(path: Path) -> None:
    """Make the file if there is none; raises LedgerError where it could not be written to."""
    folder = path.parent
    if not folder.is_dir():
        raise LedgerError(f"{folder}: there is no such folder; sudo install -d -o {_user()} -m 0750 {folder}")
    _refuse_unwritable(folder)
    if not path.exists():
        _make(path)
    for name in (path, *(path.with_name(path.name + ending) for ending in BESIDE)):
        if name.exists():
            _refuse_unwritable(name)


def look(path: Path) -> None:
    """Raise LedgerError where the file cannot be read without harm, and NoLedger where there is none."""
    try:
        if not path.exists() or path.stat().st_size == 0:
            raise NoLedger(f"{path}: there is no ledger yet; `queuemedic serve` makes it")
        if not os.access(path, os.R_OK, effective_ids=True):
            raise LedgerError(f"{path}: {_user()} may not read it; run this as {_owner(path)}, or with sudo")
        refuse_to_leave_files(path)
    except Refused as cause:
        raise LedgerError(str(cause)) from cause
    except OSError as cause:
        raise LedgerError(f"{path}: {_user()} may not read it ({cause.strerror}); run this with sudo") from cause


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make(path: Path) -> None:
    """Make an empty file that a power failure does not lose."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            file = os.open(path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        except FileExistsError:  # another instance was quicker
            return
        try:
            if os.geteuid() == 0:
                owner = os.fstat(folder)
                os.fchown(file, owner.st_uid, owner.st_gid)
        finally:
            os.close(file)
        os.fsync(folder)
    except OSError as cause:
        raise LedgerError(f"{path}: cannot be made: {cause.strerror}") from cause
    finally:
        os.close(folder)


def _refuse_unwritable(path: Path) -> None:
    if os.access(path, os.W_OK, effective_ids=True):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise LedgerError(f"{path}: its file system is mounted read-only; see `findmnt --target {path}` and `dmesg`")
    raise LedgerError(
        f"{path}: {_user()} may not write to it, as it belongs to {_owner(path)}; run this as {_owner(path)}, or, where"
        f" {_user()} is who runs the service, sudo chown {_user()}: {path}"
    )


def _owner(path: Path) -> str:
    return _name(path.stat().st_uid)


def _user() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
