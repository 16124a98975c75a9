"""What a pass leaves behind where the ledger fails, rows moved, or nothing can be written."""

import pytest

from healers.braking import Held
from healers.outcomes import Outcome
from healers.reasons import Reason
from tests.builders import a_person, an_attempt

from .passes import FAILED, GONE, LOST, QUEUE, RESET, Make, outcomes, reasons, run

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
    assert (one.did_only("reset"), one.healed) == ([], [])
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


def test_a_job_that_the_ledger_was_not_asked_about_has_no_count() -> None:
    """It is not one that was never put back."""
    asked, other = an_attempt("1"), an_attempt("2")
    held = Held(resets_by_job={asked.natural_key: 0})
    assert (held.count_resets(asked), held.count_resets(other)) == (0, None)


def test_without_a_ledger_nothing_is_done(bench: Make) -> None:
    """The lock is not even asked for."""
    one = bench()
    job = one.orphan()
    one.fails = {"ledger"}
    done = run(one)
    assert (reasons(done), done.has_lock, done.fault) == ({job: "ledger"}, None, "ledger: cannot be opened")
    assert one.started() == {job}


def test_an_outcome_that_was_not_kept_is_kept_by_the_next_pass(bench: Make) -> None:
    """It is known what became of the intent; what was not tried waits."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.fails = {"conclude"}
    done = run(one)
    assert (outcomes(done), reasons(done)) == ([(first, RESET)], {second: "ledger"})
    assert one.resets() == [(first, None)]
    one.fails = set()
    assert outcomes(run(one)) == [(second, RESET)]
    assert one.resets() == [(first, RESET), (second, RESET)]


def test_an_outcome_that_is_known_is_kept_as_it_was_whatever_the_row_says_by_then(bench: Make) -> None:
    """A worker may have claimed the job meanwhile; budgets count the reset all the same, and it is counted once."""
    one = bench()
    job = one.orphan()
    one.fails = {"conclude"}
    run(one)
    one.table.start(int(job), host="web2", pid=7)
    one.fails = set()
    one.healer.run(one.see(reasons={job: Reason.RUNNING}))
    assert one.resets() == [(job, RESET)]
    heals = one.healer.status.heals
    assert (heals[RESET], heals[LOST]) == (1, 0)


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
    assert one.healed[-1:] in ([], [frozenset()])
    assert one.healer.status.heals == {RESET: 0, GONE: 0, LOST: 0, FAILED: 0, Outcome.DRY_RUN: 0, outcome: 1}


def test_a_row_that_cannot_be_read_is_left_alone_and_keeps_no_others_waiting(bench: Make) -> None:
    """In doubt, nothing is written, nor intended; the others are put back, and it is tried last from then on."""
    one = bench()
    unreadable, other = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.reset.unreadable = {unreadable}
    assert outcomes(run(one)) == [(unreadable, FAILED), (other, RESET)]
    assert one.resets() == [(other, RESET)]
    third = one.orphan(ago="5m")
    assert outcomes(run(one)) == [(third, RESET), (unreadable, FAILED)]
    assert one.started() == {unreadable}


def test_an_intent_whose_row_cannot_be_read_stays_open_and_keeps_no_others_waiting(bench: Make) -> None:
    """It is settled once the row can be read."""
    one = bench()
    first = one.orphan(ago="20m")
    one.fails = {"reset"}
    run(one)
    one.fails, one.reset.unreadable = set(), {first}
    second = one.orphan(ago="10m")
    assert outcomes(run(one)) == [(second, RESET)]
    assert one.resets() == [(first, Outcome.UNKNOWN), (second, RESET)]
    one.reset.unreadable = set()
    assert outcomes(run(one)) == [(first, RESET)]


def test_what_nobody_expected_is_raised_after_what_was_done_is_told(bench: Make) -> None:
    """A fault of the program in the middle of a pass hides no reset before it."""
    one = bench()
    first = one.orphan(ago="20m")
    one.orphan(ago="10m")

    def fail() -> None:
        raise RuntimeError("unexpected")

    one.happens["reset"] = lambda: one.happens.update(intend=fail)
    with pytest.raises(RuntimeError, match="unexpected"):
        run(one)
    assert one.resets()[0] == (first, RESET)
    assert one.healer.status.heals[RESET] == 1


# --- Looked at again before each reset


@pytest.mark.parametrize("reason", [Reason.RUNNING, Reason.TIMEOUT])
def test_who_is_not_held_dead_any_more_is_left_alone(bench: Make, reason: Reason) -> None:
    """A host may answer while others are put back, or fall silent."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    held = one.see().held
    one.happens["reset"] = lambda: beliefs.append(one.see(reasons={second: reason}).held)
    beliefs = [held]
    done = one.healer.run(one.see(), believe=lambda: beliefs[-1])
    assert outcomes(done) == [(first, RESET)]
    assert one.started() == {second}


