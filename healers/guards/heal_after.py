"""Leave an attempt alone until it is old enough to be judged.

The danger: a row can be there before its worker is, and start times are whole seconds. Default: 1m, on the database's
clock, for a person too; a job started without a start time ages from when it was first seen.
"""

from exporter.options import show_duration

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal, whole_seconds
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse an attempt that is younger than `heal_after`, or whose age is not known."""
    age, limit = candidate.age(situation.now), situation.options.heal_after
    if age is None:
        return refusal(candidate, RefusalReason.TOO_YOUNG, "how old it is is not known")
    if age < limit:
        detail = f"{whole_seconds(age)} old; heal_after is {show_duration(limit)}"
        return refusal(candidate, RefusalReason.TOO_YOUNG, detail)
    return None
