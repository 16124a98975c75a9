"""Let a database settle after an outage.

The danger: workers that lost their connection are on their way out or back in, and what the first poll reads is about
to change. So two poll intervals have to pass after the database came back; there is no option for it.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal, whole_seconds
from ..situation import Situation

INTERVALS = 2


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse while the database does not answer, and for two poll intervals after it answers again."""
    database = situation.database
    if database.is_answering is not True:
        return refusal(candidate, RefusalReason.OUTAGE, "the last poll did not succeed")
    if database.came_back_at is None:
        return None
    settled_for = situation.now - database.came_back_at
    if settled_for < INTERVALS * database.poll_interval:
        found = f"the database came back {whole_seconds(settled_for)} ago"
        right = f"healing waits for {INTERVALS} poll intervals of {whole_seconds(database.poll_interval)}"
        return refusal(candidate, RefusalReason.OUTAGE, f"{found}; {right}")
    return None
