"""Choose attempts by what a person asks for on the command line; pure.

A filter that is not given (None) lets everything pass; one that is given and empty lets nothing pass. A filter for
something that an attempt does not have never matches it.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from datetime import date, datetime

from exporter.jobs import Attempt, DetailValue, JobId, Kind, QueueName


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is asked for; an attempt has to match every part that is given.

    `hosts` are recorded names. `started_before` leaves its instant out, and `started_after` has it in. `dates`: the
    first and the last day, both in it; a job matches if all of its own days lie within.
    """

    queues: AbstractSet[QueueName] | None = None
    hosts: AbstractSet[str] | None = None
    jobs: AbstractSet[JobId] | None = None
    sites: AbstractSet[str] | None = None
    kinds: AbstractSet[Kind] | None = None
    started_before: datetime | None = None
    started_after: datetime | None = None
    dates: tuple[date, date] | None = None

    def __post_init__(self) -> None:
        for name in ("started_before", "started_after"):
            instant: datetime | None = getattr(self, name)
            if instant is not None and instant.utcoffset() is None:
                raise ValueError(f"{name}: {instant} has no time zone; write one, such as 2026-11-22T12:00:00+01:00")
        if self.dates is not None and self.dates[0] > self.dates[1]:
            raise ValueError(f"dates: {self.dates[0]} is after {self.dates[1]}; write the first day first")

    @property
    def is_given(self) -> bool:
        """Whether anything at all is asked for."""
        return any(getattr(self, part.name) is not None for part in fields(self))


def matches(attempt: Attempt, wanted: Filter, database_now: datetime) -> bool:
    """Tell whether an attempt is asked for; its start is `age` before the database's now."""
    return (
        _is_in(attempt.key.queue, wanted.queues)
        and _is_in(attempt.host, wanted.hosts)
        and _is_in(attempt.job_id, wanted.jobs)
        and _is_in(_text(attempt.detail.get("site")), wanted.sites)
        and _is_in(attempt.kind, wanted.kinds)
        and _is_started_within(attempt, wanted, database_now)
        and _is_of_days(attempt, wanted.dates)
    )


def _is_in(value: str | None, wanted: AbstractSet[str] | None) -> bool:
    return wanted is None or (value is not None and value in wanted)


def _is_started_within(attempt: Attempt, wanted: Filter, database_now: datetime) -> bool:
    if wanted.started_before is None and wanted.started_after is None:
        return True
    if attempt.age is None:
        return False
    started_at = database_now - attempt.age
    is_before = wanted.started_before is None or started_at < wanted.started_before
    return is_before and (wanted.started_after is None or started_at >= wanted.started_after)


def _is_of_days(attempt: Attempt, wanted: tuple[date, date] | None) -> bool:
    """Compare the days that a job is about (Matomo: date1 and date2 of archive_invalidations)."""
    if wanted is None:
        return True
    first, last = _day(attempt.detail.get("date1")), _day(attempt.detail.get("date2"))
    return first is not None and last is not None and wanted[0] <= first and last <= wanted[1]


def _day(value: DetailValue) -> date | None:
    try:
        return date.fromisoformat(_text(value) or "")
    except ValueError:
        return None


def _text(value: DetailValue) -> str | None:
    return None if value is None else str(value)
