"""Put a job of the queue in memory back: the fake that is shipped, held to the same contract as the real ones."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

from exporter.jobs import AttemptKey, Claim
from exporter.queues.memory import MemoryJob, MemoryQueue

from ..outcomes import Concluded, OriginalRow, Outcome
from .reconciliation import conclude


class MemoryReset:
    """The write half of a `MemoryQueue`; follows the protocol in `healers.resets.protocol`.

    `holders` is shared by all healers of one queue: the one in it has the lock. `fails_with` makes every reset fail.
    """

    def __init__(self, queue: MemoryQueue, *, holders: list["MemoryReset"] | None = None) -> None:
        self.fails_with: str | None = None
        self._queue = queue
        self._holders = [] if holders is None else holders

    @contextmanager
    def lock(self, *, wait_seconds: float) -> Iterator[bool]:  # noqa: ARG002  nothing here takes time
        """Try to be the only healer of this queue."""
        is_had = not self._holders
        if is_had:
            self._holders.append(self)
        try:
            yield is_had
        finally:
            if is_had and self in self._holders:
                self._holders.remove(self)

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]:
        """Read rows by their id."""
        found = {key: self._read(key) for key in keys}
        return {key: row for key, row in found.items() if row is not None}

    def reset(self, claim: Claim) -> Concluded:
        """Put a job back if it still is exactly what was judged."""
        if self not in self._holders or self.fails_with:
            detail = self.fails_with or "the lock of healers is not held"
            return Concluded(key=claim.key, outcome=Outcome.FAILED, detail=detail)
        row = self._read(claim.key)
        if row is None or not row.is_started or row.claim != claim:
            return conclude(claim, row, may_be_written=False)
        self._queue.release(int(claim.key.job_id))
        return Concluded(key=claim.key, outcome=Outcome.RESET)

    def _read(self, key: AttemptKey) -> OriginalRow | None:
        job = self._queue.jobs.get(int(key.job_id))
        if job is None:
            return None
        found = AttemptKey(
            queue=key.queue, job_id=key.job_id, started=job.started_at, host=job.host, pid_text=job.pid_text
        )
        return OriginalRow(
            claim=Claim(key=found, rests_on=(job.heartbeat_at,)),
            is_started=job.is_started,
            is_put_back=job == MemoryJob(id=job.id, kind=job.kind, enqueued_at=job.enqueued_at),
            values=asdict(job),
        )
