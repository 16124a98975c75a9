"""Read the configuration anew while the program runs: all of it is put in force, or nothing has changed.

One reload at a time, in a thread of its own, so that pages are served meanwhile. Whoever asks while one is waiting to
begin shares it; whoever asks while one runs gets the next, since that one may have read the file too early.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import structlog

from exporter.errors import ConfigurationError
from exporter.web.access import OPEN, Access, Watch

from .app import App
from .config import Config
from .notify import Notifier
from .web_file import read_access

log = structlog.get_logger()


class Reloading:
    """Reloads the configuration of a running program; `request` and `reload` are for any thread."""

    def __init__(self, app: App, watch: Watch, *, load: Callable[[], Config], notifier: Notifier) -> None:
        self._app = app
        self._watch = watch
        self._load = load
        self._listens = str(app.config.web.listen)
        self._notifier = notifier
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reload")
        self._asking = threading.Lock()
        self._next: Future[Sequence[str]] | None = None

    async def request_over_http(self) -> Sequence[str] | None:
        """Reload, and return the faults; None if the configuration in force does not allow it."""
        if not self._app.config.web.enable_lifecycle:
            return None
        return await asyncio.shield(asyncio.wrap_future(self.request()))

    def request(self) -> "Future[Sequence[str]]":
        """Have the configuration reloaded; the result is its faults."""
        with self._asking:
            if self._next is None:
                self._next = self._thread.submit(self._begin)
            return self._next

    def reload(self) -> Sequence[str]:
        """Reload now; return the faults, none if the configuration is in force."""
        self._notifier.send_reloading()
        try:
            self._put_in_force()
        except ConfigurationError as error:
            return self._refuse(error.faults)
        except Exception as error:  # noqa: BLE001  what is in force goes on, whatever happened here
            return self._refuse((f"the configuration could not be read ({type(error).__name__}); see the log",), error)
        finally:
            self._notifier.send("READY=1")
        log.info("config.reloaded", queues=len(self._app.pollers))
        return ()

    def close(self) -> None:
        """Begin no more reloads; one under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> Sequence[str]:
        with self._asking:
            self._next = None
        return self.reload()

    def _put_in_force(self) -> None:
        config = self._load()
        read = access_reader(config)
        faults: list[str] = []
        access = OPEN
        try:
            access = read() if read else OPEN
        except ConfigurationError as error:
            faults.extend(error.faults)
        try:
            self._app.apply(config, only_check=bool(faults))
        except ConfigurationError as error:
            faults.extend(error.faults)
        if faults:
            raise ConfigurationError(*faults)
        self._watch.use(read, access)
        if str(config.web.listen) != self._listens:
            log.warning("web.listen_kept", address=self._listens, advice="restart the program to listen elsewhere")

    def _refuse(self, faults: Sequence[str], error: Exception | None = None) -> Sequence[str]:
        log.error("config.reload_failed", faults=faults, exc_info=error)
        self._app.note_refusal()
        return faults


def access_reader(config: Config) -> Callable[[], Access] | None:
    """Return what reads the web configuration; None if there is none."""
    file = config.web.config_file
    return partial(read_access, file) if file else None
