"""The ways from one watchdog to its databases: proxies that can be cut, lose replies, or bring them late."""

import threading
import time
from contextlib import suppress
from typing import Final

from tests.lab.proxy import Connection, Mode, Proxy

COMMITS: Final = {"mariadb": b"\x03COMMIT", "postgresql": b"COMMIT"}
RESETS: Final = {"mariadb": b"process_id = NULL WHERE (idinvalidation", "postgresql": b", payload) WHERE (id "}
"""What stands in the statement that puts one row back, and in none of the others of a pass, which are committed too."""


class Way(Proxy):
    """A proxy that tells a server nothing while it is cut, not even that a client has hung up.

    Its replies may come `late_seconds` late: what is read then is as old as behind a replica that lags.
    """

    def __init__(self, target_port: int) -> None:
        self.late_seconds = 0.0
        self._is_mended = threading.Event()
        super().__init__(target_port)

    def cut_off(self) -> None:
        """Swallow all that is sent, on old connections and new ones."""
        self._is_mended.clear()
        self.mode = Mode.BLACK_HOLE

    def mend(self) -> None:
        """Let all be as it should; what was swallowed is not sent again."""
        self.mode, self.late_seconds, self._turning = Mode.FORWARD, 0.0, None
        self._is_mended.set()

    def close(self) -> None:
        """End everything."""
        self.mend()
        super().close()

    def _pass_requests(self, connection: Connection) -> None:
        super()._pass_requests(connection)
        if self.mode is Mode.BLACK_HOLE:
            self._is_mended.wait()

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
        """Let nothing through any more."""
        for way in self.all():
            way.cut_off()

    def lose_commits(self) -> None:
        """Let the COMMIT of the next reset on each server be carried out, and not answered, nor what comes after it."""
        for server, way in self.writing.items():
            way.drop_replies_to(COMMITS[server], after=RESETS[server])

    def be_late(self, seconds: float) -> None:
        """Let what is read come so late."""
        for way in self.reading.values():
            way.late_seconds = seconds

    def mend(self) -> None:
        """Let all be as it should."""
        for way in self.all():
            way.mend()

    def all(self) -> list[Way]:
        """Return every way."""
        return [*self.reading.values(), *self.writing.values()]

    def close(self) -> None:
        """End all of them."""
        for way in self.all():
            way.close()
