"""Turn rows of Meltano's runs into jobs; everything a row holds may be nonsense."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from exporter.jobs import (
    Attempt,
    AttemptKey,
    Beginnings,
    Claim,
    DriverValue,
    Finished,
    JobId,
    Kind,
    LastSuccess,
    QueueName,
    Waiting,
)
from exporter.labels import LONGEST, OTHER

from ..ages import read_age, read_heartbeat_age

OUTCOMES = MappingProxyType({"SUCCESS": "success", "FAIL": "fail"})
MOST_KINDS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the scan found of one job; `kind` is its state ID."""

    kind: Kind
    last_id: int
    started: int
    started_ids: tuple[int, ...]
    enqueued: int
    begun: int
    initialised: int
    success: LastSuccess | None


def read_groups(scan: Iterable[Row[Any]]) -> list[Group]:
    """Read the scan's rows, the jobs that ran last first; all that come after `MOST_KINDS` of them are one, `other`.

    Of jobs that share a group, the last success that is longest ago counts.
    """
    groups: dict[Kind, Group] = {}
    for row in scan:
        group = _read_group(row)
        is_told_apart = group.kind in groups or len(groups) < MOST_KINDS
        kind = group.kind if is_told_apart else Kind(OTHER)
        if kind in groups:
            group = _joined(kind, groups[kind], group)
        elif not is_told_apart:
            group = _joined(kind, group)
        groups[kind] = group
    return list(groups.values())


def _read_group(row: Row[Any]) -> Group:
    kind, age = read_kind(row.kind), read_age(row.success_age)
    duration = read_duration(row.success_duration)
    return Group(
        kind=kind,
        last_id=row.last_id,
        started=row.started,
        started_ids=tuple(int(number) for number in str(row.started_ids or "").split(",") if number),
        enqueued=row.enqueued,
        begun=row.begun,
        initialised=row.initialised,
        success=None if age is None else LastSuccess(kind=kind, age=age, duration=duration),
    )


def _joined(kind: Kind, *groups: Group) -> Group:
    successes = [group.success for group in groups if group.success]
    oldest = max(successes, key=lambda success: success.age, default=None)
    return Group(
        kind=kind,
        last_id=max(group.last_id for group in groups),
        started=sum(group.started for group in groups),
        started_ids=tuple(number for group in groups for number in group.started_ids),
        enqueued=sum(group.enqueued for group in groups),
        begun=sum(group.begun for group in groups),
        initialised=sum(group.initialised for group in groups),
        success=replace(oldest, kind=kind) if oldest else None,
    )


def read_duration(seconds: float | None) -> timedelta | None:
    """Return how long a run took; a negative span cannot be true."""
    return None if seconds is None or seconds < 0 else timedelta(seconds=float(seconds))


def read_kind(name: object) -> Kind:
    """Return a job's name, of bounded length; different ones can read the same, as SQLite's need be no UTF-8."""
    return Kind(str(name)[:LONGEST])


def read_waiting(groups: Iterable[Group]) -> tuple[Waiting, ...]:
    """Make one `Waiting` for each job: runs are started as they come in, so none of them waits."""
    return tuple(Waiting(kind=group.kind, jobs=0, enqueued=group.enqueued, oldest_age=None) for group in groups)


def read_beginnings(groups: Sequence[Group]) -> Beginnings:
    """Add up the runs that were started within the window."""
    return Beginnings(
        started=sum(group.begun for group in groups), initialised=sum(group.initialised for group in groups)
    )


def read_finished(row: Row[Any]) -> Finished:
    """Read a run that ended. How long it took is known of successes only: others may have been failed long after."""
    outcome = OUTCOMES.get(row.state, "other")
    duration = read_duration(row.duration) if outcome == "success" else None
    return Finished(kind=read_kind(row.kind), outcome=outcome, duration=duration)


def read_attempt(queue: QueueName, row: Row[Any], *, kinds: Container[Kind]) -> Attempt:
    """Read one running row, of one of `kinds` or of `other`; Meltano records neither host nor process."""
    kind = read_kind(row.kind)
    key = AttemptKey(queue=queue, job_id=JobId(str(row.id)), started=row.started_at, host=None, pid_text=None)
    return Attempt(
        key=key,
        job_id=key.job_id,
        natural_key=(str(row.state_id),),
        kind=kind if kind in kinds else Kind(OTHER),
        host=None,
        pid=None,
        pid_text=None,
        has_start_time=row.started_at is not None,
        age=read_age(row.age),
        enqueued_age=None,
        heartbeat_age=read_heartbeat_age(row.heartbeat_at, row.heartbeat_age),
        detail=MappingProxyType(
            {"state_id": _text(row.state_id), "run_id": _run_id(row.run_id), "trigger": _text(row.trigger)}
        ),
        claim=Claim(key=key, rests_on=(row.heartbeat_at,)),
    )


def _text(value: DriverValue) -> str | None:
    return None if value is None else str(value)


def _run_id(value: object) -> str | None:
    """Write a run's id as its log folder has it, with dashes, whatever the database keeps."""
    try:
        return None if value is None else str(UUID(str(value)))
    except ValueError:
        return str(value)
