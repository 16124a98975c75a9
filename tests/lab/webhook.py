"""A receiver of Alertmanager's webhooks that keeps what it was told, in the order in which it was."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .listener import Listener
from .ports import LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One alert of one message; `is_firing` is False where it says that the alert is over.

    `at_seconds`: when it came, on the monotonic clock.
    """

    at_seconds: float
    is_firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def alert(self) -> str:
        """Its name."""
        return self.labels["alertname"]


class Webhook(Listener):
    """`with Webhook() as webhook:`, and give `webhook.url` to Alertmanager."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        """All so far; only ever appended to."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.port}/alerts"

    def told(self, labels: Mapping[str, str], *, is_firing: bool, since: int = 0) -> Notification | None:
        """Return the first notification with exactly these labels; `since`: leave out so many of the first."""
        for one in self.notifications[since:]:
            if one.labels == labels and one.is_firing is is_firing:
                return one
        return None

    def take(self, message: Mapping[str, Any]) -> None:
        """Keep what a message says, as Alertmanager's documentation describes it (version 4)."""
        assert message["version"] == "4", message
        self.notifications += [
            Notification(
                at_seconds=time.monotonic(),
                is_firing=alert["status"] == "firing",
                labels=alert["labels"],
                annotations=alert["annotations"],
            )
            for alert in message["alerts"]
        ]

    def _make_server(self, address: tuple[str, int]) -> ThreadingHTTPServer:
        return ThreadingHTTPServer(address, _handling(self))


def _handling(webhook: Webhook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            """Say nothing."""

    return Handler
