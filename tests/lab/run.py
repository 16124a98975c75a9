"""What belongs to one run of the tests: its folder, and what is made or started once in it.

The folder's path is in the environment as LAB_RUN. So every worker of pytest-xdist finds it, and every process a test
starts carries it as its mark: what is still running at the end is found by it, whoever its parent has become.
"""

import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from . import processes
from .waiting import wait_until

VARIABLE = "LAB_RUN"
LINGER_SECONDS = 2.0
KILL_SECONDS = 10.0


def begin() -> Path:
    """Begin a run: make its folder, which other users may pass through but not list, and set the mark."""
    path = Path(tempfile.mkdtemp(prefix="lab-"))
    path.chmod(0o711)
    os.environ[VARIABLE] = str(path)
    return path


def kill_left(path: Path) -> list[str]:
    """Kill what is still running of a run and return the command line of each; what is ending is given 2 s."""
    with suppress(AssertionError):
        wait_until(lambda: not processes.marked(VARIABLE, str(path)), within=LINGER_SECONDS, what="all have ended")
    left = processes.marked(VARIABLE, str(path))
    names = [f"{process.pid}: {' '.join(process.argv())}" for process in left]
    for process in left:
        process.send(signal.SIGKILL)
    wait_until(lambda: all(process.now() is None for process in left), within=KILL_SECONDS, what="all are dead")
    return names


def end(path: Path) -> None:
    """End a run: remove its folder and the mark."""
    shutil.rmtree(path)
    os.environ.pop(VARIABLE, None)


def folder() -> Path:
    """Return the folder of the run that is going on."""
    return Path(os.environ[VARIABLE])


def scratch(name: str) -> Path:
    """Return a new folder in the run's folder; short, as a socket's path has to fit into 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder()))
    path.chmod(0o755)
    return path


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name`, made by whoever of the run's workers needs it first."""
    path = folder() / name
    with locked(name):
        if not path.exists():
            draft = scratch(f"{name}-draft")
            make(draft)
            draft.rename(path)
    return path


Details = dict[str, str | int]


class Shareable(Protocol):
    """A server that one worker starts and another may stop."""

    def details(self) -> Details:
        """Return what another worker needs to use it and to stop it."""

    def disown(self) -> None:
        """Leave it running when this worker ends."""

    def close(self) -> None:
        """Stop it and remove its files."""


S = TypeVar("S", bound=Shareable)


@contextmanager
def shared(name: str, *, start: Callable[[], S], attach: Callable[[Details], S]) -> Iterator[S]:
    """Yield the run's one server of that name: the first worker that needs it starts it, the last one stops it.

    Who holds it is written down as pids, so a worker that has crashed holds nothing.
    """
    register = folder() / f"{name}.json"
    with locked(name):
        details, holders = _read(register)
        server = start() if details is None else attach(details)
        _write(register, server.details(), [*holders, os.getpid()])
    try:
        yield server
    finally:
        with locked(name):
            details, holders = _read(register)
            holders.remove(os.getpid())
            if holders:
                _write(register, server.details(), holders)
                server.disown()
            else:
                register.unlink()
                server.close()


def _read(register: Path) -> tuple[Details | None, list[int]]:
    if not register.exists():
        return None, []
    entry = json.loads(register.read_text())
    return entry["details"], [pid for pid in entry["holders"] if processes.look(pid) is not None]


def _write(register: Path, details: Details, holders: list[int]) -> None:
    register.write_text(json.dumps({"details": details, "holders": holders}))


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Be the only one of the run's workers that holds this name."""
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
