"""What listeners of the lab have in common that are no process of their own: a loopback port, a thread, and an end."""

import socketserver
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .ports import LOOPBACK


class Listener(ABC):
    """`with` it, and it listens; connections are served by threads."""

    @abstractmethod
    def _make_server(self, address: tuple[str, int]) -> socketserver.TCPServer:
        """Return a server that listens at an address; port 0 is any that is free."""

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._server = self._make_server((LOOPBACK, 0))
        name = f"lab-{type(self).__name__.lower()}"
        self._thread = threading.Thread(target=self._server.serve_forever, name=name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
