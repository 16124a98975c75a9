"""Be the only healer of a queue.

The danger: two healers spend two budgets, and each sees the other's work as a job that moved. Nothing is reset twice
even so. A pass that writes needs the lock; one that only shows its plan does not.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse to write without the queue's lock."""
    if situation.has_lock is True or situation.is_dry_run:
        return None
    return refusal(candidate, RefusalReason.LOCK, "another healer has the lock of this queue, or it cannot be had")
