"""Decide which jobs to put back, and say of every other dead or unknown one why not; pure.

Alive attempts are neither planned nor refused. The oldest come first, so that a budget goes to those that wait longest,
and the same candidates make the same plan. Each reset counts against what the later ones may do.
In: every started attempt of one queue. Out: each that is not alive exactly once, a reset or a refusal. O(n log n).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .candidates import Candidate
from .guards import refuse
from .refusals import Refusal
from .situation import Situation
from .verdicts import Liveness


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be put back, the oldest first, and what is not. Of a dry run nothing is, and each says so."""

    resets: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    is_dry_run: bool


def make_plan(candidates: Iterable[Candidate], situation: Situation) -> Plan:
    """Ask every guard about every candidate."""
    resets: list[Candidate] = []
    refusals: list[Refusal] = []
    situation = replace(situation, planned=0)
    planned: Counter[tuple[str, ...]] = Counter()
    suspects = [candidate for candidate in candidates if candidate.verdict.value is not Liveness.ALIVE]
    for candidate in sorted(suspects, key=lambda candidate: _oldest_first(candidate, situation.now)):
        job = candidate.attempt.natural_key
        if refusal := refuse(_after(candidate, planned[job]), situation):
            refusals.append(refusal)
        else:
            resets.append(candidate)
            planned[job] += 1
            situation = replace(situation, planned=len(resets))
    return Plan(resets=tuple(resets), refusals=tuple(refusals), is_dry_run=situation.is_dry_run)


def _after(candidate: Candidate, resets: int) -> Candidate:
    """Return a candidate as it stands once its twins in this plan were put back."""
    if candidate.resets is None or not resets:
        return candidate
    return replace(candidate, resets=candidate.resets + resets)


def _oldest_first(candidate: Candidate, now: datetime) -> tuple[bool, timedelta, str, str, str, str]:
    """Order by age, unknown ages last; a tie is broken by the key, so that the order is always the same."""
    age, key = candidate.age(now), candidate.attempt.key
    return (age is None, -(age or timedelta(0)), key.job_id, key.host or "", key.pid_text or "", str(key.started))
