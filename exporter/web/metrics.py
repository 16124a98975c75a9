"""Answer scrapes: what is asked for is understood once, and what is served is a page that is there already.

A scrape costs the copy of that page to its connection. The page is made once after each change and only if it is asked
for, by a thread if it is a large one. No other address needs this, so no other has it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.types import Receive, Scope, Send

from exporter.page import Format

from .negotiation import accepts_gzip, choose_format

PATH: Final = "/metrics"
METHODS: Final = ("GET", "HEAD")
NOT_CACHED: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
REMEMBERED: Final = 32
LONGEST_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a scrape gets, and its headers but for the length."""

    page_format: Format
    is_compressed: bool
    headers: tuple[tuple[bytes, bytes], ...]


class Metrics:
    """The application behind /metrics; of one event loop."""

    def __init__(
        self, find_page: Callable[[Format, bool], bytes | None], get_page: Callable[[Format, bool], bytes]
    ) -> None:
        """`get_page` makes the page where it has to, `find_page` is None where that takes long."""
        self._find, self._get = find_page, get_page
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer."""
        choice = _choose(scope["headers"])
        asked = choice.page_format, choice.is_compressed
        body = self._find(*asked)
        if body is None:
            body = await asyncio.get_running_loop().run_in_executor(self._thread, self._get, *asked)
        headers = [*choice.headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _choose(headers: list[tuple[bytes, bytes]]) -> Choice:
    """Choose by the first header of each name."""
    accept = next((value for name, value in headers if name == b"accept"), b"")
    encoding = next((value for name, value in headers if name == b"accept-encoding"), b"")
    is_usual = len(accept) + len(encoding) <= LONGEST_REMEMBERED
    return (_remembered if is_usual else _negotiate)(accept, encoding)


def _negotiate(accept: bytes, encoding: bytes) -> Choice:
    page_format, content_type = choose_format(accept.decode("latin-1"))
    is_compressed = accepts_gzip(encoding.decode("latin-1"))
    headers = {**NOT_CACHED, "Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if is_compressed:
        headers["Content-Encoding"] = "gzip"
    return Choice(
        page_format=page_format,
        is_compressed=is_compressed,
        headers=tuple((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
    )


_remembered = lru_cache(REMEMBERED)(_negotiate)
