"""An exporter as a process of its own, which has an address and a pid."""

import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.lab.ports import LOOPBACK
from tests.lab.server import Server

CACHE = Path("~/.cache/queuemedic-bench")
LONGEST_SCRAPE_SECONDS = 120.0


class Exporter(Server):
    """A running exporter. `make_command` is given the file that its configuration goes to, and a port."""

    start_seconds = LONGEST_SCRAPE_SECONDS

    def __init__(self, name: str, make_command: Callable[[Path, int], Sequence[str | Path]]) -> None:
        self.name = name
        self._make_command = make_command
        self.started_seconds = 0.0
        super().__init__()

    @property
    def config(self) -> Path:
        """The file of its configuration."""
        return self.folder / "config.yml"

    def _command(self) -> Sequence[str]:
        return [str(part) for part in self._make_command(self.config, self.port)]

    def _prepare(self) -> None:
        """Its configuration was written when the command was made."""

    def _answers(self) -> bool:
        return bool(self.scrape())

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
        super().start()
        self.started_seconds = time.perf_counter() - began

    def close(self) -> None:
        """Kill it and remove its files."""
        self.kill()
        super().close()


def count_series(page: str) -> int:
    """Return how many samples a page has."""
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))
