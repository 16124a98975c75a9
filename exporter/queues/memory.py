"""A queue in memory: the fake that is shipped, held to the same contract as the real ones.

For tests and for trying out what is built on queues. Its clock is whatever it is given.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from exporter import clock
from exporter.errors import ReadError
from exporter.jobs import (
    Attempt,
    AttemptKey,
    Claim,
    Cursor,
    JobId,
    Kind,
    QueueName,
    Role,
    Snapshot,
    State,
    Waiting,
    WorkerSigns,
    read_pid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryJob:
    """One row: it waits, or it is started if `is_started`, even without a start time."""

    id: int
    kind: Kind
    enqueued_at: datetime
    is_started: bool = False
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    host: str | None = None
    pid_text: str | None = None


class MemoryQueue:
    """A job table as a dictionary; follows the protocol in `exporter.queues.protocol`."""

    system = "memory"
    server = "memory"
    place = "memory"
    index_hint = "none"

    def __init__(
        self,
        name: QueueName,
        *,
        kinds: tuple[Kind, ...] = (Kind("job"),),
        now: Callable[[], datetime] = clock.now,
        signs: WorkerSigns = WorkerSigns(),  # noqa: B008  frozen
        max_started: int = 20_000,
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.signs = signs
        self.jobs: dict[int, MemoryJob] = {}
        self.fails_with: ReadError | None = None
        self._now = now
        self._ids = count(1)
        self._last_id = 0
        self._max_started = max_started

    def enqueue(self, kind: Kind | None = None) -> int:
        """Add a waiting job and return its id."""
        job = MemoryJob(id=next(self._ids), kind=kind or self.kinds[0], enqueued_at=self._now())
        self.jobs[job.id] = job
        self._last_id = job.id
        return job.id

    def start(self, job_id: int, *, host: str | None = "host", pid: int | str | None = 1) -> None:
        """Claim a waiting job, as a worker does."""
        pid_text = None if pid is None else str(pid)
        job = self.jobs[job_id]
        self.jobs[job_id] = replace(job, is_started=True, started_at=self._now(), host=host, pid_text=pid_text)

    def forget_start(self, job_id: int) -> None:
        """Take away a started job's start time, as rows are seen that Matomo never recovers."""
        self.jobs[job_id] = replace(self.jobs[job_id], started_at=None)

    def beat(self, job_id: int) -> None:
        """Set a started job's heartbeat to now."""
        self.jobs[job_id] = replace(self.jobs[job_id], heartbeat_at=self._now())

    def release(self, job_id: int) -> None:
        """Put a started job back."""
        job = self.jobs[job_id]
        self.jobs[job_id] = MemoryJob(id=job.id, kind=job.kind, enqueued_at=job.enqueued_at)

    def finish(self, job_id: int) -> None:
        """Delete a job, as a worker does when it is done."""
        del self.jobs[job_id]

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the dictionary; raises what `fails_with` holds."""
        if self.fails_with:
            raise self.fails_with
        now = self._now()
        started = sorted(
            (job for job in self.jobs.values() if job.is_started),
            key=lambda job: (job.started_at is not None, job.started_at),
        )
        shown, left_out = started[: self._max_started], started[self._max_started :]
        seen = frozenset(JobId(str(job.id)) for job in shown)
        return Snapshot(
            queue=self.name,
            schema="memory",
            role=Role.PRIMARY,
            read_at=now,
            database_now=now,
            waiting=tuple(self._waiting(kind, now, after) for kind in self._all_kinds()),
            started=tuple(self._attempt(job, now) for job in shown),
            started_left_out=Counter(job.kind for job in left_out),
            left_started={
                job_id: State.STARTED if job.is_started else State.WAITING
                for job_id in (after.started - seen if after else ())
                if (job := self.jobs.get(int(job_id)))
            },
            cursor=Cursor(last_id=self._last_id, started=seen),
        )

    def close(self) -> None:
        """Nothing to close."""

    def _all_kinds(self) -> tuple[Kind, ...]:
        found = {job.kind for job in self.jobs.values()} - set(self.kinds)
        return (*self.kinds, *sorted(found))

    def _waiting(self, kind: Kind, now: datetime, after: Cursor | None) -> Waiting:
        jobs = [job for job in self.jobs.values() if job.kind == kind]
        waiting = [job for job in jobs if not job.is_started]
        return Waiting(
            kind=kind,
            jobs=len(waiting),
            enqueued=sum(1 for job in jobs if after and isinstance(after.last_id, int) and job.id > after.last_id),
            oldest_age=max((age for job in waiting if (age := _age(now, job.enqueued_at)) is not None), default=None),
        )

    def _attempt(self, job: MemoryJob, now: datetime) -> Attempt:
        key = AttemptKey(
            queue=self.name, job_id=JobId(str(job.id)), started=job.started_at, host=job.host, pid_text=job.pid_text
        )
        return Attempt(
            key=key,
            job_id=key.job_id,
            natural_key=(str(job.id),),
            kind=job.kind,
            host=job.host,
            pid=read_pid(job.pid_text),
            pid_text=job.pid_text,
            has_start_time=job.started_at is not None,
            age=_age(now, job.started_at),
            enqueued_age=_age(now, job.enqueued_at),
            heartbeat_age=None if job.heartbeat_at is None else max(now - job.heartbeat_at, timedelta(0)),
            detail={},
            claim=Claim(key=key, rests_on=(job.heartbeat_at,)),
        )


def _age(now: datetime, then: datetime | None) -> timedelta | None:
    return None if then is None or then > now else now - then
