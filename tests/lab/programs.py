"""Find the programs the lab starts; one that is missing is a reason to skip, or to fail where CI can install it."""

import os
import shutil
from pathlib import Path

ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
POSTGRES_FOLDERS = Path("/usr/lib/postgresql")
"""Where Debian and Ubuntu keep one folder per major version, none of them on the PATH."""


class NotInstalled(Exception):
    """A program of the lab is not installed."""


def program(name: str, *, package: str) -> str:
    """Return the path of a program, also if it is in a folder for administrators that is not on this user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMIN_FOLDERS])
    found = shutil.which(name, path=path)
    if found is None:
        raise NotInstalled(f"{name} is not installed: apt-get install {package}")
    return found


def postgres_program(name: str) -> str:
    """Return the path of a PostgreSQL server program, of the newest version installed."""
    versions = [folder for folder in POSTGRES_FOLDERS.glob("*/bin") if (folder / name).exists()]
    if versions:
        return str(max(versions, key=lambda folder: float(folder.parent.name)) / name)
    return program(name, package="postgresql")
