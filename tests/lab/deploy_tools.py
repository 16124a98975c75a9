"""Find what checks deploy/: programs and schemas that deploy/tools.sh has installed, in a folder of their own."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from .programs import NotInstalled

DEPLOY = Path(__file__).parents[2] / "deploy"
IN_GO = frozenset({"helm", "kubeconform"})


class NoGo(Exception):
    """Go is not installed, which builds the tool."""


@cache
def folder() -> Path:
    """Return where they are, or would be."""
    asked = subprocess.run(["sh", DEPLOY / "tools.sh", "--where"], check=True, capture_output=True, text=True)
    return Path(asked.stdout.strip())


def tool(name: str) -> str:
    """Return the path of a program; NotInstalled if it is not there but could be, NoGo if it could not."""
    found = folder() / "bin" / name
    if found.exists():
        return str(found)
    if name in IN_GO and shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin") is None:
        raise NoGo(f"{name} cannot be built: Go is not installed")
    raise NotInstalled(f"{name} is not installed: run sh deploy/tools.sh")


def package_folder(name: str) -> Path:
    """Return the folder of a package."""
    for found in folder().glob(f"lib/python3*/site-packages/{name}"):
        return found
    raise NotInstalled(f"{name} is not installed: run sh deploy/tools.sh")
