"""Serve a built program until a signal ends it."""

import os
import signal
import socket
import sys
from typing import NoReturn

from exporter.web.app import make_app
from exporter.web.server import serve

from . import __version__
from .app import App

SECONDS_TO_END = 2.0


def serve_app(app: App, listener: socket.socket) -> bool:
    """Poll and serve until SIGINT or SIGTERM; False if a poll hung and its thread is still there.

    A hanging poll waits for a database that does not answer; the limit that it was given there ends the statement.
    """
    with app.polling():
        serve(make_app(app.get_page, version=__version__, find_unready=app.find_unready), listener)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: exit_now(0))
    return app.close(within_seconds=SECONDS_TO_END)


def exit_now(code: int) -> NoReturn:
    """End the process without waiting for threads that hang; nothing that matters is in memory only."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
