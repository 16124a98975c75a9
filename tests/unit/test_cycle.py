"""One pass: what is done in which order, what ends it, and what is left behind whatever ends it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.errors import ReadError
from healers.beliefs import Moment
from healers.braking import BudgetClock
from healers.breaker import BreakerState
from healers.ledger import RecordedRefusal
from healers.options import HealingOptions
from healers.outcomes import Outcome
from healers.reasons import Reason
from tests.builders import BOOTED_FOR, NOON, a_person

from .passes import MINUTE, QUEUE, RESET, Make, outcomes, reasons, run

# --- In order


def test_each_reset_is_intended_before_and_concluded_after(bench: Make) -> None:
    """Lock, brakes read again; then of each: pause, row, intent, note, reset, outcome; the oldest first."""
    one = bench()
    young, old = one.orphan(ago="5m"), one.orphan(ago="20m")
    done = run(one)
    of_each = ["pauses", "reread", "intend", "note"]
    first, second = [*of_each, f"reset {old}", "conclude"], [*of_each, f"reset {young}", "conclude"]
    kinds = ("lock", "unlock", "pauses", "resets_by_job", "reread", "intend", "note", "reset", "conclude")
    under_lock = one.did_only(*kinds)[2:]
    assert under_lock == ["lock", "pauses", "resets_by_job", *first, *second, "unlock"]
    assert outcomes(done) == [(old, RESET), (young, RESET)]
    assert one.resets() == [(old, RESET), (young, RESET)]
    assert one.started() == set()


def test_what_is_intended_says_all_that_it_rests_on(bench: Make) -> None:
    """The claim, the whole row, both proofs, who and when."""
    one = bench()
    job = one.orphan()
    row = one.table.jobs[int(job)]
    run(one)
    (recorded,) = one.ledger.journal.history()
    intent = recorded.intent  # type: ignore[union-attr]
    assert (intent.row["host"], intent.row["started_at"], intent.claim.key.started) == (
        "web1",
        row.started_at,
        row.started_at,
    )
    assert [proof.seen_at for proof in intent.proofs] == [NOON - timedelta(seconds=35), NOON]
    assert (intent.mode, intent.actor, intent.first_dead_at, intent.at) == (
        "reset",
        "serve",
        intent.proofs[0].seen_at,
        NOON,
    )


def test_the_plan_that_counts_is_made_under_the_lock(bench: Make) -> None:
    """What another healer did until then has used up the budget."""
    one = bench(max_resets_per_hour=1)
    other = one.more()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    seen = one.see()
    other.healer.run(other.see())
    assert outcomes(one.healer.run(seen)) == []
    assert one.started() == {second}
    assert one.resets() == [(first, RESET)]


def test_a_budget_that_is_used_up_until_the_lock_is_had_refuses(bench: Make) -> None:
    """It was free when the pass began."""
    one = bench(max_resets_per_hour=1)
    other = one.more()
    one.orphan(ago="20m")
    left = one.orphan(ago="10m")
    seen, theirs = one.see(), other.see()
    one.happens["count_resets"] = lambda: other.healer.run(theirs)
    done = one.healer.run(seen)
    assert (outcomes(done), set(reasons(done).values()), one.started()) == ([], {"rate"}, {left})


def test_a_wall_clock_that_is_set_refills_no_budget(bench: Make) -> None:
    """Two hours forth, and two passes later, the hour is not over by the clock that nobody sets."""
    one = bench(max_resets_per_hour=1)
    one.orphan(ago="20m")
    left = one.orphan(ago="10m")
    assert reasons(run(one)) == {left: "rate"}
    one.set_by = timedelta(hours=2)
    assert reasons(run(one)) == {left: "clock"}
    assert reasons(run(one)) == {left: "rate"}
    one.set_by = timedelta(0)
    run(one)
    one.pass_time(hours=1, seconds=1)
    assert outcomes(run(one)) == [(left, RESET)]


def test_a_wall_clock_that_was_behind_at_the_start_holds_budgets_back_for_two_days_at_most() -> None:
    """And one that is set forth refills none in a day, whenever it is set."""

    def told(*, days: float, is_ahead: timedelta) -> timedelta:
        """Return how far ahead of the real time budgets are counted from, so long after the start."""
        now = BOOTED_FOR + days * 86400
        real = NOON + timedelta(days=days)
        return clock.read(Moment(at=real + is_ahead, boottime_seconds=now, monotonic_seconds=now)) - real

    year = timedelta(days=365)
    clock = BudgetClock(HealingOptions(), Moment(at=NOON - year, boottime_seconds=BOOTED_FOR, monotonic_seconds=0))
    nothing = timedelta(0)
    assert [told(days=days, is_ahead=nothing) for days in (0.1, 0.9, 1.1, 2.2)] == [-year, -year, -year, nothing]
    assert [told(days=days, is_ahead=year) for days in (2.3, 3.25, 3.3)] == [nothing, nothing, nothing]
    assert told(days=3.4, is_ahead=-year) == -year
    assert told(days=4.5, is_ahead=year) == year


def test_what_nobody_was_asked_about_yet_is_no_refusal_to_record(bench: Make) -> None:
    """A refusal is recorded once for an attempt, so it must say what is wrong and not that it is early."""
    one = bench()
    job = one.orphan(ago="300m")
    for reason in (Reason.NOT_ASKED, Reason.UNREACHABLE, Reason.UNREACHABLE):
        assert reasons(run(one, reasons={job: reason})) == {job: "unknown"}
    assert one.refusals() == [(job, "unknown")]
    (told,) = one.ledger.journal.history()
    assert isinstance(told, RecordedRefusal)
    assert "unreachable" in told.detail
    assert one.healer.status.refusals["unknown"] == 1


def test_without_the_lock_nothing_is_done(bench: Make) -> None:
    """Another healer has it; each job says so."""
    one = bench()
    job = one.orphan()
    with one.more().reset.lock(wait_seconds=0):
        done = run(one)
    assert (done.has_lock, reasons(done), one.started()) == (False, {job: "lock"}, {job})
    assert one.did_only("intend", "reset", "open_intents") == ["open_intents"]
    assert not one.healer.status.is_leader


def test_without_a_write_half_a_pass_only_plans(bench: Make) -> None:
    """As `heal` does that only shows."""
    one = bench()
    job = one.orphan()
    done = one.make(has_reset=False).run(one.see())
    assert (done.has_lock, outcomes(done), one.started()) == (None, [], {job})
    assert ([candidate.attempt.job_id for candidate in done.plan.resets], reasons(done)) == ([job], {})


def test_where_all_are_alive_nothing_is_counted(bench: Make) -> None:
    """An idle pass costs the ledger next to nothing, and needs no lock."""
    one = bench()
    job = one.orphan()
    done = run(one, reasons={job: Reason.RUNNING})
    assert (reasons(done), one.did_only("lock", "resets_by_job", "refuse")) == ({}, [])


# --- Brakes


def test_a_pause_is_seen_before_each_reset(bench: Make) -> None:
    """Whoever pauses does not wait for the end of the pass."""
    one = bench()
    first, second, third = (one.orphan(ago=f"{minutes}m") for minutes in (30, 20, 10))
    one.happens["conclude"] = lambda: one.ledger.brakes.pause(QUEUE, why="work", actor="ann", at=NOON)
    done = run(one)
    assert outcomes(done) == [(first, RESET)]
    assert reasons(done) == {second: "paused", third: "paused"}
    assert one.healer.status.blocked["paused"] == 2
    assert (run(one).has_lock, one.healer.status.mode) == (None, "paused")


def test_the_breaker_opens_and_stops_all(bench: Make) -> None:
    """Workers of all hosts seem dead, and none of them was ever seen alive; it stays open for the next start."""
    one = bench(breaker={"min_hosts": 2})
    jobs = {one.orphan(host=host) for host in ("web1", "web2")}
    done = run(one)
    assert (reasons(done), one.started()) == (dict.fromkeys(jobs, "breaker"), jobs)
    assert one.healer.status.is_breaker_open
    kept = one.ledger.brakes.breaker(QUEUE, BreakerState)
    assert kept is not None
    assert (kept.open_since, kept.dead_hosts, kept.hosts) == (NOON, 2, 2)
    assert set(reasons(one.make().run(one.see())).values()) == {"breaker"}


def test_a_plan_that_is_only_shown_opens_no_breaker(bench: Make) -> None:
    """Nor does it count, record or tell anything."""
    one = bench(breaker={"min_hosts": 2})
    for host in ("web1", "web2"):
        one.orphan(host=host)
    before = one.healer.status
    done = one.healer.run(one.see(), person=a_person(applies=False))
    assert set(reasons(done).values()) == {"breaker"}
    assert one.ledger.brakes.breaker(QUEUE, BreakerState) is None
    assert (one.healer.status, one.resets(), one.refusals()) == (before, [], [])


def test_two_healers_spend_one_budget(bench: Make) -> None:
    """It is counted from the journal, by hour and by job."""
    one = bench(max_resets_per_hour=3, max_resets_per_job={"resets": 2, "within": "24h"})
    other = one.more()
    job = one.orphan()
    for healer in (one, other, one):
        run(healer)
        if job not in one.started():
            one.table.start(int(job), host="web1", pid=100)
            one.set_clock(one.at + 5 * MINUTE)
            other.set_clock(one.at)
    assert (reasons(run(other)), one.resets()) == ({job: "quarantined"}, [(job, RESET)] * 2)
    jobs = [one.orphan(ago="20m"), one.orphan(ago="10m")]
    assert reasons(run(one)) == {job: "quarantined", jobs[1]: "rate"}
    assert reasons(run(other)) == {job: "quarantined", jobs[1]: "rate"}


# --- Dry runs, people, and the end


def test_a_dry_run_writes_nothing_and_is_recorded_once(bench: Make) -> None:
    """It needs no lock, and says each time what it would do."""
    one = bench(mode="dry_run")
    job = one.orphan()
    plans = [run(one).plan for _ in range(3)]
    assert [[candidate.attempt.job_id for candidate in plan.resets] for plan in plans] == [[job]] * 3
    assert (one.did_only("lock", "intend", "reset"), one.started()) == ([], {job})
    assert one.resets() == [(job, Outcome.DRY_RUN)]
    assert one.healer.status.heals[Outcome.DRY_RUN] == 1


def test_attempts_that_end_by_a_reset_are_told_before_it_is_done(bench: Make) -> None:
    """A poll right after the reset has to know; those that ended otherwise are taken back."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.reset.failing = {second}
    seen = one.see()
    keys = {str(attempt.job_id): attempt.key for attempt in seen.held.watched.started}
    one.healer.run(seen)
    both = frozenset({keys[first], keys[second]})
    only = frozenset({keys[first]})
    assert one.healed == [only, both, only]
    assert one.did_only("note", "reset")[:4] == ["note", f"reset {first}", "note", f"reset {second}"]
    assert one.healer.run(one.see(reasons={second: Reason.RUNNING})).concluded == ()
    assert one.healed[-1] == frozenset()


