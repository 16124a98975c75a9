"""Give everything done with a database one end: whatever then still waits is ended from another thread.

The drivers' own timeouts are not used: PyMySQL's (1.2.4) begin anew with each byte, psycopg's (3.3) last 2 s at least.
Nor is there an end to what they keep in memory of a server that sends more than it was asked for, so that ends it, too:
the kernel counts what comes in (Linux 4.1, `tcp_info`); through a socket of the file system nothing is counted.
"""

import os
import socket
import sqlite3
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Final, Self

from . import clock
from .errors import PollTimeout

ABORT_AGAIN_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.1
MOST_BYTES: Final = 64 << 20
"""What a server may send within one deadline; 100,000 started jobs of Matomo, the most that are read, are 23 MiB."""
# include/uapi/linux/tcp.h: tcpi_bytes_received.
RECEIVED: Final = struct.Struct("128xQ")


class Deadline:
    """An end for everything that is done within it: when time is up, `abort` is called from another thread.

    It is called until the work is over, not once: SQLite forgets an interrupt that comes between two statements.
    `has_overflowed` says that it was called because more than `MOST_BYTES` had come in.
    """

    def __init__(self, limit: timedelta) -> None:
        self._begins = clock.monotonic_seconds()
        self.limit_seconds = limit.total_seconds()
        self.has_overflowed = False
        self._abort: Callable[[], None] | None = None
        self._counted: socket.socket | None = None
        self._allowed = 0
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

    def abort_by_shutdown(self, descriptor: int) -> None:
        """Let the work in hand end by a shutdown of this socket.

        Of a duplicate: the driver may close its own at any time, and the number may then be another connection's.
        """
        duplicate = self._held.enter_context(socket.socket(fileno=os.dup(descriptor)))
        self._allowed, self._counted = _received(duplicate) + MOST_BYTES, duplicate
        self.abort_with(partial(duplicate.shutdown, socket.SHUT_RDWR))

    def _abort_in_time(self) -> None:
        while not self._is_over.is_set():
            left = self._seconds_left()
            if self._is_changed.wait(min(left, LOOK_SECONDS) if left > 0 else ABORT_AGAIN_SECONDS):
                self._is_changed.clear()
                continue
            self.has_overflowed = self._counted is not None and _received(self._counted) > self._allowed
            if self.has_expired or self.has_overflowed:
                with self._lock, suppress(OSError, sqlite3.ProgrammingError):  # what is closed already has ended
                    if self._abort:
                        self._abort()

    def _seconds_left(self) -> float:
        return self._begins + self.limit_seconds - clock.monotonic_seconds()


def _received(link: socket.socket) -> int:
    """Return how many bytes have come in through a connection; 0 where the kernel does not say."""
    try:
        counts = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED.size)
    except OSError:
        return 0
    return RECEIVED.unpack(counts)[0] if len(counts) == RECEIVED.size else 0
