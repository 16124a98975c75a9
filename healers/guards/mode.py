"""Write nothing where nobody asked for it.

The danger: a monitoring tool that changes a database as soon as it is installed. Default: `mode: disabled`. In
`dry_run` the plan is made as if. A person who runs `heal` has asked.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse unless the queue's mode, or a person, asks for healing."""
    if situation.by_person is None and situation.options.mode not in ("dry_run", "reset"):
        return refusal(candidate, RefusalReason.DISABLED, "healing.mode is disabled; dry_run shows what reset would do")
    return None
