"""Read the hours in which a queue may be healed, and tell whether they are now; pure.

A window is open exactly while the wall clock of its zone reads a time inside it. So no night of a change of the clocks
opens it at a time that is not written: a time that the clock leaps over is not there, and one that it shows twice
counts both times (a window may then open a second time). A window across midnight belongs to the day it begins on.
No windows at all (None) mean always; a list without windows means never.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "such as 'Mon-Fri 22:00-06:00 Europe/Berlin' or 'Sat,Sun 00:00-24:00 UTC'"
TIMES = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
WHOLE_DAY = 24 * 60
DAYS_AHEAD = 15
"""A week, and another one for a day that a zone leaves out when it moves across the date line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some hours of some days of the week. `text` is as written; `start` and `end` are minutes of the day."""

    text: str
    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo

    def __str__(self) -> str:
        return self.text

    def contains(self, now: datetime) -> bool:
        """Tell whether the zone's wall clock reads a time inside this window."""
        local = now.astimezone(self.zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


def is_open(windows: Iterable[Window] | None, now: datetime) -> bool:
    """Tell whether any window is open; None is always open, and nothing never."""
    return windows is None or any(window.contains(now) for window in windows)


def opens_at(windows: Iterable[Window] | None, now: datetime) -> datetime | None:
    """Return when a window is next open, in its own zone, or None where none ever is; `now` where one is."""
    if windows is None:
        return now
    openings = [opening for window in windows if (opening := _opens_at(window, now))]
    return min(openings, key=datetime.timestamp, default=None)  # `<` knows no second time of a repeated hour


def _opens_at(window: Window, now: datetime) -> datetime | None:
    if window.contains(now):
        return now.astimezone(window.zone)
    openings = sorted(edge for edge in _edges(window, now) if edge > now.astimezone(UTC))
    return next((edge.astimezone(window.zone) for edge in openings if window.contains(edge)), None)


def _edges(window: Window, now: datetime) -> Iterator[datetime]:
    """Find every instant at which a window may open: its start, both times where shown twice, and the clock's leaps."""
    today = now.astimezone(window.zone).date()
    for ahead in range(-1, DAYS_AHEAD):
        start = datetime.combine(today + timedelta(days=ahead), time(*divmod(window.start, 60)), window.zone)
        yield from (start.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    step = timedelta(hours=6)
    before = now.astimezone(UTC).replace(second=0, microsecond=0)
    for _ in range(4 * DAYS_AHEAD):
        after = before + step
        if _offset(window.zone, before) != _offset(window.zone, after):
            yield _leap(window.zone, before, after)
        before = after


def _leap(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Find the minute at which the zone's offset changes, between two instants that have different ones."""
    earlier, minutes = _offset(zone, before), round((after - before) / timedelta(minutes=1))
    low, high = 0, minutes
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + timedelta(minutes=middle)) == earlier:
            low = middle
        else:
            high = middle
    return before + timedelta(minutes=high)


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def read_window(value: object) -> Window:
    """Read `Mon-Fri 22:00-06:00 Europe/Berlin`; raises ValueError that says what would be right."""
    if isinstance(value, Window):
        return value
    parts = value.split() if isinstance(value, str) else []
    if not isinstance(value, str) or len(parts) != 3:
        raise ValueError(f"{value!r} is not a window; write days, times and a time zone, {EXAMPLE}")
    days, times, zone = parts
    start, end = _read_times(times)
    return Window(text=value, days=_read_days(days), start=start, end=end, zone=_read_zone(zone))


def _read_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        names = part.split("-")
        for name in names:
            if name not in DAYS:
                raise ValueError(
                    f"{name!r} in {text!r} is not a day; write {', '.join(DAYS)}, such as Mon-Fri or Sat,Sun"
                )
        if len(names) > 2:
            raise ValueError(f"{part!r} has more than two days; write the first and the last, such as Mon-Fri")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        days.update((first + ahead) % 7 for ahead in range((last - first) % 7 + 1))
    return frozenset(days)


def _read_times(text: str) -> tuple[int, int]:
    """Read `22:00-06:00` as minutes of the day."""
    match = TIMES.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} are not two times; write hours and minutes in two digits each, such as 22:00-06:00")
    hours_from, minutes_from, hours_to, minutes_to = map(int, match.groups())
    start, end = hours_from * 60 + minutes_from, hours_to * 60 + minutes_to
    if minutes_from > 59 or minutes_to > 59 or start >= WHOLE_DAY or end > WHOLE_DAY:
        raise ValueError(f"{text!r} has a time that no clock shows; write 00:00 to 23:59, or 24:00 as the end of a day")
    if start == end:
        raise ValueError(f"{text!r} begins when it ends; write 00:00-24:00 for a whole day")
    return start, end


def _read_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
        known = {zone.casefold(): zone for zone in available_timezones()}
        near = difflib.get_close_matches(text.casefold(), known, n=1)
        right = f"did you mean {known[near[0]]}?" if near else "write one such as Europe/Berlin or UTC"
        raise ValueError(f"{text!r} is not a time zone; {right}") from cause
