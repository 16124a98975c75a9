"""An exporter as a process of its own, which has an address and a pid."""

import shutil
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import run
from tests.lab.daemon import Daemon
from tests.lab.ports import LOOPBACK, free_port

CACHE = Path("~/.cache/queuemedic-bench")
LONGEST_SCRAPE_SECONDS = 120.0


class Exporter:
    """A running exporter. `make_command` is given the file that its configuration goes to, and a port."""

    def __init__(self, name: str, make_command: Callable[[Path, int], Sequence[str | Path]]) -> None:
        self.name = name
        self.port = free_port()
        self._folder = run.scratch("exporter")
        self.config = self._folder / "config.yml"
        self._daemon = Daemon([str(part) for part in make_command(self.config, self.port)], log=self._folder / "log")
        self.started_seconds = 0.0

    @property
    def pid(self) -> int:
        """Its process."""
        return self._daemon.pid

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._daemon.log.read_text(errors="replace")

    def scrape(self) -> str:
        """Return its page, over a connection of its own."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=LONGEST_SCRAPE_SECONDS)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise HTTPException(f"{self.name} answers {answer.status}: {text[:300]}")
            return text
        finally:
            connection.close()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        began = time.perf_counter()
        self._daemon.start(ready=lambda: bool(self.scrape()), within=LONGEST_SCRAPE_SECONDS)
        self.started_seconds = time.perf_counter() - began

    def freeze(self) -> None:
        """Stop it in mid-work."""
        self._daemon.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._daemon.thaw()

    def close(self) -> None:
        """End it and remove its files."""
        self._daemon.kill()
        shutil.rmtree(self._folder)

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


def count_series(page: str) -> int:
    """Return how many samples a page has."""
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))
