"""What the web side asks of whoever connects, read again when its files change.

`Access` is one reading, swapped whole. A change is taken up once its files have stayed the same from one look to the
next, so that nobody reads half a file; a reading that fails changes nothing, so that no mistake opens a door.
"""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from exporter.errors import ConfigurationError
from exporter.files import Stamp, stamps

LOOK_SECONDS: Final = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One reading: TLS or none, whose certificates and passwords are taken, and how often requests may come."""

    tls: ssl.SSLContext | None = None
    allowed_names: frozenset[str] | None = None
    users: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    request_interval: timedelta = timedelta(0)
    burst: int = 0
    stamps: Mapping[Path, Stamp] = field(default_factory=lambda: MappingProxyType({}), repr=False)


OPEN: Final = Access()


class Watch:
    """The reading in force. `current` is for any thread; `look` and `use` take turns."""

    def __init__(self, read: Callable[[], Access] | None = None) -> None:
        """`read` raises ConfigurationError, here as well; without it there is nothing to read, and no door."""
        self._turn = threading.Lock()
        self.current = OPEN
        self._read: Callable[[], Access] | None = None
        self.use(read, read() if read else OPEN)

    def use(self, read: Callable[[], Access] | None, access: Access) -> None:
        """Put a reading in force, unless it is of the same files as before, and read anew by `read` from now on."""
        with self._turn:
            self._read = read
            if not access.stamps or access.stamps != self.current.stamps:
                self.current = access
            self._seen: Mapping[Path, Stamp] = access.stamps
            self._failed: object = None

    def look(self) -> None:
        """Read anew if a file has changed; says once per change what is wrong with it."""
        with self._turn:
            if self._read is None:
                return
            found = stamps(self.current.stamps)
            has_settled, self._seen = found == self._seen, found
            if not has_settled or (found == self.current.stamps and self._failed is None):
                return
            try:
                self.current = self._read()
            except ConfigurationError as error:
                if self._failed != (error.faults, found):
                    self._failed = error.faults, found
                    log.error("web.config_failed", faults=error.faults, advice="the last good one stays in force")
                return
            self._seen, self._failed = self.current.stamps, None
            log.info("web.config_changed", tls=self.current.tls is not None, users=len(self.current.users))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look twice a second, in a thread of its own: a disk that hangs keeps nothing else from working."""
        has_ended = threading.Event()

        def keep_looking() -> None:
            while not has_ended.wait(LOOK_SECONDS):
                self._look_surely()

        threading.Thread(target=keep_looking, name="web-config", daemon=True).start()
        try:
            yield
        finally:
            has_ended.set()

    def _look_surely(self) -> None:
        try:
            self.look()
        except Exception as error:  # whatever it was, the next look may succeed
            log.error("web.config_unread", error=type(error).__name__, exc_info=error)
