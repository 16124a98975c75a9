"""Trust no age while clocks jump.

The danger: a machine that was paused or restored, or whose clock was set, sees ages, expiries and budgets that are not
true. Each of the two limits is 5 s since the last pass; there is no option for it.
"""

from datetime import timedelta

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation

LIMIT = timedelta(seconds=5)


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse if the wall clock left the boot clock, or the database's clock left this machine's."""
    clocks = situation.clocks
    for moved, what in (
        (clocks.drift, "this machine's wall clock and boot clock"),
        (clocks.offset_jump, "the clocks of the database and of this machine"),
    ):
        if moved is None:
            return refusal(candidate, RefusalReason.CLOCK, f"whether {what} agree is not known")
        if abs(moved) >= LIMIT:
            seconds = abs(moved).total_seconds()
            return refusal(candidate, RefusalReason.CLOCK, f"{what} moved apart by {seconds:.1f} s since the last pass")
    return None
