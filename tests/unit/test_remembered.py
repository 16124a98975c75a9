"""What is remembered is shared where it does not change, and bounded."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.jobs import AttemptKey, JobId, QueueName
from healers import sightings as module
from healers.remembered import ByQueue, Latest
from healers.sightings import AttemptSighting, Learned, Sightings, Unkept, notice
from tests.builders import NOON, an_attempt

P, Q = QueueName("p"), QueueName("q")


def a_key(queue: QueueName, job_id: str) -> AttemptKey:
    """Return the key of an attempt."""
    return replace(an_attempt().key, queue=queue, job_id=JobId(job_id))


def test_a_change_of_one_queue_copies_no_other() -> None:
    """What there was stays as it was, for whoever reads it meanwhile."""
    one, two, other = a_key(Q, "1"), a_key(Q, "2"), a_key(P, "1")
    before = ByQueue({one: 1, other: 3})
    after = before.changed({two: 2}, gone=[one])
    assert before == {one: 1, other: 3}
    assert after == {two: 2, other: 3}
    assert after.of(P) is before.of(P)
    assert (len(after), list(after.of(Q)), after.get(one)) == (2, [two], None)


def test_of_a_queue_without_attempts_nothing_stays() -> None:
    """Queues come and go with reloads."""
    one = a_key(Q, "1")
    gone = ByQueue({one: 1}).changed({}, gone=[one, a_key(P, "9")])
    assert gone == {}
    assert not gone._queues


def test_the_latest_of_each_queue_stay() -> None:
    """What comes again is new; other queues lose nothing by it."""
    before = Latest([(Q, 1), (P, 1), (Q, 2), (Q, 3)], most=3)
    after = before.added([(Q, 1), (Q, 4)])
    assert set(before) == {(Q, 1), (Q, 2), (Q, 3), (P, 1)}
    assert set(after) == {(Q, 3), (Q, 1), (Q, 4), (P, 1)}
    assert (Q, 2) not in after
    assert after - before == {(Q, 4)}


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_polls_leave_out_is_remembered_but_not_without_end(
    is_complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows are started than are read, and they change all the time."""
    monkeypatch.setattr(module, "UNSEEN_REMEMBERED", 10)
    known = Sightings()
    for turn in range(20):
        started = [an_attempt(f"{turn}-{number}") for number in range(5)]
        at = NOON + timedelta(seconds=15 * turn)
        known = known.learn(notice(started, known, queue=Q, at=at, is_complete=is_complete))
    first = 19 if is_complete else 17
    expected = {f"{turn}-{number}" for turn in range(first, 20) for number in range(5)}
    assert {key.job_id for key in known.attempts} == expected


def test_what_cannot_be_kept_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger may fail for days, and where nothing is healed there is none."""
    monkeypatch.setattr(module, "UNSEEN_REMEMBERED", 10)
    unkept = Unkept()
    for turn in range(100):
        seen = AttemptSighting(first_seen_at=NOON)
        unkept.add(Learned(attempts={a_key(Q, str(turn)): seen}, workers=frozenset({(Q, "web1", turn)})))
        unkept.add(Learned(gone=frozenset({a_key(Q, str(turn))})))
    learned = unkept.as_one()
    assert (len(learned.attempts), len(learned.gone)) == (0, 1)
