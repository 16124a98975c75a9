"""What passes come to is counted once for each attempt, and counters only rise."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from healers.breaker import BreakerState
from healers.candidates import Candidate
from healers.options import HealingOptions
from healers.outcomes import Concluded, Outcome
from healers.plan import Plan
from healers.reasons import Reason
from healers.refusals import Refusal, RefusalReason, refusal
from healers.tallying import Came, HealStatus, new_refusals, new_rehearsals, note_pass
from tests.builders import NOON, a_candidate, an_attempt

OPTIONS = HealingOptions.model_validate({"mode": "reset"})
NEW = HealStatus(queue="q", mode="reset")
ONE = a_candidate(an_attempt("1"), dead_for="40s")
TWO = a_candidate(an_attempt("2"), dead_for="40s")


def came(
    *candidates: Candidate,
    concluded: Iterable[tuple[Candidate, Outcome]] = (),
    refusals: Iterable[Refusal] = (),
    rehearsed: tuple[Candidate, ...] = (),
    is_paused: bool = False,
    breaker: BreakerState | None = BreakerState(),  # noqa: B008 - immutable
    has_lock: bool | None = None,
    unkept: Iterable[Candidate] = (),
) -> Came:
    """Return what a pass came to."""
    return Came(
        plan=Plan(resets=rehearsed, refusals=(), is_dry_run=bool(rehearsed)),
        candidates={one.attempt.key: one for one in candidates},
        concluded=tuple(Concluded(key=one.attempt.key, outcome=outcome) for one, outcome in concluded),
        refusals=tuple(refusals),
        is_paused=is_paused,
        breaker=breaker,
        has_lock=has_lock,
        unkept=frozenset(one.attempt.key for one in unkept),
    )


def after(*passes: Came, status: HealStatus = NEW) -> HealStatus:
    """Return the status after these passes."""
    for one in passes:
        status = note_pass(status, one, OPTIONS, at=NOON)
    return status


def refuse(candidate: Candidate, reason: RefusalReason = RefusalReason.RATE) -> Refusal:
    """Refuse a candidate."""
    return refusal(candidate, reason, "detail")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.UNKNOWN])
def test_each_outcome_counts_once_for_an_attempt(outcome: Outcome) -> None:
    """However many passes say it."""
    said = came(ONE, TWO, concluded=[(ONE, outcome), (ONE, outcome)])
    assert after(said, said).heals == {**NEW.heals, outcome: 1}
    assert after(said, came(ONE, TWO, concluded=[(TWO, outcome)])).heals[outcome] == 2


def test_unknown_is_not_counted_until_it_is_known() -> None:
    """It has no counter; what is found out later has."""
    unknown = came(ONE, concluded=[(ONE, Outcome.UNKNOWN)])
    assert after(unknown).heals == NEW.heals
    assert after(unknown, came(ONE, concluded=[(ONE, Outcome.RESET)])).heals == {**NEW.heals, Outcome.RESET: 1}


def test_what_is_found_out_later_is_not_counted_again() -> None:
    """Although the row waits since: its outcome was not kept yet. Once it is, nothing more is remembered of it."""
    first = came(ONE, concluded=[(ONE, Outcome.RESET)], unkept=[ONE])
    status = after(first, came(unkept=[ONE]), came(concluded=[(ONE, Outcome.RESET)]))
    assert (status.heals[Outcome.RESET], status.counted) == (1, frozenset())


def test_a_refusal_counts_once_for_an_attempt_and_reason() -> None:
    """Also if it comes and goes; after the attempt is over, nothing of it is remembered."""
    rate, paused = came(ONE, refusals=[refuse(ONE)]), came(ONE, refusals=[refuse(ONE, RefusalReason.PAUSED)])
    status = after(rate, came(ONE), rate, paused, rate)
    assert (status.refusals["rate"], status.refusals["paused"]) == (1, 1)
    assert after(came(), status=status).counted == frozenset()
    assert after(came(), rate, status=status).refusals["rate"] == 2


def test_new_refusals_are_those_that_were_not_counted() -> None:
    """Each reason on its own."""
    status = after(came(ONE, refusals=[refuse(ONE)]))
    new = refuse(ONE, RefusalReason.PAUSED), refuse(TWO)
    assert new_refusals(status, [refuse(ONE), *new]) == new


def test_blocked_is_what_keeps_the_dead_now() -> None:
    """It falls again, and the unknown are not orphaned."""
    unknown = a_candidate(an_attempt("3"), reason=Reason.TIMEOUT)
    refusals = [refuse(ONE), refuse(TWO), refuse(unknown, RefusalReason.UNKNOWN)]
    status = after(came(ONE, TWO, unknown, refusals=refusals))
    assert (status.blocked["rate"], sum(status.blocked.values())) == (2, 2)
    assert set(status.blocked) == set(RefusalReason)
    assert sum(after(came(ONE), status=status).blocked.values()) == 0


def test_rehearsals_count_once() -> None:
    """Of a dry run only."""
    dry = came(ONE, rehearsed=(ONE,))
    assert new_rehearsals(NEW, dry.plan) == (ONE,)
    assert new_rehearsals(after(dry), dry.plan) == ()
    assert new_rehearsals(NEW, Plan(resets=(ONE,), refusals=(), is_dry_run=False)) == ()
    assert after(dry, dry).heals == {**NEW.heals, Outcome.DRY_RUN: 1}


@pytest.mark.parametrize(("resets", "expected"), [(None, 0), (2, 0), (3, 1)])
def test_quarantined_are_the_dead_that_used_up_their_resets(resets: int | None, expected: int) -> None:
    """What is not known is not published as one; nor is a live worker's job."""
    dead = a_candidate(an_attempt("1"), resets=resets)
    alive = a_candidate(an_attempt("2"), resets=3, reason=Reason.RUNNING)
    assert after(came(dead, alive)).quarantined == expected


