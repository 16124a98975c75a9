"""The only place that reads this machine's clocks.

`now` is for what is shown or published; `monotonic_seconds` is for how long something took and when it is due, and
does not jump when somebody sets the clock; `boottime_seconds` is for how old a proof is, since it goes on while the
machine sleeps; `thread_seconds` is for how much work something was.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock, aware, in UTC."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return seconds from an arbitrary start; never goes back."""
    return time.monotonic()


def boottime_seconds() -> float:
    """Return seconds since this machine booted, those it slept included; never goes back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def thread_seconds() -> float:
    """Return the processor's seconds that this thread has used."""
    return time.thread_time()
