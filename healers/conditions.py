"""Follow what polls and clocks did, as far as healing depends on it; pure.

In: what was known before, and the latest poll or moment. Out: what is known now. Raises nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from exporter.collector import QueueStatus

from .beliefs import Moment
from .situation import Clocks, Database

OK: Final = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """The polls of one queue until now.

    `failed` counts those that failed, so that an outage shows that nobody looked at. `schema` is that of the last poll
    that succeeded, and `has_new_schema` tells whether the one before had another.
    """

    is_answering: bool = False
    read_at: datetime | None = None
    failed: int = 0
    came_back_at: datetime | None = None
    schema: str | None = None
    has_new_schema: bool = False


def follow_polls(known: Polls, status: QueueStatus) -> Polls:
    """Return what is known after some polls, or none: the same reading again changes nothing."""
    reading = status.reading
    if not status.is_up or reading is None:
        return replace(known, is_answering=False)
    snapshot, failed = reading.snapshot, sum(number for outcome, number in status.polls.items() if outcome != OK)
    if known.is_answering and snapshot.read_at == known.read_at:
        return known
    return Polls(
        is_answering=True,
        read_at=snapshot.read_at,
        failed=failed,
        came_back_at=snapshot.read_at if failed > known.failed else known.came_back_at,
        schema=snapshot.schema,
        has_new_schema=known.schema is not None and snapshot.schema != known.schema,
    )


def describe_database(polls: Polls, status: QueueStatus) -> Database:
    """Return how the watched database does."""
    return Database(
        role=status.reading.snapshot.role if status.reading else None,
        is_answering=polls.is_answering,
        came_back_at=polls.came_back_at,
        poll_interval=status.interval,
        has_new_schema=polls.has_new_schema,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """All clocks at one pass; `offset` is the database's clock minus this machine's, where it was read."""

    moment: Moment
    offset: timedelta | None


def read_clocks(status: QueueStatus, moment: Moment) -> ClockReading:
    """Return the clocks of a pass."""
    snapshot = status.reading.snapshot if status.reading else None
    return ClockReading(moment=moment, offset=snapshot.database_now - snapshot.read_at if snapshot else None)


def compare_clocks(last: ClockReading | None, now: ClockReading) -> Clocks:
    """Return how far the clocks moved apart since the last pass; before the first there was nothing to move from."""
    if last is None:
        return Clocks(drift=timedelta(0), offset_jump=timedelta(0) if now.offset is not None else None)
    by_wall = now.moment.at - last.moment.at
    by_boot = timedelta(seconds=now.moment.boottime_seconds - last.moment.boottime_seconds)
    jump = None
    if now.offset is not None:
        jump = now.offset - last.offset if last.offset is not None else timedelta(0)
    return Clocks(drift=by_wall - by_boot, offset_jump=jump)
