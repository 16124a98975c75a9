"""What a row of `archive_invalidations` is about: kind, scope, plugin and report, out of `period`, `name`, `report`.

`name` is `done`, or `done` and 32 hexadecimal digits of a segment; either may end in `.Plugin`. `report` NULL and empty
mean the same: everything (Matomo 4.0 to 6.0.0-b1, ArchiveInvalidationsInformational.php and ArchiveInvalidator.php).
"""

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from exporter.jobs import Kind

PERIODS: Final = MappingProxyType(
    {1: Kind("day"), 2: Kind("week"), 3: Kind("month"), 4: Kind("year"), 5: Kind("range")},
)
KINDS: Final = tuple(PERIODS.values())
OTHER_KIND: Final = Kind("other")
SCOPES: Final = ("all", "segment", "plugin", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What one row rebuilds; `plugin` and `report` are empty for all of them, `segment` is the hash or empty."""

    scope: str
    segment: str
    plugin: str
    report: str


def read_kind(period: object) -> Kind:
    """Return the name of a period number; `other` for one that Matomo does not have."""
    return PERIODS.get(period, OTHER_KIND) if isinstance(period, int) else OTHER_KIND


@lru_cache(maxsize=1024)  # a queue has few of them, and is read all the time
def read_subject(name: str | None, report: str | None) -> Subject:
    """Take a row's `name` and `report` apart; the narrowest of report, plugin, segment is its scope."""
    flag, _, plugin = (name or "").partition(".")
    segment = flag.removeprefix("done") if len(flag) > 32 else ""
    report = (report or "").rstrip(" ")
    scope = "report" if report else "plugin" if plugin else "segment" if segment else "all"
    return Subject(scope=scope, segment=segment, plugin=plugin, report=report)
