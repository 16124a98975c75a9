"""Stand before every page: the rate of requests, passwords, and the headers that the web configuration adds.

Answers leave in pieces, each when the client has taken the one before, so that whoever does not read has no page of 20
MB kept for it alone.
"""

from collections.abc import Callable
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter import clock

from .access import Access
from .passwords import Busy, Passwords

log = structlog.get_logger()

ASK = {"WWW-Authenticate": 'Basic charset="UTF-8"', "Cache-Control": "no-store"}
LATER = {"Retry-After": "1", "Cache-Control": "no-store"}
PIECE_BYTES: Final = 1 << 18


class Guard:
    """The application behind a guard; what holds is asked for at each request."""

    def __init__(self, app: ASGIApp, get_access: Callable[[], Access], passwords: Passwords) -> None:
        self._app = app
        self._get_access = get_access
        self._passwords = passwords
        self._allowance = _Allowance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        access = self._get_access()
        try:
            refusal = await self._refuse(scope, access)
            await (refusal or self._app)(scope, receive, _adding(_in_pieces(send), access))
        except Exception as error:
            log.error("page.failed", path=scope["path"], error=type(error).__name__, exc_info=error)
            raise

    async def _refuse(self, scope: Scope, access: Access) -> PlainTextResponse | None:
        if not self._allowance.takes(access):
            return PlainTextResponse("Too Many Requests\n", status_code=429, headers=LATER)
        if not access.users:
            return None
        try:
            authorization = Headers(scope=scope).get("authorization", "").encode("latin-1")
            is_right = await self._passwords.is_right(authorization, access.users)
        except Busy:
            return PlainTextResponse("Service Unavailable\n", status_code=503, headers=LATER)
        return None if is_right else PlainTextResponse("Unauthorized\n", status_code=401, headers=ASK)


class _Allowance:
    """A bucket of requests: `burst` at once, and one more after each interval."""

    def __init__(self) -> None:
        self._left = 0.0
        self._full = (0.0, 0)
        self._at = 0.0

    def takes(self, access: Access) -> bool:
        seconds, burst = access.request_interval.total_seconds(), access.burst
        if seconds <= 0:
            return True
        now = clock.monotonic_seconds()
        if self._full != (seconds, burst):
            self._full, self._left = (seconds, burst), float(burst)
        else:
            self._left = min(float(burst), self._left + (now - self._at) / seconds)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _in_pieces(send: Send) -> Send:
    async def send_in_pieces(message: Message) -> None:
        body = message.get("body", b"")
        while len(body) > PIECE_BYTES:
            piece, body = body[:PIECE_BYTES], memoryview(body)[PIECE_BYTES:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            message = {**message, "body": body}
        await send(message)

    return send_in_pieces


def _adding(send: Send, access: Access) -> Send:
    if not access.headers:
        return send

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in access.headers.items():
                headers[name] = value
        await send(message)

    return send_with_headers
