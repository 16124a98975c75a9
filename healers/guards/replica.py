"""Judge and heal on the primary only.

The danger: a replica that lags shows claims that are long over, and a write to one is lost or breaks it. A server that
does not say what it is counts as a replica; there is no option for it.
"""

from exporter.jobs import Role

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse unless the database says that it is a primary."""
    if situation.database.role is Role.PRIMARY:
        return None
    found = "does not say whether it is a primary" if situation.database.role is None else "is a replica or read-only"
    return refusal(candidate, RefusalReason.REPLICA, f"the database {found}; give the address of the primary")
