"""Leave a job alone that keeps killing its worker.

The danger: a job that takes its worker, or its host's memory, down with it does so again each time that it is put
back. Default: 3 resets in 24 h, by the natural key, since a row that is written anew has a new id. A person lifts it by
naming the job with `--job`.
"""

from exporter.options import show_duration

from ..candidates import Candidate
from ..options import JobBudget
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse a job that used up its resets, unless a person names it."""
    person = situation.by_person
    if person is not None and candidate.attempt.job_id in person.jobs:
        return None
    if candidate.resets is None:
        return refusal(candidate, RefusalReason.QUARANTINED, "how often it was put back before is not known")
    if is_quarantined(candidate, situation.options.max_resets_per_job):
        budget = situation.options.max_resets_per_job
        found = f"resets within {show_duration(budget.within)}: {candidate.resets} of {budget.resets}"
        right = f"find out why its worker dies, then name it: `heal --job {candidate.attempt.job_id}`"
        return refusal(candidate, RefusalReason.QUARANTINED, f"{found}; {right}")
    return None


def is_quarantined(candidate: Candidate, budget: JobBudget) -> bool:
    """Tell whether a job is known to have used up its resets."""
    return candidate.resets is not None and candidate.resets >= budget.resets
