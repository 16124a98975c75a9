"""Do nothing while a person has pulled the kill switch.

The danger: somebody works on the database or the hosts, and is not expected to know every queue that heals. So the
pause holds for `heal` too, and a pause that cannot be read is one. Default: not paused.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse while healing is paused."""
    if situation.is_paused is None:
        return refusal(candidate, RefusalReason.PAUSED, "whether healing is paused cannot be read")
    if situation.is_paused:
        detail = situation.pause_detail or "no reason was given"
        return refusal(candidate, RefusalReason.PAUSED, f"healing is paused: {detail}; `queuemedic resume` ends it")
    return None
