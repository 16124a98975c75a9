"""Give everything done with a database one end: whatever then still waits is ended from another thread.

The drivers' own timeouts are not used: PyMySQL's (1.2.4) begin anew with each byte, psycopg's (3.3) last 2 s at least.
"""

import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self

from . import clock
from .errors import PollTimeout

ABORT_AGAIN_SECONDS: Final = 0.1


class Deadline:
    """An end for everything that is done within it: when time is up, `abort` is called from another thread.

    It is called until the work is over, not once: SQLite forgets an interrupt that comes between two statements.
    """

    def __init__(self, limit: timedelta) -> None:
        self._begins = clock.monotonic_seconds()
        self.limit_seconds = limit.total_seconds()
        self._abort: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._is_over = threading.Event()
        self._is_changed = threading.Event()
        self._watch = threading.Thread(target=self._abort_in_time, name="deadline", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._is_changed.set()
        self._watch.join()
        self._held.close()

    @property
    def has_expired(self) -> bool:
        """Whether time is up."""
        return self._seconds_left() <= 0

    def remaining_seconds(self) -> float:
        """Return the seconds left; raises PollTimeout when there are none."""
        left = self._seconds_left()
        if left <= 0:
            raise PollTimeout(f"no answer within {self.limit_seconds:g} s")
        return left

    def shorten(self, limit_seconds: float) -> None:
        """End earlier, if that is earlier."""
        self.limit_seconds = min(self.limit_seconds, limit_seconds)
        self._is_changed.set()

    def abort_with(self, abort: Callable[[], None]) -> None:
        """Say what ends the work in hand."""
        with self._lock:
            self._abort = abort

    def abort_by_shutdown(self, connection: Any) -> None:
        """Let the work in hand end by a shutdown of this connection's socket.

        Of a duplicate: the driver may close its own at any time, and the number may then be another connection's.
        """
        duplicate = self._held.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
        self.abort_with(partial(duplicate.shutdown, socket.SHUT_RDWR))

    def _abort_in_time(self) -> None:
        while not self._is_over.is_set():
            left = self._seconds_left()
            if self._is_changed.wait(left if left > 0 else ABORT_AGAIN_SECONDS):
                self._is_changed.clear()
            elif self.has_expired:
                with self._lock, suppress(OSError, sqlite3.ProgrammingError):  # what is closed already has ended
                    if self._abort:
                        self._abort()

    def _seconds_left(self) -> float:
        return self._begins + self.limit_seconds - clock.monotonic_seconds()
