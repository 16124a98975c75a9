"""Find what checks deploy/: tools of deploy/requirements.txt beside this Python; those in Go, where they are built."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from .programs import NotInstalled

DEPLOY = Path(__file__).parents[2] / "deploy"


class NoGo(Exception):
    """Go is not installed, which builds the tool."""


def lint_tool(name: str) -> str:
    """Return the path of a tool that pip installs."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed: .venv/bin/pip install --requirement deploy/requirements.txt")
    return found


@cache
def go_tool(name: str) -> str:
    """Return the path of a tool in Go, which is built at the first time and takes minutes then; NoGo without Go."""
    built = subprocess.run(["sh", DEPLOY / "go-tools.sh"], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    if not built.stdout:
        raise NoGo(built.stderr.strip())
    return str(Path(built.stdout.strip()) / name)
