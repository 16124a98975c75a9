"""An orphan that waits a second time as another row is put back like any: a reset deletes neither of the two."""

from collections.abc import Iterator

import pytest

from healers.outcomes import Outcome

from .reset_benches import MatomoResets, TableResets, attempt_of, opened

Bench = MatomoResets | TableResets


@pytest.fixture(params=["matomo", "table-sqlite", "table-mariadb", "table-postgres"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each system whose jobs wait, in turn, empty."""
    with opened(request.param, request) as made:
        assert isinstance(made, MatomoResets | TableResets)
        yield made


def test_an_orphan_whose_twin_waits_is_put_back_beside_it(bench: Bench) -> None:
    """At worst it is worked on twice; where two programs delete, both rows may be lost."""
    orphan = bench.start()
    (twin,) = bench.bench.enqueue()
    before = bench.rows()
    attempt, reset = attempt_of(bench, orphan), bench.make()
    with reset.lock(wait_seconds=0):
        assert reset.reset(attempt.claim).outcome is Outcome.RESET
    assert bench.is_back(orphan)
    assert bench.is_back(twin)
    assert {job: row for job, row in bench.rows().items() if job != orphan} == {twin: before[twin]}
    assert bench.rows().keys() == {orphan, twin}


def test_twins_that_are_both_orphaned_are_both_put_back(bench: Bench) -> None:
    """Each by its own id, once."""
    orphans = {bench.start(), bench.start()}
    claims = [attempt_of(bench, orphan).claim for orphan in orphans]
    reset = bench.make()
    with reset.lock(wait_seconds=0):
        assert [reset.reset(claim).outcome for claim in claims] == [Outcome.RESET, Outcome.RESET]
    assert bench.rows().keys() == orphans
    assert all(map(bench.is_back, orphans))
