"""Turn seconds that a database took into ages that can be true.

A local time in the hour that comes twice in autumn can be either of two instants: it is taken for the later, so that an
age reads up to an hour too young there, never too old.
"""

from datetime import timedelta

from exporter.jobs import DriverValue

REPEATED_HOUR = timedelta(hours=1)
REPEATED_SECONDS = REPEATED_HOUR.seconds
# What is dated two thousand years back lies before year 1 on a clock that is a little behind, and cannot be held.
LONGEST_SECONDS = 2000 * 365 * 86400


def read_age(seconds: float | None) -> timedelta | None:
    """Return an age that can be true.

    Up to an hour below zero is 0: another machine's clock, or the hour that comes twice; further below is unknown, and
    so is what is older than any job.
    """
    if seconds is None or not -REPEATED_SECONDS <= seconds <= LONGEST_SECONDS:
        return None
    return timedelta(seconds=max(0.0, float(seconds)))


def read_local_age(seconds: float | None, *, is_repeated: bool) -> timedelta | None:
    """Return the age of a local time; of one in a repeated hour never too long a one."""
    return read_age(seconds - REPEATED_SECONDS if is_repeated and seconds is not None else seconds)


def read_heartbeat_age(heartbeat: DriverValue, seconds: float | None) -> timedelta | None:
    """Return how old a heartbeat is; None without one, and nothing where its date cannot be true.

    A worker's clock may be wrong: how long a heartbeat stays unchanged is for the tracker to say.
    """
    return None if heartbeat is None else read_age(seconds) or timedelta(0)
