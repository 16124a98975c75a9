"""Heal only in the hours that were agreed.

The danger: jobs that are put back load the hosts when people work on them. Default: always; an empty list means never.
A person who runs `heal` chooses the hour.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation
from ..windows import is_open, opens_at


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse outside of the configured windows."""
    windows = situation.options.windows
    if situation.by_person is not None or is_open(windows, situation.now):
        return None
    if opening := opens_at(windows, situation.now):
        detail = f"healing.windows open next on {opening:%Y-%m-%d at %H:%M} {opening.tzinfo}"
    else:
        detail = "healing.windows is an empty list, which means never; leave it out for always"
    return refusal(candidate, RefusalReason.OUTSIDE_WINDOW, detail)