def test_proofs_that_expire_in_the_middle_of_a_pass_count_no_more(bench: Make) -> None:
    """The machine slept for an hour after the first reset."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.happens["reset"] = lambda: one.pass_time(hours=1)
    done = run(one)
    assert (outcomes(done), reasons(done)) == ([(first, RESET)], {second: "unconfirmed"})


def test_what_is_held_no_more_is_left_alone(bench: Make) -> None:
    """The queue was taken out of the configuration, or is read anew."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    beliefs = [one.see().held, None]
    one.happens["reset"] = beliefs.reverse
    done = one.healer.run(one.see(), believe=lambda: beliefs[0])
    assert (outcomes(done), reasons(done)) == ([(first, RESET)], {second: "unconfirmed"})


def test_a_poll_that_ends_while_the_lock_is_taken_brings_new_jobs_and_hides_no_reset(bench: Make) -> None:
    """They are refused, and told; what was put back is counted."""
    one = bench()
    first = one.orphan()
    seen = one.see()
    beliefs = [seen.held]

    def poll() -> None:
        job = one.orphan(ago="2m")
        beliefs.append(one.see(reasons={job: Reason.NOT_ASKED}).held)

    one.happens["lock"] = poll
    done = one.healer.run(seen, believe=lambda: beliefs[-1])
    assert outcomes(done) == [(first, RESET)]
    assert set(reasons(done).values()) == {"unknown"}
    assert one.healer.status.heals[RESET] == 1


def test_rows_that_cannot_be_written_end_no_pass_of_a_person(bench: Make) -> None:
    """Who comes but once cannot try them last the next time."""
    one = bench()
    jobs = [one.orphan(ago=f"{minutes}m") for minutes in (60, 50, 40, 30)]
    one.reset.failing = set(jobs[:3])
    done = one.healer.run(one.see(), person=a_person())
    assert outcomes(done) == [*((job, FAILED) for job in jobs[:3]), (jobs[3], RESET)]


def test_what_is_settled_is_counted_once_where_it_cannot_be_kept_yet(bench: Make) -> None:
    """The ledger can be read, and not written: each pass finds out the same."""
    one = bench()
    job = one.orphan()
    one.fails = {"reset"}
    run(one)
    one.fails = {"conclude"}
    for _ in range(3):
        one.healer.run(one.see())
    assert one.healer.status.heals[RESET] == 0
    one.fails = set()
    one.healer.run(one.see())
    assert (one.healer.status.heals[RESET], one.resets()) == (1, [(job, RESET)])


def test_a_new_configuration_is_the_one_that_is_recorded(bench: Make) -> None:
    """Also where it leaves the queue as it was."""
    one = bench()
    one.orphan()
    one.healer.use("cafe")
    run(one)
    (recorded,) = one.ledger.journal.history()
    assert recorded.intent.config_digest == "cafe"  # type: ignore[union-attr]


def test_an_account_that_does_not_answer_is_left_alone_for_a_while(bench: Make) -> None:
    """It would hold a thread of all queues each time; a person's pass tries at once."""
    one = bench()
    job = one.orphan()
    one.fails = {"lock"}
    assert reasons(run(one)) == {job: "lock"}
    assert one.healer.is_ailing
    one.fails = set()
    assert reasons(run(one)) == {job: "lock"}
    assert one.did_only("lock") == ["lock"]
    one.pass_time(seconds=16)
    assert outcomes(run(one)) == [(job, RESET)]
    assert not one.healer.is_ailing


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
