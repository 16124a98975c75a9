"""The only place that reads this machine's clocks.

`now` is for what is shown or published; `monotonic_seconds` is for how long something took and when it is due, and
does not jump when somebody sets the clock.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock, aware, in UTC."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return seconds from an arbitrary start; never goes back."""
    return time.monotonic()
