"""Turn rows of a table into jobs; everything a row holds may be nonsense."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Row

from exporter.jobs import (
    Attempt,
    AttemptKey,
    Claim,
    DriverValue,
    JobId,
    Kind,
    QueueName,
    Waiting,
    read_pid,
)
from exporter.labels import LONGEST, OTHER

from ..ages import read_age, read_heartbeat_age
from .ids import Ids

ONE_KIND: Final = Kind("job")
NOTHING: Final = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What one scan found: by kind, waiting and started jobs, new ones, the oldest age; and the highest mark."""

    waiting: Mapping[Kind, int]
    started: Mapping[Kind, int]
    enqueued: Mapping[Kind, int]
    oldest_age: Mapping[Kind, timedelta]
    mark: DriverValue
    started_ids: frozenset[JobId]
    is_folded: bool

    def label(self, kind: Kind) -> Kind:
        """Return the kind under which such a job was counted."""
        return Kind(OTHER) if self.is_folded and kind not in self.waiting else kind


def read_text(value: object) -> str | None:
    """Return a value of any type as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def read_kind(value: object) -> Kind:
    """Return a kind of bounded length; what has none is a `job`."""
    return Kind((read_text(value) or ONE_KIND)[:LONGEST])


def read_totals(groups: Sequence[Row[Any]], rest: Row[Any] | None, *, ids: Ids) -> Totals:
    """Add up the groups.

    `rest` are the totals of all rows, where there are more kinds than groups: what the groups lack of them is `other`,
    and the oldest of all stands for the oldest of these.
    """
    counts: dict[str, Counter[Kind]] = {name: Counter() for name in ("jobs", "started", "enqueued")}
    ages: dict[Kind, timedelta] = {}
    for row in groups:
        _add(read_kind(row.kind), row, counts, ages)
    if rest:
        for name, counter in counts.items():
            counter[Kind(OTHER)] += getattr(rest, name) - counter.total()
        _add(Kind(OTHER), rest, {}, ages)
    whole = [rest] if rest else groups
    marks = [row.mark for row in whole if row.mark is not None]
    # SQLite's columns hold values of any type: among numbers, a text tells that ids do not rise.
    foreign = [mark for mark in marks if ids.is_rising and not isinstance(mark, int)]
    return Totals(
        waiting=Counter({kind: jobs - counts["started"][kind] for kind, jobs in counts["jobs"].items()}),
        started=counts["started"],
        enqueued=counts["enqueued"],
        oldest_age=ages,
        mark=foreign[0] if foreign else max(marks, default=None),
        started_ids=frozenset(found for row in whole for found in ids.read_collected(row.started_ids)),
        is_folded=rest is not None,
    )


def _add(kind: Kind, row: Row[Any], counts: Mapping[str, Counter[Kind]], ages: dict[Kind, timedelta]) -> None:
    for name, counter in counts.items():
        counter[kind] += getattr(row, name)
    age = read_age(row.oldest_age)
    if age is not None:
        ages[kind] = max(age, ages.get(kind, age))


def read_waiting(totals: Totals, known: Iterable[Kind]) -> tuple[Waiting, ...]:
    """Make one `Waiting` for each kind that is known or found."""
    return tuple(
        Waiting(
            kind=kind,
            jobs=totals.waiting.get(kind, 0),
            enqueued=totals.enqueued.get(kind, 0),
            oldest_age=totals.oldest_age.get(kind),
        )
        for kind in dict.fromkeys((*known, *totals.waiting))
    )


def read_attempts(queue: QueueName, rows: Iterable[Row[Any]], *, totals: Totals, ids: Ids) -> tuple[Attempt, ...]:
    """Read the started rows: those without a start time first, then the oldest."""
    attempts = [_attempt(queue, row, totals=totals, ids=ids) for row in rows]
    return tuple(sorted(attempts, key=_order))


def _order(attempt: Attempt) -> tuple[bool, timedelta, JobId]:
    return attempt.has_start_time, -(attempt.age or NOTHING), attempt.job_id


def _attempt(queue: QueueName, row: Row[Any], *, totals: Totals, ids: Ids) -> Attempt:
    started = _value(row, "started_at")
    key = AttemptKey(
        queue=queue,
        job_id=ids.read(row.id),
        started=started,
        host=read_text(row.host),
        pid_text=read_text(row.pid),
    )
    rests_on, heartbeat_age = _heartbeat(row)
    return Attempt(
        key=key,
        job_id=key.job_id,
        natural_key=(key.job_id,),
        kind=totals.label(read_kind(row.kind)),
        host=key.host,
        pid=read_pid(key.pid_text),
        pid_text=key.pid_text,
        has_start_time=started is not None,
        age=None if started is None else read_age(row.started_at_age),
        enqueued_age=read_age(row.enqueued_at_age),
        heartbeat_age=heartbeat_age,
        detail=MappingProxyType({}),
        claim=Claim(key=key, rests_on=rests_on),
    )


def _value(row: Row[Any], key: str) -> DriverValue:
    """Return a time exactly as the driver read it, or the text of one that it could not hold."""
    value: DriverValue = getattr(row, key)
    odd: DriverValue = getattr(row, f"{key}_odd")
    return odd if value is None else value


def _heartbeat(row: Row[Any]) -> tuple[tuple[DriverValue, ...], timedelta | None]:
    """Return the heartbeat and its age."""
    if not hasattr(row, "heartbeat_at"):
        return (), None
    value = _value(row, "heartbeat_at")
    return (value,), read_heartbeat_age(value, row.heartbeat_at_age)
