"""A TCP proxy between two loopback ports that behaves like a bad network on demand.

Two threads per connection, one each way, all ended by `close`.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Self

from .ports import LOOPBACK

END_SECONDS = 10.0
CHUNK_BYTES = 65536
THREADS = "lab-proxy"


class Mode(Enum):
    """What the proxy does with what it receives from now on, on old and new connections."""

    FORWARD = "forward"
    BLACK_HOLE = "black hole"
    """Accept and take everything; forward nothing, either way. What is swallowed is not sent later."""
    DROP_REPLIES = "drop replies"
    """Forward requests; the replies get lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A client and its way on; there is none if it was accepted into a black hole."""

    client: socket.socket
    server: socket.socket | None

    def cut(self) -> None:
        """End both sides, which wakes their threads."""
        _shut(self.client)
        if self.server is not None:
            _shut(self.server)


class Proxy:
    """A proxy in front of a loopback port: `with Proxy(server.port) as proxy:`, and connect to `proxy.port`."""

    host = LOOPBACK

    def __init__(self, target_port: int, *, target_host: str = LOOPBACK) -> None:
        self.mode = Mode.FORWARD
        self.reply_bytes: int | None = None
        """How much of the replies of each connection is still to be forwarded; None: all."""
        self.cuts_there = False
        """Whether a connection ends there, rather than falling silent."""
        self.replied = 0
        """How much the last connection has been replied."""
        self.lost = 0
        """How much was replied in DROP_REPLIES, and got lost."""
        self._target = (target_host, target_port)
        self.swallowed = 0
        """How much was asked in a BLACK_HOLE, and got lost."""
        self._turning: tuple[tuple[bytes, ...], Mode] | None = None
        self._open: list[Connection] = []
        self._serving: list[threading.Thread] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._accepting = _started(self._accept)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def drop_replies_to(self, marker: bytes, *, after: bytes = b"") -> None:
        """Turn to DROP_REPLIES with the first request that holds `marker`: it is carried out, and not answered.

        One that holds `after` has to come before it. To MySQL the marker of a COMMIT is `\\x03COMMIT`, as each session
        begins with SET AUTOCOMMIT.
        """
        self._turning = (after, marker), Mode.DROP_REPLIES

    def swallow(self, marker: bytes) -> None:
        """Turn to BLACK_HOLE with the first request that holds `marker`: it never arrives."""
        self._turning = (marker,), Mode.BLACK_HOLE

    def cut(self) -> None:
        """End all open connections at once; new ones are accepted."""
        for connection in list(self._open):
            connection.cut()

    def close(self) -> None:
        """End everything and wait for the threads."""
        _shut(self._listener)
        self._accepting.join(END_SECONDS)
        self._listener.close()
        self.cut()
        for thread in self._serving:
            thread.join(END_SECONDS)
        left = [thread.name for thread in (self._accepting, *self._serving) if thread.is_alive()]
        assert not left, f"threads have not ended: {left}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = None
            if self.mode is not Mode.BLACK_HOLE:
                try:
                    server = socket.create_connection(self._target, END_SECONDS)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
            connection = Connection(client=client, server=server)
            self._open.append(connection)
            self._serving.append(_started(partial(self._serve, connection)))

    def _serve(self, connection: Connection) -> None:
        replies = _started(partial(self._pass_replies, connection))
        try:
            self._pass_requests(connection)
        finally:
            connection.cut()
            replies.join()
            self._open.remove(connection)
            connection.client.close()
            if connection.server is not None:
                connection.server.close()

    def _turn_at(self, chunk: bytes) -> None:
        """Turn, if this is the last of the requests that were waited for."""
        if self._turning is not None:
            markers, mode = self._turning
            while markers and markers[0] in chunk:
                markers = markers[1:]
            self._turning = (markers, mode) if markers else None
            if not markers:
                self.mode = mode

    def _pass_requests(self, connection: Connection) -> None:
        with suppress(OSError):
            while chunk := connection.client.recv(CHUNK_BYTES):
                self._turn_at(chunk)
                if self.mode is Mode.BLACK_HOLE:
                    self.swallowed += len(chunk)
                elif connection.server is not None:
                    connection.server.sendall(chunk)

    def _pass_replies(self, connection: Connection) -> None:
        if connection.server is None:
            return
        with suppress(OSError):
            self.replied = 0
            while chunk := connection.server.recv(CHUNK_BYTES):
                if self.mode is Mode.FORWARD:
                    connection.client.sendall(self._passing(chunk))
                elif self.mode is Mode.DROP_REPLIES:
                    self.lost += len(chunk)
                if self.cuts_there and self.replied == self.reply_bytes:
                    break
        if self.mode is Mode.FORWARD:  # that the server has hung up is a reply as well
            connection.cut()

    def _passing(self, chunk: bytes) -> bytes:
        """Return what of a reply is forwarded."""
        if self.reply_bytes is not None:
            chunk = chunk[: max(0, self.reply_bytes - self.replied)]
        self.replied += len(chunk)
        return chunk


def _started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name=THREADS, daemon=True)
    thread.start()
    return thread


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
