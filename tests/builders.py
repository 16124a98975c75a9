"""Build jobs, attempts and snapshots for tests: say what matters, the rest is ordinary."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from exporter.jobs import (
    Attempt,
    AttemptKey,
    Beginnings,
    Breakdown,
    Claim,
    Cursor,
    Finished,
    JobId,
    Kind,
    LastSuccess,
    QueueName,
    Role,
    Signal,
    Snapshot,
    State,
    Waiting,
    read_pid,
)
from exporter.options import read_duration

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = Kind("day")


def span(text: str | None) -> timedelta | None:
    """Read `3h`; `0s` is nothing at all."""
    if text is None:
        return None
    return timedelta(0) if text == "0s" else read_duration(text)


def an_attempt(
    job_id: str = "1",
    *,
    kind: str = DAY,
    host: str | None = "web1",
    pid: str | None = "100",
    started_for: str | None = "1m",
    enqueued_for: str | None = "10m",
    heartbeat_age: str | None = None,
    heartbeat: str | None = None,
    started: object = "2026-11-22 11:59:00",
) -> Attempt:
    """Return one started job; `started=None` is one without a start time."""
    key = AttemptKey(
        queue=QueueName("q"),
        job_id=JobId(job_id),
        started=None if started is None else str(started),
        host=host,
        pid_text=pid,
    )
    return Attempt(
        key=key,
        job_id=key.job_id,
        natural_key=(job_id,),
        kind=Kind(kind),
        host=host,
        pid=read_pid(pid),
        pid_text=pid,
        has_start_time=started is not None,
        age=None if started is None else span(started_for),
        enqueued_age=span(enqueued_for),
        heartbeat_age=span(heartbeat_age),
        detail={},
        claim=Claim(key=key, rests_on=(heartbeat,)),
    )


def a_waiting(jobs: int = 0, *, kind: str = DAY, enqueued: int = 0, oldest: str | None = None) -> Waiting:
    """Return the waiting jobs of one kind."""
    return Waiting(kind=Kind(kind), jobs=jobs, enqueued=enqueued, oldest_age=span(oldest))


def a_snapshot(
    *started: Attempt,
    waiting: Iterable[Waiting] = (),
    at: str = "0s",
    left_started: Mapping[str, State] | None = None,
    left_out: Mapping[str, int] | None = None,
    breakdown: Breakdown | None = None,
    signals: tuple[Signal, ...] = (),
    finished: tuple[Finished, ...] = (),
    last_successes: tuple[LastSuccess, ...] = (),
    beginnings: Beginnings | None = None,
    database_ahead: str | None = None,
) -> Snapshot:
    """Return a snapshot read `at` so long after noon."""
    read_at = NOON + (span(at) or timedelta(0))
    return Snapshot(
        queue=QueueName("q"),
        schema="5.3",
        role=Role.PRIMARY,
        read_at=read_at,
        database_now=read_at + (span(database_ahead) or timedelta(0)),
        waiting=tuple(waiting) or (a_waiting(),),
        started=started,
        started_left_out={Kind(kind): number for kind, number in (left_out or {}).items()},
        left_started={JobId(job_id): state for job_id, state in (left_started or {}).items()},
        breakdown=breakdown,
        signals=signals,
        finished=finished,
        last_successes=last_successes,
        beginnings=beginnings,
        cursor=Cursor(last_id=0, started=frozenset(attempt.job_id for attempt in started)),
    )
