"""Put nothing back that could not be accounted for.

The danger: a reset that is in no journal can be neither explained nor undone, and budgets that are not kept are not
held. So no ledger, no healing; there is no option for it.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse unless the ledger can be read and written."""
    if situation.is_ledger_usable is not True:
        return refusal(candidate, RefusalReason.LEDGER, "the ledger cannot be read and written")
    return None
