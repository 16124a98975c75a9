"""Tell systemd how the program is (sd_notify(3)): one datagram a message, to the socket that $NOTIFY_SOCKET names.

Does nothing where nobody asked, never waits and never raises: a supervisor that does not listen is no reason to fail.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from exporter import clock


class Notifier:
    """Sends messages to the supervisor, if there is one; for any thread."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self.watchdog_seconds = _watchdog_seconds(environment) if name else None

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def send(self, *lines: str) -> None:
        """Send assignments such as READY=1."""
        if not self._address:
            return
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)

    def send_reloading(self) -> None:
        """Say that a reload has begun, and when on the clock that systemd compares with; READY=1 ends it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic_seconds() * 1_000_000)}")


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return how long the watchdog waits for a sign of life; None if there is none, or it is another process's."""
    try:
        microseconds = int(environment["WATCHDOG_USEC"])
        pid = int(environment.get("WATCHDOG_PID") or os.getpid())
    except (KeyError, ValueError):
        return None
    return microseconds / 1_000_000 if microseconds > 0 and pid == os.getpid() else None
