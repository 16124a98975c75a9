"""Assemble the served page from parts, one for each queue, rendered when a poll ends.

A family must stand in one piece, so pages cannot be joined: each part keeps its sample lines by family, written by the
client library's own encoder, and the first scrape after a change joins them in catalogue order. Sample lines are the
same in the text format and in OpenMetrics (no exemplars, no `_created` here; a test holds this); headers differ.
What is small is made where it is asked for, in 2 ms at most; a large page takes a thread, and keeps nobody waiting.
A part that outlives `valid_until` loses the families that do not last; this needs no poll, only a scrape.
Parts that have an owner are replaced by that owner only: a poll that ends after its queue is gone changes nothing.
"""

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from . import clock
from .catalogue import METRICS

EOF = b"# EOF\n"
GZIP = 31  # zlib's number of a gzip container
SMALL_BYTES = 1 << 20
ORDER = {metric.full_name.removesuffix("_total"): place for place, metric in enumerate(METRICS.values())}
LASTING = frozenset(metric.full_name.removesuffix("_total") for metric in METRICS.values() if metric.is_lasting)


class Format(StrEnum):
    """The exposition formats that are served."""

    TEXT = "text"
    OPENMETRICS = "openmetrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The sample lines of one queue by family, and until when (monotonic seconds) all of them hold."""

    lines: Mapping[str, bytes]
    size: int
    valid_until: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The page of one state as it was asked for, by format and whether compressed, and until when it is so."""

    bodies: dict[tuple[Format, bool], bytes] = field(default_factory=dict)
    expires_at: float = inf


class Page:
    """The page of one program; `update` is called by pollers, `get` by scrapes, from any thread."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._headers: dict[str, Mapping[Format, bytes]] = {}
        self._owners: Mapping[str, object] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._made = Made()

    def assign(self, owners: Mapping[str, object]) -> None:
        """Say who may update which part; a part that had an owner and has none now leaves the page."""
        with self._lock:
            gone = self._owners.keys() - owners.keys()
            self._parts = {name: part for name, part in self._parts.items() if name not in gone}
            self._owners = dict(owners)
            self._made = Made()

    def update(
        self, name: str, families: Iterable[Family], *, valid_until: float = inf, owner: object | None = None
    ) -> None:
        """Replace one part of the page, unless it is another owner's."""
        families = [family for family in families if family.samples]
        lines = {family.name: _render(generate_latest, family).split(b"\n", 2)[2] for family in families}
        headers = {family.name: _headers(family) for family in families if family.name not in self._headers}
        part = Part(lines=lines, size=sum(map(len, lines.values())), valid_until=valid_until)
        with self._lock:
            self._headers |= headers
            if self._owners.get(name) is owner:
                last = self._parts.get(name)
                self._parts[name] = part
                if not (last and last.lines == lines and clock.monotonic_seconds() < last.valid_until <= valid_until):
                    self._made = Made()

    def find(self, page_format: Format, is_compressed: bool) -> bytes | None:
        """Return the page as `get` does, but None where that takes long: it is large, and has changed since."""
        body = self._find(page_format, is_compressed)
        if body is None and self._is_small():
            return self.get(page_format, is_compressed)
        return body

    def get(self, page_format: Format, is_compressed: bool) -> bytes:
        """Return the page; assembled and compressed only if something has changed or expired since.

        Of a thousand queues that takes 0.1 s. Who updates a part, or finds the page meanwhile, does not wait for it.
        """
        with self._making:
            body = self._find(page_format, is_compressed)
            if body is None:
                made, blocks = self._begin(page_format)
                body = made.bodies[page_format, is_compressed] = (_compress if is_compressed else b"".join)(blocks)
            return body

    def _find(self, page_format: Format, is_compressed: bool) -> bytes | None:
        """Return the page as it is kept; None where something has changed or expired since it was made."""
        made = self._made
        return made.bodies.get((page_format, is_compressed)) if clock.monotonic_seconds() < made.expires_at else None

    def _is_small(self) -> bool:
        with self._lock:
            return sum(part.size for part in self._parts.values()) <= SMALL_BYTES

    def _begin(self, page_format: Format) -> tuple[Made, Iterator[bytes]]:
        """Take what the page is made of now, and where it is kept until that changes."""
        with self._lock:
            now = clock.monotonic_seconds()
            if now >= self._made.expires_at or not self._made.bodies:
                self._made = Made(
                    expires_at=min(
                        (part.valid_until for part in self._parts.values() if part.valid_until > now), default=inf
                    )
                )
            headers = {family: header[page_format] for family, header in self._headers.items()}
            return self._made, _assemble(page_format, headers, [*self._parts.values()], now)


def _assemble(page_format: Format, headers: Mapping[str, bytes], parts: Iterable[Part], now: float) -> Iterator[bytes]:
    """Return the page in blocks: a family, the next, and so on."""
    every, fresh = [part.lines for part in parts], [part.lines for part in parts if now < part.valid_until]
    for family in sorted(headers, key=lambda family: ORDER.get(family, len(ORDER))):
        found = [lines[family] for lines in (every if family in LASTING else fresh) if family in lines]
        if found:
            yield b"".join((headers[family], *found))
    if page_format is Format.OPENMETRICS:
        yield EOF


def _compress(blocks: Iterable[bytes]) -> bytes:
    """Compress without ever having the whole; other threads may run meanwhile."""
    gzip = zlib.compressobj(1, wbits=GZIP)
    return b"".join([*map(gzip.compress, blocks), gzip.flush()])


def _headers(family: Family) -> dict[Format, bytes]:
    empty = Family(family.name, family.documentation, family.type)
    return {
        Format.TEXT: _render(generate_latest, empty),
        Format.OPENMETRICS: _render(generate_openmetrics, empty).removesuffix(EOF),
    }


def _render(encode: Callable[[Collector], bytes], family: Family) -> bytes:
    return encode(_One(family))


@dataclass(frozen=True, slots=True)
class _One(Collector):
    """The registry of one family that the library's encoders ask for."""

    family: Family

    def collect(self) -> Iterable[Family]:
        return (self.family,)