def test_where_the_lock_cannot_be_asked_for_a_person_is_told_at_once(bench: Make) -> None:
    """`serve` goes on, and says what keeps it."""
    one = bench()
    job = one.orphan()
    one.fails = {"lock"}
    with pytest.raises(ReadError, match="cannot be reached"):
        one.healer.run(one.see(), person=a_person())
    done = run(one)
    assert (done.fault, reasons(done)) == ("the database cannot be reached", {job: "lock"})


def test_a_person_puts_back_what_they_chose(bench: Make) -> None:
    """The others are neither planned nor refused."""
    one = bench(mode="disabled")
    chosen, other = one.orphan(), one.orphan()
    done = one.healer.run(one.see(), person=a_person(), wants=lambda attempt: attempt.job_id == chosen)
    assert (outcomes(done), reasons(done), one.started()) == ([(chosen, RESET)], {}, {other})


def test_the_end_comes_before_the_next_reset(bench: Make) -> None:
    """The one under way is concluded; later passes do nothing more."""
    one = bench()
    first, second = one.orphan(ago="20m"), one.orphan(ago="10m")
    one.happens["reset"] = lambda: one.healer.end(within_seconds=0)
    assert outcomes(run(one)) == [(first, RESET)]
    assert (one.resets(), one.started()) == ([(first, RESET)], {second})
    assert one.healer.end(within_seconds=0)
    assert (outcomes(run(one)), one.started()) == ([], {second})


def test_an_end_that_has_to_wait_says_so(bench: Make) -> None:
    """A pass is under way."""
    one = bench()
    one.orphan()
    said: list[bool] = []
    one.happens["reset"] = lambda: said.append(one.healer.end(within_seconds=0))
    run(one)
    assert said == [False]


def test_a_clock_that_was_set_stops_one_pass(bench: Make) -> None:
    """Ages and budgets are not true then; the next pass has nothing against it."""
    one = bench()
    job = one.orphan()
    run(one, reasons={job: Reason.RUNNING})
    seen = one.see()
    boot = seen.moment.boottime_seconds
    one.set_clock(NOON + timedelta(hours=2))
    jumped = one.see()
    moved = replace(jumped.moment, boottime_seconds=boot)
    assert reasons(one.healer.run(replace(jumped, moment=moved))) == {job: "clock"}
    assert one.started() == {job}
