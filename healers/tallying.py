"""Count what passes come to, once for each attempt; pure.

What was counted is remembered as long as its attempt is started, so that a refusal that comes and goes counts once; and
as long as the journal may be without its outcome, which a later pass then finds out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from exporter.histogram import Histogram
from exporter.jobs import AttemptKey

from .breaker import BreakerState
from .candidates import Candidate
from .guards.quarantine import is_quarantined
from .options import HealingOptions
from .outcomes import Concluded, Outcome
from .plan import Plan
from .reasons import Liveness
from .refusals import Refusal, RefusalReason

PAUSED: Final = "paused"
COUNTED_OUTCOMES: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.UNKNOWN)
"""What is not known yet is counted when a later pass has found it out."""

Mark = tuple[AttemptKey, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealStatus:
    """Everything about healing one queue that is published.

    `mode` is the one in force. `blocked`: orphaned jobs now, by what keeps each from being reset. `is_leader`: the last
    pass that wanted the queue's lock had it.
    """

    queue: str
    mode: str
    heals: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED_OUTCOMES, 0))
    refusals: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RefusalReason, 0))
    blocked: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RefusalReason, 0))
    quarantined: int = 0
    is_breaker_open: bool = False
    delays: Histogram = field(default_factory=Histogram)
    passed_at: datetime | None = None
    is_leader: bool = False
    counted: frozenset[Mark] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What one pass came to; `breaker` and `is_paused` are None where they could not be read.

    `has_lock` is None where the lock was not wanted.

    `unkept`: attempts that were put back, perhaps in an earlier pass, and whose outcome could not be kept yet.
    """

    plan: Plan
    candidates: Mapping[AttemptKey, Candidate]
    concluded: tuple[Concluded, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    is_paused: bool | None = False
    breaker: BreakerState | None = None
    has_lock: bool | None = None
    unkept: frozenset[AttemptKey] = frozenset()


def note_pass(status: HealStatus, came: Came, options: HealingOptions, *, at: datetime) -> HealStatus:
    """Return the status after a pass."""
    heals = _new_heals(status, came)
    refusals = {mark for mark in _marks(came.refusals) if mark not in status.counted}
    dead = {key for key, one in came.candidates.items() if one.verdict.value is Liveness.DEAD}
    remembered = came.candidates.keys() | came.unkept
    return replace(
        status,
        mode=status.mode if came.is_paused is None else PAUSED if came.is_paused else options.mode,
        heals=_add(status.heals, (result for _, result in heals)),
        refusals=_add(status.refusals, (reason for _, reason in refusals)),
        blocked={**dict.fromkeys(RefusalReason, 0), **Counter(one.reason for one in came.refusals if one.key in dead)},
        quarantined=_count_quarantined(status, [came.candidates[key] for key in dead], options),
        is_breaker_open=status.is_breaker_open if came.breaker is None else came.breaker.is_open,
        delays=_observe(status.delays, heals, came.candidates, at),
        passed_at=at,
        is_leader=status.is_leader if came.has_lock is None else came.has_lock,
        counted=frozenset(mark for mark in {*status.counted, *heals, *refusals} if mark[0] in remembered),
    )


def new_refusals(status: HealStatus, refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Return those that were not counted yet."""
    return tuple(one for one in refusals if (one.key, str(one.reason)) not in status.counted)


def new_rehearsals(status: HealStatus, plan: Plan) -> tuple[Candidate, ...]:
    """Return what a dry run would put back and was not counted yet."""
    if not plan.is_dry_run:
        return ()
    return tuple(one for one in plan.resets if (one.attempt.key, Outcome.DRY_RUN.value) not in status.counted)


def _new_heals(status: HealStatus, came: Came) -> list[Mark]:
    results = [(one.key, one.outcome.value) for one in came.concluded if one.outcome is not Outcome.UNKNOWN]
    results += [(one.attempt.key, Outcome.DRY_RUN.value) for one in new_rehearsals(status, came.plan)]
    return [mark for mark in dict.fromkeys(results) if mark not in status.counted]


def _count_quarantined(status: HealStatus, dead: Sequence[Candidate], options: HealingOptions) -> int:
    """Count them; where the ledger does not say how often jobs were put back, the last number stays."""
    if any(one.resets is None for one in dead):
        return status.quarantined
    return sum(is_quarantined(one, options.max_resets_per_job) for one in dead)


def _marks(refusals: Iterable[Refusal]) -> set[Mark]:
    return {(one.key, str(one.reason)) for one in refusals}


def _add(counts: Mapping[str, int], new: Iterable[str]) -> dict[str, int]:
    return {**counts, **(Counter(counts) + Counter(new))}


def _observe(
    delays: Histogram, heals: Iterable[Mark], candidates: Mapping[AttemptKey, Candidate], at: datetime
) -> Histogram:
    for key, result in heals:
        candidate = candidates.get(key)
        if result == Outcome.RESET and candidate is not None and candidate.dead_at is not None:
            delays = delays.observe(max(at - candidate.dead_at, at - at))
    return delays
