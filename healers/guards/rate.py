"""Put back only so many jobs at a time.

The danger: whatever made healing wrong, a limit bounds what it costs. Default: 500 within an hour, counted from the
journal, so that a restart refills nothing. For a person `--limit` holds instead, and none where none is given.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse what goes beyond the budget; the resets that are planned already count."""
    person = situation.by_person
    if person is not None:
        if person.limit is None or situation.planned < person.limit:
            return None
        return refusal(candidate, RefusalReason.RATE, f"--limit is {person.limit}")
    limit, done = situation.options.max_resets_per_hour, situation.resets_last_hour
    if done is None:
        return refusal(candidate, RefusalReason.RATE, "how many jobs were put back in the last hour is not known")
    if done + situation.planned >= limit:
        found = f"{done} put back in the last hour and {situation.planned} planned"
        return refusal(candidate, RefusalReason.RATE, f"{found}; max_resets_per_hour is {limit}")
    return None
