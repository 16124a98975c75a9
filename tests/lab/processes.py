"""Look at processes and signal them: by pid and start time, and by a mark in their environment; never by name.

A mark is a variable that was in the environment when the process was started. Its children inherit it, also those
that have left the process group or have been handed to pid 1, so a mark finds all of a family and nobody else.
A zombie counts as ended. Linux only: this reads /proc.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ENDED_STATES = "ZX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, not merely its pid: a pid that is given to another process later is not this one."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    start_ticks: int

    def now(self) -> "Process | None":
        """Return the same process as it is now, or None if it has ended."""
        current = look(self.pid)
        return current if current is not None and current.start_ticks == self.start_ticks else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to this process or to none."""
        if self.now() is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def children(self) -> list["Process"]:
        """Return its direct children that have not ended."""
        return [process for process in running() if process.parent == self.pid]

    def catches(self, number: signal.Signals) -> bool:
        """Whether it has a handler for a signal."""
        try:
            lines = (PROC / str(self.pid) / "status").read_text(errors="replace").splitlines()
        except OSError:
            return False
        masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
        return bool(masks and masks[0] >> (number - 1) & 1)

    def argv(self) -> tuple[str, ...]:
        """Return its command line; empty if it has ended."""
        try:
            raw = (PROC / str(self.pid) / "cmdline").read_bytes()
        except OSError:
            return ()
        return tuple(raw.decode(errors="replace").split("\0")[:-1])


def look(pid: int) -> Process | None:
    """Return the process that has this pid now; None if there is none, or a zombie.

    Fields are counted from the last `)` of /proc/<pid>/stat, as a command may hold any characters (proc(5)).
    """
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in ENDED_STATES:
        return None
    return Process(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
    )


def running() -> list[Process]:
    """Return every process of this machine that has not ended."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return [process for pid in pids if (process := look(pid)) is not None]


def marked(variable: str, value: str) -> list[Process]:
    """Return the processes that were started with this variable in their environment, except the caller."""
    mark = f"{variable}={value}".encode()
    found = []
    for process in running():
        with suppress(OSError):
            environment = (PROC / str(process.pid) / "environ").read_bytes()
            if process.pid != os.getpid() and mark in environment.split(b"\0"):
                found.append(process)
    return found
