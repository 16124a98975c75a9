"""The ways from one watchdog to its databases: proxies that can be cut, lose replies, or bring them late."""

import time
from contextlib import suppress
from typing import Final

from tests.lab.proxy import Connection, Mode, Proxy

COMMITS: Final = {"mariadb": b"\x03COMMIT", "postgresql": b"COMMIT"}


class Way(Proxy):
    """A proxy whose replies may come `late_seconds` late: what is read then is as old, as behind a slow replica."""

    late_seconds: float = 0.0

    def _pass_replies(self, connection: Connection) -> None:
        if connection.server is None:
            return
        with suppress(OSError):
            while chunk := connection.server.recv(65536):
                if self.late_seconds:
                    time.sleep(self.late_seconds)
                if self.mode is Mode.FORWARD:
                    connection.client.sendall(chunk)
                elif self.mode is Mode.DROP_REPLIES:
                    self.lost += len(chunk)
        if self.mode is Mode.FORWARD:
            connection.cut()


class Ways:
    """The ways of one watchdog: to each server one to read and one to write."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.reading = {server: Way(port) for server, port in ports.items()}
        self.writing = {server: Way(port) for server, port in ports.items()}

    def cut(self) -> None:
        """Swallow all that is sent, on old connections and new ones."""
        for way in self.all():
            way.mode = Mode.BLACK_HOLE

    def lose_commits(self) -> None:
        """Let the next COMMIT of each server be carried out and not answered, and nothing that comes after it."""
        for server, way in self.writing.items():
            way.drop_replies_to(COMMITS[server])

    def be_late(self, seconds: float) -> None:
        """Let what is read come so late."""
        for way in self.reading.values():
            way.late_seconds = seconds

    def mend(self) -> None:
        """Let all be as it should; connections of which something was swallowed stay as they are: silent."""
        for way in self.all():
            way.mode, way.late_seconds, way._turning = Mode.FORWARD, 0.0, None

    def all(self) -> list[Way]:
        """Return every way."""
        return [*self.reading.values(), *self.writing.values()]

    def close(self) -> None:
        """End all of them."""
        for way in self.all():
            way.late_seconds = 0.0
            way.close()
