"""Serve the web application until a signal ends it."""

import asyncio
import errno
import signal
import socket
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.errors import ConfigurationError

KEEP_ALIVE_SECONDS = 75
SILENT_SECONDS = 10
MOST_CONNECTIONS = 256
SHUTDOWN_SECONDS = 2


class _Protocol(H11Protocol):
    """uvicorn's own, but a connection that sends nothing is closed, and there are never more than so many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(SILENT_SECONDS, self.timeout_keep_alive_handler)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, so that a port in use is said before anything else begins; port 0 is any free one.

    An empty host is every address, of IPv4 and IPv6. Raises ConfigurationError.
    """
    is_everywhere = host == ""
    family = socket.AF_INET6 if ":" in host or (is_everywhere and socket.has_dualstack_ipv6()) else socket.AF_INET
    try:
        return socket.create_server(
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


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; requests that are still under way then get two seconds.

    uvicorn (0.54) raises the signal once more when it is done, to whoever handled it before; here it ends nothing else.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        http=_Protocol,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    # Others reload at this signal; who sends it by habit must not end the program.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with suppress(SystemExit):
        uvicorn.Server(config).run(sockets=[listener])


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit
