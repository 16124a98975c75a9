"""Serve the web application until a signal ends it.

Each connection is met by a `_Door`, which makes the TLS handshake, if there is one to make, with what is in force at
that moment. Nothing that a client does or leaves undone holds its place for longer than it may, and of what it sends no
more is kept than a request needs: httptools (0.9) itself has no limit.
"""

import asyncio
import errno
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exporter.errors import ConfigurationError

from .access import OPEN, Access
from .guard import Guard
from .passwords import Passwords
from .tls import names_of

KEEP_ALIVE_SECONDS: Final = 75
SILENT_SECONDS: Final = 10
ANSWER_SECONDS: Final = 60
MOST_CONNECTIONS: Final = 256
MOST_HEAD_BYTES: Final = 1 << 16
MOST_PIPELINED: Final = 64
JOINED_BYTES: Final = 1 << 16
GO_ON: Final = b"HTTP/1.1 100 "
SHUTDOWN_SECONDS: Final = 2
ABORT_SECONDS: Final = 1.5


class _Joining:
    """What an answer is written to: its head leaves together with the beginning of its body.

    Each part that leaves alone costs a call of the system, a turn of the interpreter's lock and a waking of the client.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._is_begun = False
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write a part of an answer; the first is its head, if it is not leave to go on."""
        if not self._is_begun and not data.startswith(GO_ON):
            self._head, self._is_begun = data, True
            return
        if len(data) <= JOINED_BYTES:
            self._head, data = b"", self._head + data
        self._flush()
        self._write(data)

    def end(self) -> None:
        """Be ready for the next answer."""
        self._flush()
        self._is_begun = False

    def close(self) -> None:
        """Close the connection when all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self._write(self._head)
            self._head = b""

    def _write(self, data: bytes) -> None:
        if not self.is_closing():  # asyncio's TLS (3.11) fails after `abort`
            self._transport.write(data)


class _Protocol(HttpToolsProtocol):
    """uvicorn's own, but with a time for everything: for a request to be whole, and for its answer to be taken."""

    _deadline: asyncio.TimerHandle | None = None
    _unread_bytes = 0
    _joining: _Joining

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joining = _Joining(transport)
        super().connection_made(transport)
        self._end_after(SILENT_SECONDS)

    def data_received(self, data: bytes) -> None:
        was_idle = self._is_idle
        self._unread_bytes += len(data)
        if self._unread_bytes > MOST_HEAD_BYTES:
            self.transport.abort()
            return
        super().data_received(data)
        if not self._is_idle and was_idle:
            self._end_after(ANSWER_SECONDS)
        elif self._is_idle and self._deadline is None:
            self._end_after(SILENT_SECONDS)

    def on_headers_complete(self) -> None:
        self._unread_bytes = 0
        if len(self.pipeline) >= MOST_PIPELINED:
            self.transport.abort()
            raise ConnectionAbortedError
        super().on_headers_complete()
        self.cycle.transport = self._joining  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        self._joining.end()
        self._unset_deadline()
        super().on_response_complete()
        if self._has_to_be_read:
            self._end_after(ANSWER_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_after(SILENT_SECONDS)  # closing waits for a client that does not read

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered; one may have begun to arrive."""
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

    @property
    def _has_to_be_read(self) -> bool:
        """Whether there is, or will be, something that the client has not taken."""
        return not self._is_idle or self.transport.is_closing() or self.transport.get_write_buffer_size() > 0

    def _end_after(self, seconds: float) -> None:
        self._unset_deadline()
        is_about_reading = self._has_to_be_read

        def end() -> None:
            self._deadline = None
            if self._has_to_be_read or not is_about_reading:
                self.transport.abort()

        self._deadline = self.loop.call_later(seconds, end)

    def _unset_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """uvicorn's own, which tells when it listens and ends, and whose connections are made by `_Door`."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        get_access: Callable[[], Access],
        on_started: Callable[[asyncio.AbstractEventLoop], object],
        on_stopping: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self.get_access = get_access
        self.handshakes: set[asyncio.Task[None]] = set()
        self._on_started, self._on_stopping = on_started, on_stopping
        self._tls = get_access().tls
        config.http = self._meet  # type: ignore[assignment]

    @property
    def connections(self) -> int:
        """How many there are, those in a handshake too."""
        return len(self.server_state.connections) + len(self.handshakes)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started(asyncio.get_running_loop())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        for handshake in self.handshakes:
            handshake.cancel()
        # uvicorn (0.54) answers 500 when it cancels a request, and for ever if the client does not read.
        asyncio.get_running_loop().call_later(ABORT_SECONDS, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def on_tick(self, counter: int) -> bool:
        tls = self.get_access().tls
        if tls is not self._tls:
            self._tls = tls
            for connection in list(self.server_state.connections):
                connection.shutdown()
        return await super().on_tick(counter)

    def _meet(
        self, *, config: uvicorn.Config, server_state: object, app_state: dict[str, object], _loop: object
    ) -> asyncio.Protocol:
        http = _Protocol(config=config, server_state=server_state, app_state=app_state)  # type: ignore[arg-type]
        return _Door(self, http)


class _Door(asyncio.Protocol):
    """Meets a connection: turns it away if there are too many, makes the handshake, and hands it to HTTP."""

    def __init__(self, server: _Server, http: _Protocol) -> None:
        self._server = server
        self._http = http
        self._early = bytearray()
        self._has_ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        access = self._server.get_access()
        if self._server.connections >= MOST_CONNECTIONS:
            transport.abort()
        elif access.tls is None:
            self._hand_over(transport)
        else:
            transport.pause_reading()
            handshake = asyncio.get_running_loop().create_task(self._shake_hands(transport, access.tls, access))
            self._server.handshakes.add(handshake)
            handshake.add_done_callback(self._server.handshakes.discard)

    def data_received(self, data: bytes) -> None:
        """Keep what comes together with the end of the handshake."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._has_ended = True

    async def _shake_hands(self, transport: asyncio.Transport, tls: ssl.SSLContext, access: Access) -> None:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=SILENT_SECONDS, ssl_shutdown_timeout=1
            )
        except (OSError, asyncio.CancelledError):
            transport.abort()
            return
        if secured is None or self._has_ended:
            return
        if access.allowed_names is not None:
            certificate = secured.get_extra_info("ssl_object").getpeercert()
            if not access.allowed_names & names_of(certificate):
                secured.abort()
                return
        self._hand_over(secured)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        transport.set_protocol(self._http)
        self._http.connection_made(transport)
        if self._early:
            self._http.data_received(bytes(self._early))


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, so that a port in use is said before anything else begins; port 0 is any free one.

    An empty host is every address, of IPv4 and IPv6. Raises ConfigurationError.
    """
    is_everywhere = host == ""
    family = socket.AF_INET6 if ":" in host or (is_everywhere and socket.has_dualstack_ipv6()) else socket.AF_INET
    try:
        listener = socket.create_server(
            (host, port),
            family=family,
            backlog=128,
            dualstack_ipv6=is_everywhere and family is socket.AF_INET6,
        )
    except OSError as cause:
        reason = {
            errno.EADDRINUSE: "another program listens there; end it, or choose another port",
            errno.EACCES: "this account may not; choose a port above 1023",
            errno.EADDRNOTAVAIL: "this machine has no such address; write one of its own",
        }.get(cause.errno or 0, cause.strerror or str(cause))
        raise ConfigurationError(f"web.listen: cannot listen on {host}:{port}: {reason}") from cause
    # Connections inherit it. Without it the end of each answer waits 40 ms for the client to confirm its beginning.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    get_access: Callable[[], Access] = lambda: OPEN,
    on_started: Callable[[asyncio.AbstractEventLoop], object] = lambda _: None,
    on_stopping: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are still under way then get two seconds.

    uvicorn (0.54) raises the signal once more when it is done, to whoever handled it before; here it ends nothing else.
    """
    # What clients do wrong is no event, and what we do wrong is one of ours.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    passwords = Passwords()
    config = uvicorn.Config(
        Guard(app, get_access, passwords),
        log_config=None,
        access_log=False,
        loop="asyncio",  # whatever else is installed
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    server = _Server(config, get_access=get_access, on_started=on_started, on_stopping=on_stopping)
    with suppress(SystemExit):
        server.run(sockets=[listener])
    passwords.close()


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit
