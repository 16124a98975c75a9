"""Keep what plots show of one queue: how much waited, came in and ended, over the last hours; pure.

The number of points is fixed, whatever the poll interval. At first each poll is a point; when there is no room, points
are merged into slots twice as wide, so that a new queue shows its first minutes and an old one its last six hours. From
then on the oldest goes. A poll that failed is a point of its own: down is not empty.
In: seconds of a clock that never goes back, and counters that only rise. At most 144 points of 24 bytes.
"""

import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan
from typing import Final

POINTS: Final = 144
LONGEST_SECONDS: Final = 6 * 3600.0
LEAST_SECONDS: Final = 1.0
WIDEST_SECONDS: Final = LONGEST_SECONDS / POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One moment. `waiting` is None where polls failed; `enqueued` and `ended` are of the `over_seconds` before it.

    `over_seconds` is 0 where nothing was counted, as at the first poll.
    """

    at_seconds: float
    waiting: int | None
    enqueued: int = 0
    ended: int = 0
    over_seconds: float = 0.0


class Series:
    """The points of one queue; one thread notes, any thread reads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._at = array("d")
        self._waiting = array("d")
        self._enqueued = array("f")
        self._ended = array("f")
        self._totals = (0, 0)
        self._slot_seconds = 0.0

    def note(self, at_seconds: float, *, waiting: int | None, enqueued: int = 0, ended: int = 0) -> None:
        """Take up a poll: how many jobs wait, or None where it failed, and how many came and ended by now in all."""
        with self._turn:
            came, left = 0, 0
            if waiting is not None:
                came, left = max(0, enqueued - self._totals[0]), max(0, ended - self._totals[1])
                self._totals = (enqueued, ended)
            self._append(at_seconds, nan if waiting is None else waiting, came, left)
            if len(self._at) > POINTS:
                self._make_room()

    def points(self) -> tuple[Point, ...]:
        """Return the points, the oldest first."""
        with self._turn:
            rows = list(zip(self._at, self._waiting, self._enqueued, self._ended, strict=True))
        return tuple(_make_points(rows))

    def _append(self, at: float, waiting: float, enqueued: float, ended: float) -> None:
        """Add a point, or merge it into the last one of the same slot."""
        slot = self._slot_seconds
        if slot and len(self._at) and at // slot == self._at[-1] // slot:
            self._at[-1] = at
            if not isnan(waiting):
                self._waiting[-1] = waiting
            self._enqueued[-1] += enqueued
            self._ended[-1] += ended
            return
        self._at.append(at)
        self._waiting.append(waiting)
        self._enqueued.append(enqueued)
        self._ended.append(ended)

    def _make_room(self) -> None:
        """Merge until there is room, as long as slots may become wider; then let the oldest go."""
        while len(self._at) > POINTS and self._slot_seconds < WIDEST_SECONDS:
            mean = (self._at[-1] - self._at[0]) / POINTS
            self._slot_seconds = min(max(2 * self._slot_seconds, 2 * mean, LEAST_SECONDS), WIDEST_SECONDS)
            rows = list(zip(self._at, self._waiting, self._enqueued, self._ended, strict=True))
            for values in (self._at, self._waiting, self._enqueued, self._ended):
                del values[:]
            for row in rows:
                self._append(*row)
        for values in (self._at, self._waiting, self._enqueued, self._ended):
            del values[: max(0, len(values) - POINTS)]


def _make_points(rows: list[tuple[float, float, float, float]]) -> Iterator[Point]:
    """Count for each good poll what came and ended since the one before it, however long that is ago."""
    last_good: float | None = None
    for at, waiting, enqueued, ended in rows:
        if isnan(waiting):
            yield Point(at_seconds=at, waiting=None)
            continue
        if last_good is None:
            yield Point(at_seconds=at, waiting=int(waiting))
        else:
            yield Point(
                at_seconds=at,
                waiting=int(waiting),
                enqueued=int(enqueued),
                ended=int(ended),
                over_seconds=at - last_good,
            )
        last_good = at
