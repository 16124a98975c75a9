"""Releases of Meltano in virtual environments of their own: it is no dependency of the project, nor may it meet ours.

Each is installed by pip when a test first needs it, or by `make meltano`: 20 to 40 s and 150 MB each. They are kept in
the user's cache folder, by version, Python and list of packages, for all runs to come.
`meltano_releases/<version>.txt` lists every package with its hashes, and `make lock` resolves them anew: 3.6.0 sets no
upper limit to SQLAlchemy, so without a list it would change under the tests.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import run
from .programs import NotInstalled

NEWEST = "4.4.1"
WITHOUT_FIRST_HEARTBEAT = "3.6.0"
"""The last release that commits a run as RUNNING before its first heartbeat (core/job/job.py `run`; 3.7.0 mends it)."""

LISTS = Path(__file__).with_name("meltano_releases")
CACHE = Path("~/.cache/queuemedic-lab")
PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
EXACT = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]


def meltano(version: str) -> Path:
    """Return the program `meltano` of this version, installed if it is not yet; raise NotInstalled with pip's reason.

    Of all workers and runs one installs it, the others wait. A run that has failed to does not try again.
    """
    packages = LISTS / f"{version}.txt"
    digest = hashlib.sha256(packages.read_bytes()).hexdigest()[:8]
    folder = CACHE.expanduser() / f"meltano-{version}-py{platform.python_version()}-{digest}"
    program, complete = folder / "bin" / "meltano", folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _install(folder, packages)
            complete.touch()
    return program


def _install(folder: Path, packages: Path) -> None:
    failure = run.folder() / f"{folder.name}.failed" if run.VARIABLE in os.environ else None
    if failure is not None and failure.exists():
        raise NotInstalled(failure.read_text())
    shutil.rmtree(folder, ignore_errors=True)  # what a killed installation has left
    python = str(folder / "bin" / "python")
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [python, *PIP, *EXACT, "--requirement", str(packages)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = f"Meltano {packages.stem} cannot be installed: {lines[-1] if lines else 'no reason given'}"
            if failure is not None:
                failure.write_text(reason)
            raise NotInstalled(reason)


def main() -> int:
    """Install both releases at once and say how long it took; 1 if one cannot be installed."""
    began = time.monotonic()
    try:
        with ThreadPoolExecutor() as pool:
            programs = list(pool.map(meltano, (NEWEST, WITHOUT_FIRST_HEARTBEAT)))
    except NotInstalled as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:.0f} s: {', '.join(map(str, programs))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