def test_the_delay_is_from_the_first_proof_to_the_reset() -> None:
    """Once for each reset that was done; never below nothing, whatever clocks say."""
    future = a_candidate(an_attempt("3"), dead_for=None)
    ahead = a_candidate(an_attempt("4"), dead_for="0s")
    passed = came(ONE, TWO, future, concluded=[(ONE, Outcome.RESET), (TWO, Outcome.GONE), (future, Outcome.RESET)])
    delays = after(passed, passed).delays
    assert (delays.sum_seconds, sum(delays.counts)) == (40, 1)
    late = note_pass(NEW, came(ahead, concluded=[(ahead, Outcome.RESET)]), OPTIONS, at=NOON - timedelta(hours=1))
    assert late.delays.sum_seconds == 0


@pytest.mark.parametrize(
    ("before", "breaker", "expected"),
    [
        (False, BreakerState(open_since=NOON), True),
        (True, BreakerState(), False),
        (True, None, True),
        (False, None, False),
    ],
)
def test_a_breaker_that_cannot_be_read_is_as_it_was(before: bool, breaker: BreakerState | None, expected: bool) -> None:
    """Nobody is told that it closed because the ledger failed."""
    opened = after(came(breaker=BreakerState(open_since=NOON if before else None)))
    assert after(came(breaker=breaker), status=opened).is_breaker_open is expected


def test_whoever_wanted_the_lock_last_and_had_it_leads() -> None:
    """A pass that did not want it changes nothing."""
    assert [after(came(has_lock=True), came(has_lock=last)).is_leader for last in (True, False, None)] == [
        True,
        False,
        True,
    ]
    assert not NEW.is_leader


def test_the_mode_in_force_is_paused_while_it_is() -> None:
    """And the pass is dated."""
    paused = after(came(is_paused=True))
    assert (paused.mode, after(came(), status=paused).mode, paused.passed_at) == ("paused", "reset", NOON)
