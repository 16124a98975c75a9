"""Wait for the second proof.

The danger: one answer can be wrong by chance. So dead is said twice, `confirm_after` apart (default 30s), over
connections of their own, and neither has expired. A plan that a person only looks at comes before the second proof.
"""

from exporter.options import show_duration

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal, whole_seconds
from ..situation import Situation
from ..verdicts import Liveness


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse a dead attempt that has but one proof."""
    is_only_shown = situation.by_person is not None and not situation.by_person.is_applied
    if candidate.is_confirmed or candidate.verdict.value is not Liveness.DEAD or is_only_shown:
        return None
    right = f"the second proof comes {show_duration(situation.options.confirm_after)} after the first"
    if candidate.dead_at is None:
        return refusal(candidate, RefusalReason.UNCONFIRMED, f"proven dead once at most; {right}")
    found = f"proven dead once, {whole_seconds(situation.now - candidate.dead_at)} ago"
    return refusal(candidate, RefusalReason.UNCONFIRMED, f"{found}; {right}")
