"""Put back only what is proven dead.

The danger: a job whose worker still lives is done twice, at once. So alive never passes, and unknown passes only where
a person vouches for it (`heal --accept-unknown`): never by default, never unasked, never what was not shown as unknown,
never what was started after the command, which that person cannot have looked at, and never what may have a heart that
beats: one that was not seen to stand still.
"""

from datetime import datetime, timedelta

from exporter.jobs import Attempt

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..runs import LOST_AFTER
from ..situation import Situation
from ..verdicts import Liveness, Reason

ROUNDING = timedelta(seconds=1)
"""Matomo and MariaDB keep start times in whole seconds: an age may be this much too high."""


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse whatever is not dead, unless a person vouches for an unknown one."""
    verdict, person = candidate.verdict, situation.by_person
    found = f"its worker is {verdict.value} ({verdict.reason})"
    if verdict.value is Liveness.DEAD:
        return None
    if verdict.value is Liveness.ALIVE or person is None or not person.vouches_for(candidate.attempt.key):
        return refusal(candidate, RefusalReason.UNKNOWN, found)
    if verdict.reason is Reason.NOT_ASKED:
        return refusal(candidate, RefusalReason.UNKNOWN, f"{found}; nobody can vouch for it before its host was asked")
    if not _is_started_before(person.commanded_at, candidate, situation):
        found = f"{found}, and it is not known to have been started before this command"
        return refusal(candidate, RefusalReason.UNKNOWN, found)
    if has_heartbeat(candidate.attempt) and (candidate.still_for is None or candidate.still_for < LOST_AFTER):
        right = f"watch it for {LOST_AFTER.total_seconds():g} s"
        return refusal(candidate, RefusalReason.UNKNOWN, f"{found}; its heartbeat may still move: {right}")
    return None


def has_heartbeat(attempt: Attempt) -> bool:
    """Tell whether a claim rests on a heartbeat; one that never came is none."""
    return any(value is not None for value in attempt.claim.rests_on)


def _is_started_before(commanded_at: datetime, candidate: Candidate, situation: Situation) -> bool:
    """Compare on this machine's clock, by the age that the database gave; whatever is as close as rounding is not."""
    if candidate.attempt.age is not None:
        return situation.read_at - candidate.attempt.age < commanded_at - ROUNDING
    return candidate.first_seen_at is not None and candidate.first_seen_at < commanded_at
