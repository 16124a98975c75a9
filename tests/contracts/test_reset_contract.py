"""What every reset does, whatever the system: put one row back if it is exactly what was judged, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.jobs import JobId
from healers.outcomes import Outcome
from healers.resets.reconciliation import reconcile

from .reset_benches import SYSTEMS, ResetBench, attempt_of, claim_of, opened


@pytest.fixture(params=SYSTEMS)
def bench(request: pytest.FixtureRequest) -> Iterator[ResetBench]:
    """Each system in turn, empty."""
    with opened(request.param, request) as made:
        yield made


def test_an_orphan_is_put_back_and_no_other_row_is_touched(bench: ResetBench) -> None:
    """The values that the poll read compare equal in the database; all other rows are as they were."""
    orphan, other = bench.start(), bench.start()
    before = bench.rows()
    claim, reset = claim_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0) as is_had:
        assert is_had
        (row,) = reset.reread([claim.key]).values()
        concluded = reset.reset(claim)
        after = reset.reread([claim.key])[claim.key]
    assert (row.claim, row.is_started, row.is_put_back) == (claim, True, False)
    assert (concluded.key, concluded.outcome) == (claim.key, Outcome.RESET)
    assert (after.is_started, after.is_put_back) == (False, True)
    assert bench.is_back(orphan)
    assert {key: value for key, value in bench.rows().items() if key != orphan} == {other: before[other]}


@pytest.mark.parametrize("number", range(8))
def test_a_row_that_changed_in_one_thing_is_left_alone(bench: ResetBench, number: int) -> None:
    """State, start, host, pid, heartbeat: whichever it is, the row that is there now is another's."""
    if number >= len(bench.changes):
        return
    orphan = bench.start()
    claim, reset = claim_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0):
        bench.change(orphan, bench.changes[number])
        before = bench.rows()
        concluded = reset.reset(claim)
    assert (concluded.outcome, bench.rows()) == (Outcome.LOST_RACE, before)


def test_a_row_that_is_gone_is_gone(bench: ResetBench) -> None:
    """It was finished between rereading and resetting."""
    orphan, other = bench.start(), bench.start()
    claim, reset = claim_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0):
        assert len(reset.reread([claim.key])) == 1
        bench.finish(orphan)
        assert reset.reread([claim.key]) == {}
        concluded = reset.reset(claim)
    assert (concluded.outcome, set(bench.rows())) == (Outcome.GONE, {other})


def test_the_id_alone_makes_no_other_row_the_same(bench: ResetBench) -> None:
    """Two rows that are equal but for their ids are two rows."""
    orphan, other = bench.start(), bench.start()
    claim = claim_of(bench, orphan)
    moved = replace(claim, key=replace(claim.key, job_id=JobId(str(max(int(orphan), int(other)) + 1))))
    before, reset = bench.rows(), bench.make()
    with reset.lock(wait_seconds=0):
        assert reset.reset(moved).outcome is Outcome.GONE
    assert bench.rows() == before


def test_a_reset_is_done_once(bench: ResetBench) -> None:
    """What was put back already is a lost race."""
    orphan = bench.start()
    claim, reset = claim_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0):
        assert [reset.reset(claim).outcome for _ in range(2)] == [Outcome.RESET, Outcome.LOST_RACE]


def test_one_healer_at_a_time(bench: ResetBench) -> None:
    """A second one does not get the lock until the first has given it back."""
    first, second = bench.make(), bench.make()
    with first.lock(wait_seconds=0) as is_first, second.lock(wait_seconds=0.15) as is_second:
        assert (is_first, is_second) == (True, False)
    with second.lock(wait_seconds=0) as is_second:
        assert is_second


def test_without_the_lock_nothing_is_written(bench: ResetBench) -> None:
    """Neither outside of it, nor where another healer has it."""
    orphan = bench.start()
    claim, before = claim_of(bench, orphan), bench.rows()
    first, second = bench.make(), bench.make()
    assert first.reset(claim).outcome is Outcome.FAILED
    with first.lock(wait_seconds=0), second.lock(wait_seconds=0):
        assert second.reset(claim).outcome is Outcome.FAILED
    assert bench.rows() == before


def test_no_keys_are_no_rows(bench: ResetBench) -> None:
    """An empty list means nothing, never everything."""
    bench.start()
    reset = bench.make()
    with reset.lock(wait_seconds=0):
        assert reset.reread([]) == {}


def test_a_later_start_finds_out_what_became_of_an_intent(bench: ResetBench) -> None:
    """Unchanged, put back, or gone: the row says it."""
    orphan = bench.start()
    attempt, reset = attempt_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0):
        found = [reconcile(attempt.claim, reset.reread([attempt.key]).get(attempt.key)).outcome]
        reset.reset(attempt.claim)
        found.append(reconcile(attempt.claim, reset.reread([attempt.key]).get(attempt.key)).outcome)
        bench.finish(orphan)
        found.append(reconcile(attempt.claim, reset.reread([attempt.key]).get(attempt.key)).outcome)
    assert found == [Outcome.FAILED, Outcome.RESET, Outcome.GONE]
