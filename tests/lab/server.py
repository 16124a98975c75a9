"""What every server of the lab has: a folder, a loopback port, one process, and an orderly end.

`with MariaDb() as server:` starts it and ends it, whatever a test has done to it in between.
"""

import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from . import run
from .daemon import Daemon
from .ports import LOOPBACK, free_port


class Server(ABC):
    """A server; `folder` and `port` are new ones unless given, as they are for one that already runs."""

    host: ClassVar[str] = LOOPBACK
    user: ClassVar[str | None] = None
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_seconds: ClassVar[float] = 30.0

    def __init__(self, *, folder: Path | None = None, port: int | None = None) -> None:
        self.folder = folder or run.scratch(type(self).__name__.lower())
        self.port = port or free_port()
        self._daemon = Daemon(
            self._command(),
            log=self.folder / "log",
            environment=self._environment(),
            user=self.user,
            stop_signal=self.stop_signal,
        )

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the server is ready; an exception means that it is not."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what has to be there before the first start; called before each."""

    def _environment(self) -> Mapping[str, str]:
        return {}

    @classmethod
    def attach(cls, details: run.Details) -> Self:
        """Return a server that another test worker has started."""
        server = cls(folder=Path(str(details["folder"])), port=int(details["port"]))
        server._daemon.adopt(details)
        return server

    def details(self) -> run.Details:
        """Return what `attach` needs."""
        return {"folder": str(self.folder), "port": self.port, **self._daemon.details()}

    @property
    def pid(self) -> int:
        """The server's pid, also after it has ended."""
        return self._daemon.pid

    @property
    def is_up(self) -> bool:
        """Whether the server runs and is not frozen."""
        process = self._daemon.process
        current = process.now() if process is not None else None
        return current is not None and current.state not in "Tt"

    @property
    def data_folder(self) -> Path:
        """Where it keeps its files."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What the server has printed."""
        return self._daemon.log.read_text(errors="replace")

    def start(self) -> None:
        """Start the server, for the first time or again on the same data and port, and wait until it answers."""
        self._prepare()
        self._daemon.start(ready=self._answers, within=self.start_seconds)

    def stop(self) -> None:
        """Stop the server in good order, also if it is frozen; nothing if it does not run."""
        self._daemon.stop()

    def kill(self) -> None:
        """Kill the server, all of its processes, with SIGKILL."""
        self._daemon.kill()

    def freeze(self) -> None:
        """Stop the server in mid-work: connections stay open, the kernel accepts new ones, and nothing answers."""
        self._daemon.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._daemon.thaw()

    def disown(self) -> None:
        """Leave the server running when this test worker ends."""
        self._daemon.disown()

    def close(self) -> None:
        """Stop the server and remove its files."""
        try:
            self._daemon.stop()
        finally:
            shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
