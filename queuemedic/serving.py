"""Serve a built program until a signal ends it, and tell systemd how it is."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NoReturn

from exporter.web.access import Watch
from exporter.web.app import make_app
from exporter.web.papers import Papers
from exporter.web.server import serve

from . import __version__
from .app import App
from .bundled import find_bundled
from .config import Config
from .interpreter import settle
from .notify import Notifier
from .reloading import Reloading
from .shown import LookingBack, make_source

SECONDS_TO_END = 2.0
STATUS_SECONDS = 5.0


class Hangup:
    """What a SIGHUP does: it is remembered until there is something to reload, and never ends the program."""

    def __init__(self) -> None:
        self._has_come = False
        self._reload: Callable[[], object] | None = None
        signal.signal(signal.SIGHUP, self._take)

    def begin(self, reload: Callable[[], object]) -> None:
        """Reload at each from now on, and now if there was one."""
        self._reload = reload
        if self._has_come:
            reload()

    def end(self) -> None:
        """Do nothing any more."""
        self._reload = None

    def _take(self, _signal: int, _frame: object) -> None:
        self._has_come = True
        if self._reload:
            self._reload()


def serve_app(
    app: App,
    listener: socket.socket,
    *,
    watch: Watch | None = None,
    load: Callable[[], Config] | None = None,
    hangup: Hangup | None = None,
) -> bool:
    """Poll and serve until SIGINT or SIGTERM; False if a poll hung and its thread is still there.

    `load` reads the configuration anew; without it, it is the same again. A hanging poll waits for a database that
    does not answer; the limit that it was given there ends the statement.
    """
    settle()
    watch, hangup = watch or Watch(), hangup or Hangup()
    notifier = Notifier(os.environ)
    reloading = Reloading(app, watch, load=load or (lambda: app.config), notifier=notifier)
    life = _Life(app, notifier)

    def begin(loop: asyncio.AbstractEventLoop) -> None:
        life.loop = loop
        hangup.begin(lambda: loop.call_soon_threadsafe(reloading.request))
        notifier.send("READY=1", life.status)

    def end() -> None:
        hangup.end()
        notifier.send("STOPPING=1")

    looking_back = LookingBack(app)
    pages = make_app(
        app.get_page,
        find_page=app.find_page,
        version=__version__,
        source=make_source(app, looking_back),
        papers=Papers({str(name): file for name, file in find_bundled("docs").items()}),
        find_unready=app.find_unready,
        reload=reloading.request_over_http,
    )
    with ExitStack() as running:
        running.callback(reloading.close)
        running.enter_context(watch.looking())
        running.enter_context(app.polling(life.beat if notifier else None, beat_seconds=life.beat_seconds))
        serve(
            pages,
            listener,
            get_access=lambda: watch.current,
            on_started=begin,
            on_stopping=end,
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: exit_now(0))
    return app.close(within_seconds=SECONDS_TO_END)


class _Life:
    """The sign of life: it comes from the scheduler, through one of its threads and the event loop, to systemd.

    So it stops if any of these does, and with it the watchdog's patience. Databases that hang do not stop it.
    """

    def __init__(self, app: App, notifier: Notifier) -> None:
        self._app = app
        self._notifier = notifier
        self.loop: asyncio.AbstractEventLoop | None = None
        watchdog = notifier.watchdog_seconds
        self.beat_seconds = min(STATUS_SECONDS, watchdog / 2) if watchdog else STATUS_SECONDS

    @property
    def status(self) -> str:
        """What `systemctl status` shows."""
        pollers = self._app.pollers
        up = sum(poller.status.is_up for poller in pollers)
        return f"STATUS={len(pollers)} {'queue' if len(pollers) == 1 else 'queues'}, {up} up"

    def beat(self) -> None:
        """Be called by the scheduler."""
        with suppress(RuntimeError):  # the loop has ended
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        watchdog = ["WATCHDOG=1"] if self._notifier.watchdog_seconds else []
        self._notifier.send(*watchdog, self.status)


def exit_now(code: int) -> NoReturn:
    """End the process without waiting for threads that hang; nothing that matters is in memory only."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
