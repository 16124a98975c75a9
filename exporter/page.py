"""Assemble the served page from parts, one for each queue, rendered when a poll ends.

A family must stand in one piece, so pages cannot be joined: each part keeps its sample lines by family, written by the
client library's own encoder, and the first scrape after a change joins them in catalogue order. Sample lines are the
same in the text format and in OpenMetrics (no exemplars, no `_created` here; a test holds this); headers differ.
A part that outlives `valid_until` loses the families that do not last; this needs no poll, only a scrape.
Parts that have an owner are replaced by that owner only: a poll that ends after its queue is gone changes nothing.
"""

import gzip
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from . import clock
from .catalogue import METRICS

EOF = b"# EOF\n"
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
    valid_until: float = inf


class Page:
    """The page of one program; `update` is called by pollers, `get` by scrapes, from any thread."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._headers: dict[str, Mapping[Format, bytes]] = {}
        self._owners: Mapping[str, object] = {}
        self._lock = threading.Lock()
        self._bodies: dict[tuple[Format, bool], bytes] = {}
        self._expires_at = inf

    def assign(self, owners: Mapping[str, object]) -> None:
        """Say who may update which part; a part that had an owner and has none now leaves the page."""
        with self._lock:
            gone = self._owners.keys() - owners.keys()
            self._parts = {name: part for name, part in self._parts.items() if name not in gone}
            self._owners = dict(owners)
            self._bodies = {}

    def update(
        self, name: str, families: Iterable[Family], *, valid_until: float = inf, owner: object | None = None
    ) -> None:
        """Replace one part of the page, unless it is another owner's."""
        families = [family for family in families if family.samples]
        lines = {family.name: _render(generate_latest, family).split(b"\n", 2)[2] for family in families}
        headers = {family.name: _headers(family) for family in families if family.name not in self._headers}
        with self._lock:
            self._headers |= headers
            if self._owners.get(name) is owner:
                self._parts[name] = Part(lines=lines, valid_until=valid_until)
                self._bodies = {}

    def get(self, page_format: Format, is_compressed: bool) -> bytes:
        """Return the page; assembled and compressed only if something has changed or expired since."""
        with self._lock:
            now = clock.monotonic_seconds()
            if now >= self._expires_at:
                self._bodies = {}
            key = (page_format, is_compressed)
            if key not in self._bodies:
                body = self._bodies.get((page_format, False)) or self._assemble(page_format, now)
                self._bodies[page_format, False] = body
                self._bodies[key] = gzip.compress(body, 1, mtime=0) if is_compressed else body
            return self._bodies[key]

    def _assemble(self, page_format: Format, now: float) -> bytes:
        parts = self._parts.values()
        every, fresh = [part.lines for part in parts], [part.lines for part in parts if now < part.valid_until]
        self._expires_at = min((part.valid_until for part in parts if part.valid_until > now), default=inf)
        pieces: list[bytes] = []
        for family in sorted(self._headers, key=lambda family: ORDER.get(family, len(ORDER))):
            found = [lines[family] for lines in (every if family in LASTING else fresh) if family in lines]
            if found:
                pieces += [self._headers[family][page_format], *found]
        body = b"".join(pieces)
        return body + EOF if page_format is Format.OPENMETRICS else body


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
