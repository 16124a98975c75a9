"""A cumulative histogram as an immutable value."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from .catalogue import DURATION_BUCKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Observations by bucket. `counts` has one entry more than `bounds`: those above the last; bounds in seconds."""

    bounds: tuple[float, ...] = DURATION_BUCKETS
    counts: tuple[int, ...] = ()
    sum_seconds: float = 0.0

    def observe(self, span: timedelta) -> Self:
        """Return the histogram with one observation more; a bound belongs to its own bucket."""
        seconds = span.total_seconds()
        counts = list(self.counts or (0,) * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, seconds)] += 1
        return type(self)(bounds=self.bounds, counts=tuple(counts), sum_seconds=self.sum_seconds + seconds)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), ending with `+Inf`, as the exposition format has them."""
        counts = self.counts or (0,) * (len(self.bounds) + 1)
        total, pairs = 0, []
        for bound, number in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            total += number
            pairs.append((bound, float(total)))
        return pairs
