"""What a pass leaves behind where the ledger fails, rows moved, or nothing can be written."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from healers.cycle import Pass
from healers.outcomes import Outcome
from healers.reasons import Reason

from .passes import QUEUE, Bench, open_ledger

MINUTE = timedelta(minutes=1)
RESET, GONE, LOST, FAILED = Outcome.RESET, Outcome.GONE, Outcome.LOST_RACE, Outcome.FAILED


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A maker of queues with a healer, on one ledger."""
    ledger = open_ledger(tmp_path / "ledger.db")
    yield lambda **options: Bench(ledger, **options)
    ledger.close()


Make = Callable[..., Bench]


def run(one: Bench, **given: object) -> Pass:
    """Poll and make a pass."""
    return one.healer.run(one.see(**given))  # type: ignore[arg-type]


def outcomes(done: Pass) -> list[tuple[str, Outcome]]:
    """Return what became of each reset that was tried."""
    return [(concluded.key.job_id, concluded.outcome) for concluded in done.concluded]


def reasons(done: Pass) -> dict[str, str]:
    """Return why each of the others was left alone."""
    return {refused.key.job_id: refused.reason for refused in done.plan.refusals}


# --- The ledger fails


def test_what_cannot_be_intended_is_not_done(bench: Make) -> None:
    """Nothing is written, and nobody is told that an attempt ends by a reset."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.fails = {"intend"}
    done = run(one)
    assert (one.started(), outcomes(done)) == ({first, second}, [])
    assert reasons(done) == {first: "ledger", second: "ledger"}
    assert done.fault == "ledger: intend failed"
    assert (one.did_only("reset"), one.healed) == ([], [frozenset()])
    one.fails = set()
    assert outcomes(run(one)) == [(first, RESET), (second, RESET)]


def test_a_pause_that_cannot_be_read_is_one(bench: Make) -> None:
    """Right before a reset, where the plan was made and the lock is had."""
    one = bench()
    job = one.orphan()
    one.happens["lock"] = lambda: one.happens.update(count_resets=lambda: one.fails.add("pauses"))
    done = run(one)
    assert (reasons(done), one.started(), done.has_lock) == ({job: "ledger"}, {job}, True)
    assert one.did_only("intend", "reset") == []


def test_without_a_ledger_nothing_is_done(bench: Make) -> None:
    """The lock is not even asked for."""
    one = bench()
    job = one.orphan()
    one.fails = {"ledger"}
    done = run(one)
    assert (reasons(done), done.has_lock, done.fault) == ({job: "ledger"}, None, "ledger: cannot be opened")
    assert one.started() == {job}


def test_an_outcome_that_was_not_kept_is_found_out_by_the_next_pass(bench: Make) -> None:
    """The row says what became of the intent; what was not tried waits."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.fails = {"conclude"}
    done = run(one)
    assert (outcomes(done), reasons(done)) == ([(first, RESET)], {second: "ledger"})
    assert one.resets() == [(first, None)]
    one.fails = set()
    assert outcomes(run(one)) == [(first, RESET), (second, RESET)]
    assert one.resets() == [(first, RESET), (second, RESET)]


def test_a_reset_is_counted_once_however_late_its_outcome_is_kept(bench: Make) -> None:
    """Passes in between that could not use the ledger, and saw the row wait, change nothing about it."""
    one = bench()
    one.orphan()
    one.fails = {"conclude"}
    run(one)
    one.fails = {"ledger"}
    run(one)
    run(one)
    one.fails = set()
    run(one)
    assert one.healer.status.heals[RESET] == 1


@pytest.mark.parametrize(
    ("happens", "expected"), [("nothing", FAILED), ("put back", RESET), ("claimed", LOST), ("gone", GONE)]
)
def test_what_another_start_left_open_ends_with_what_is_true(bench: Make, happens: str, expected: Outcome) -> None:
    """A pass that was killed between intent and outcome; the next start has the lock, so nobody else is at work."""
    one = bench()
    job = one.orphan()
    one.fails = {"conclude"}
    one.reset.failing = {job} if happens == "nothing" else set()
    run(one)
    if happens == "claimed":
        one.table.start(int(job), host="web2", pid=7)
    if happens == "gone":
        one.table.finish(int(job))
    one.fails, one.reset.failing = set(), set()
    one.make().run(one.see(reasons={job: Reason.RUNNING}))
    assert one.resets() == [(job, expected)]
    assert one.ledger.journal.open_intents(QUEUE) == ()


def test_an_answer_that_was_lost_is_found_out_by_the_next_pass(bench: Make) -> None:
    """Unknown is not final, and is not counted until it is known."""
    one = bench()
    job = one.orphan()
    one.fails = {"reset"}
    assert outcomes(run(one)) == [(job, Outcome.UNKNOWN)]
    assert sum(one.healer.status.heals.values()) == 0
    one.fails = set()
    assert outcomes(run(one)) == [(job, RESET)]
    assert (one.resets(), one.healer.status.heals[RESET]) == ([(job, RESET)], 1)


# --- Rows that moved


@pytest.mark.parametrize(("when", "is_intended"), [("lock", False), ("reread", True)])
@pytest.mark.parametrize("outcome", [GONE, LOST])
def test_a_row_that_moved_is_left_alone(bench: Make, when: str, is_intended: bool, outcome: Outcome) -> None:
    """Before it is read again, there is no intent; after it, the reset itself compares."""
    one = bench()
    job = one.orphan()
    one.happens[when] = lambda: one.table.finish(int(job)) if outcome is GONE else one.claim_again(job)
    done = run(one)
    assert outcomes(done) == [(job, outcome)]
    assert one.resets() == ([(job, outcome)] if is_intended else [])
    assert one.started() == (set() if outcome is GONE else {job})
    assert one.healed[-1] == frozenset()
    assert one.healer.status.heals == {RESET: 0, GONE: 0, LOST: 0, FAILED: 0, Outcome.DRY_RUN: 0, outcome: 1}


def test_a_row_that_cannot_be_read_ends_the_pass(bench: Make) -> None:
    """In doubt, nothing is written."""
    one = bench()
    job = one.orphan()
    one.fails = {"reread"}
    done = run(one)
    assert (done.fault, one.started(), one.resets()) == ("the row cannot be read", {job}, [])


# --- Failures


def test_three_failures_end_a_pass_and_go_last_in_the_next(bench: Make) -> None:
    """A few rows that are locked keep the others waiting once, not for ever."""
    one = bench()
    jobs = [one.orphan(ago=f"{minutes}m") for minutes in (60, 50, 40, 30, 20)]
    one.reset.failing = set(jobs[:3])
    done = run(one)
    assert outcomes(done) == [(job, FAILED) for job in jobs[:3]]
    assert (reasons(done), done.fault) == (dict.fromkeys(jobs[3:], "lock"), "the row is locked")
    again = run(one)
    assert outcomes(again) == [(jobs[3], RESET), (jobs[4], RESET), *((job, FAILED) for job in jobs[:3])]
    assert one.started() == set(jobs[:3])


def test_failures_reset_nothing_and_use_up_no_budget(bench: Make) -> None:
    """It is known of them that they put nothing back."""
    one = bench(max_resets_per_job={"resets": 1, "within": "24h"}, max_resets_per_hour=1)
    job = one.orphan()
    one.reset.failing = {job}
    assert [outcomes(run(one)) for _ in range(3)] == [[(job, FAILED)]] * 3
    one.reset.failing = set()
    assert outcomes(run(one)) == [(job, RESET)]
