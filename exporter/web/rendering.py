"""Render what is asked for beside the event loop, and keep it for a second: many browsers cost as much as one.

One thread renders, so that scrapes are delayed by one page at most; of more than a few that wait the next is turned
away. What is kept is bounded: of more pages than fit, the one that was rendered first goes.
"""

import asyncio
import gzip
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from exporter import clock

KEPT_SECONDS: Final = 1.0
MOST_KEPT: Final = 16
MOST_WAITING: Final = 32


class Busy(Exception):
    """Too many pages wait already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A page as it is sent."""

    body: bytes
    made_at_seconds: float


class Rendering:
    """What is rendered and kept; `get` is for one event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._kept: dict[tuple[str, bool], Rendered] = {}
        self._waiting = 0

    async def get(self, key: str, render: Callable[[], str | None], *, is_compressed: bool) -> bytes | None:
        """Return what `render` makes, or has made within the last second for the same key; raises Busy."""
        kept = self._find(key, is_compressed)
        if kept is not None:
            return kept.body
        if self._waiting >= MOST_WAITING:
            raise Busy
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._render, key, render, is_compressed)
        finally:
            self._waiting -= 1

    def _find(self, key: str, is_compressed: bool) -> Rendered | None:
        kept = self._kept.get((key, is_compressed))
        is_fresh = kept is not None and clock.monotonic_seconds() - kept.made_at_seconds < KEPT_SECONDS
        return kept if is_fresh else None

    def _render(self, key: str, render: Callable[[], str | None], is_compressed: bool) -> bytes | None:
        kept = self._find(key, is_compressed)
        if kept is not None:
            return kept.body
        plain = self._find(key, False) if is_compressed else None
        made_at = plain.made_at_seconds if plain else clock.monotonic_seconds()
        body = plain.body if plain else _encode(render())
        if body is None:
            return None
        if is_compressed:
            body = gzip.compress(body, 1, mtime=0)
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept.pop((key, is_compressed), None)
        self._kept[key, is_compressed] = Rendered(body=body, made_at_seconds=made_at)
        return body


def _encode(text: str | None) -> bytes | None:
    """Encode for the wire; half of a surrogate pair, which a driver may hand on, becomes a question mark."""
    return None if text is None else text.encode("utf-8", "replace")
