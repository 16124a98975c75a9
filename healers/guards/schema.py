"""Do not write in the middle of an upgrade.

The danger: columns have just come or gone, and a migration is likely to be still at work on the very rows. So a pass
whose poll found another schema than the one before heals nothing; there is no option for it.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse in the pass that found a new schema."""
    if situation.database.has_new_schema is None:
        return refusal(candidate, RefusalReason.SCHEMA_CHANGED, "whether the schema has changed is not known")
    if situation.database.has_new_schema:
        return refusal(candidate, RefusalReason.SCHEMA_CHANGED, "the schema has just changed")
    return None
