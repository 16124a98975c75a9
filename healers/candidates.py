"""One started attempt as the plan sees it: what the row says, what its host said, and what is remembered; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.jobs import Attempt

from .verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An attempt with its verdict; an alive one is no candidate for a reset, but the breaker counts its host.

    `hosts`: the configured hosts whose usable answers of this pass the verdict rests on; none where nobody answered.
    `is_confirmed`: dead by both proofs, and neither has expired. `first_verdict`: the one that first said dead, at
    `dead_at`.
    `is_enrolled`: its worker, or that of any earlier attempt with the same host and pid, was once seen alive; for the
    breaker, and for nothing else. `still_for`: for how long its claim, the heartbeat included, was seen not to change,
    where there are heartbeats. `resets`: of jobs with its natural key, within the budget's time; None: not known.
    """

    attempt: Attempt
    verdict: Verdict
    hosts: frozenset[str]
    is_confirmed: bool
    dead_at: datetime | None
    is_enrolled: bool
    first_seen_at: datetime | None
    resets: int | None
    first_verdict: Verdict | None = None
    still_for: timedelta | None = None

    def __post_init__(self) -> None:
        if self.verdict.key != self.attempt.key:
            raise ValueError(f"verdict: it is of {self.verdict.key}, not of {self.attempt.key}")

    def age(self, now: datetime) -> timedelta | None:
        """Return the age to go by: on the database's clock at the last poll, else since it was first seen.

        Either is at most the true one. Matomo may start a job without saying when, and never recovers it (5.3).
        """
        if self.attempt.age is not None:
            return self.attempt.age
        return None if self.first_seen_at is None else now - self.first_seen_at
