"""One server process of the lab: started, awaited, stopped, frozen or killed by its pid.

A server is a process and its direct children (PostgreSQL's are each in a session of their own, so its process group
is not all of it). It may belong to another test worker: then it is known by pid and start time alone.
"""

import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .processes import Process, look
from .programs import NotInstalled
from .waiting import wait_until

END_SECONDS = 20.0


class DidNotStart(Exception):
    """A server of the lab did not start."""


class Daemon:
    """A server process; what it prints goes to `log`.

    `user` is the account it runs as if the tests run as root, for servers that refuse root.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self.environment = {**os.environ, **(environment or {})}
        self.user = user
        self.stop_signal = stop_signal
        self.process: Process | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid, also after the process has ended."""
        assert self.process is not None, "never started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has been started and has not ended; a frozen one is running."""
        return self.process is not None and self.process.now() is not None

    def start(self, *, ready: Callable[[], bool], within: float = 30.0) -> None:
        """Start it and wait until `ready` says True; raise DidNotStart with the log if it ends before."""
        uid, gid = ids_of(self.user)
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                env=self.environment,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        self.process = look(self._child.pid)
        try:
            wait_until(lambda: not self.is_running or ready(), within=within, what=f"{self.command[0]} is ready")
        except AssertionError:
            self.kill()
            raise
        if not self.is_running:
            self._reap()
            raise DidNotStart(f"{self.command[0]} ended:\n{self.log.read_text(errors='replace')[-2000:]}")

    def details(self) -> dict[str, str | int]:
        """Return what `adopt` needs."""
        assert self.process is not None, "never started"
        return {"pid": self.process.pid, "start_ticks": self.process.start_ticks}

    def adopt(self, details: Mapping[str, str | int]) -> None:
        """Take over a process that another test worker has started."""
        process = look(int(details["pid"]))
        self.process = process if process is not None and process.start_ticks == details["start_ticks"] else None

    def disown(self) -> None:
        """Leave the process running, for the worker that stops it later."""
        if self._child is not None:
            self._child.returncode = 0  # else Popen warns that nobody waited for it
        self._child = None

    def family(self) -> list[Process]:
        """Return the process and its children, as far as they have not ended."""
        current = self.process.now() if self.process is not None else None
        return [] if current is None else [current, *current.children()]

    def stop(self) -> None:
        """Ask it to end, also if it is frozen, and wait; kill it if it does not."""
        self.thaw()
        if self.process is not None:
            self.process.send(self.stop_signal)
        try:
            wait_until(lambda: not self.is_running, within=END_SECONDS, what=f"{self.command[0]} has stopped")
        except AssertionError:
            self.kill()
            raise
        self._reap()

    def kill(self) -> None:
        """End it and its children with SIGKILL, as the kernel does when memory runs out."""
        self.freeze()
        family = self.family()
        for process in family:
            process.send(signal.SIGKILL)
        wait_until(
            lambda: all(process.now() is None for process in family),
            within=END_SECONDS,
            what=f"{self.command[0]} is dead",
        )
        self._reap()

    def freeze(self) -> None:
        """Stop it in mid-work: its sockets stay open and nothing answers."""
        wait_until(self._freeze_family, within=END_SECONDS, what=f"{self.command[0]} is frozen")

    def thaw(self) -> None:
        """Let it go on."""
        for process in reversed(self.family()):
            process.send(signal.SIGCONT)

    def _freeze_family(self) -> bool:
        family = self.family()
        for process in family:
            process.send(signal.SIGSTOP)
        return all(process.state in "Tt" for process in family)

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait(timeout=END_SECONDS)
        self._child = None


def ids_of(user: str | None) -> tuple[int, int] | tuple[None, None]:
    """Return uid and gid to run as: of `user` if the tests run as root, else nothing, which is who they run as."""
    if user is None or os.geteuid() != 0:
        return None, None
    try:
        entry = pwd.getpwnam(user)
    except KeyError as cause:
        raise NotInstalled(f"there is no user {user}, and the server refuses root") from cause
    return entry.pw_uid, entry.pw_gid
