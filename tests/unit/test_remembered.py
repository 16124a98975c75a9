"""What is remembered is shared where it does not change, and bounded."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.jobs import AttemptKey, JobId, QueueName
from healers import sightings as module
from healers.remembered import ByQueue, Latest
from healers.sightings import (
    AttemptSighting,
    Boot,
    Enrolment,
    Learned,
    Retired,
    Sightings,
    Unkept,
    latest_machines,
    latest_workers,
    merge,
    notice,
)
from tests.builders import NOON, an_attempt

P, Q = QueueName("p"), QueueName("q")
DAY = timedelta(days=1)


def a_key(queue: QueueName, job_id: str) -> AttemptKey:
    """Return the key of an attempt."""
    return replace(an_attempt().key, queue=queue, job_id=JobId(job_id))


def a_boot(number: int) -> Boot:
    """Return a boot of a machine."""
    return Boot(machine_id="m", boot_id=str(number), first_at=NOON, last_at=NOON)


def a_retirement(why: str) -> Retired:
    """Return the word of a person."""
    return Retired(at=NOON, why=why, actor="ann")


def test_a_change_of_one_queue_copies_no_other() -> None:
    """What there was stays as it was, for whoever reads it meanwhile."""
    one, two, other = a_key(Q, "1"), a_key(Q, "2"), a_key(P, "1")
    before = ByQueue({one: 1, other: 3})
    after = before.changed({two: 2}, gone=[one])
    assert before == {one: 1, other: 3}
    assert after == {two: 2, other: 3}
    assert after.of(P) is before.of(P)
    assert (len(after), list(after.of(Q)), after.get(one)) == (2, [two], None)


def test_what_is_gone_and_there_again_is_there() -> None:
    """What comes later counts: in what is remembered, and in what is yet to be kept."""
    one, seen = a_key(Q, "1"), AttemptSighting(first_seen_at=NOON)
    assert ByQueue({one: 1}).changed({one: 2}, gone=[one]) == {one: 2}
    unkept = Unkept()
    unkept.add(Learned(gone=frozenset({one})))
    unkept.add(Learned(attempts={one: seen}))
    assert unkept.as_one() == Learned(attempts={one: seen})


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


def test_all_that_was_learned_is_to_be_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes several times the latest, of workers and machines no more than is remembered."""
    monkeypatch.setattr(module, "WORKERS_REMEMBERED", 2)
    monkeypatch.setattr(module, "MACHINES_REMEMBERED", 1)
    unkept, one, seen = Unkept(), a_key(Q, "1"), AttemptSighting(first_seen_at=NOON)
    for number in range(1, 4):
        boots = {"web1": (a_boot(number),), f"web{number}": ()}
        workers, proven = frozenset({(Q, "web1", number)}), frozenset({(Q, f"m{number}")})
        unkept.add(Learned(attempts={one: seen}, boots=boots, workers=workers, proven=proven))
        unkept.add(Learned(returned=frozenset({f"web{number}"})))
    assert unkept.as_one() == Learned(
        attempts={one: seen},
        boots={"web1": (a_boot(3),), "web2": (), "web3": ()},
        workers=frozenset({(Q, "web1", 2), (Q, "web1", 3)}),
        proven=frozenset({(Q, "m3")}),
        returned=frozenset({"web1", "web2", "web3"}),
    )


def test_what_is_seen_now_lies_on_top_of_what_an_earlier_run_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the latest. Of attempts that both know, what was asked before the earlier answers were known is forgotten:
    the boot that answered may be one that the earlier run saw, or the first after it.
    """
    monkeypatch.setattr(module, "WORKERS_REMEMBERED", 2)
    monkeypatch.setattr(module, "MACHINES_REMEMBERED", 1)
    both, ours = a_key(Q, "1"), a_key(Q, "2")
    asked = AttemptSighting(first_seen_at=NOON, asked_at=NOON, boots=("m/2",))
    before = AttemptSighting(first_seen_at=NOON - DAY, asked_at=NOON - DAY, boots=("m/1",))
    earlier = Sightings(
        attempts={both: before},
        boots={"web1": (a_boot(1),)},
        retired={"web1": a_retirement("earlier"), "web2": a_retirement("earlier")},
        proven=latest_machines([(Q, "m1")]),
        workers=latest_workers([(Q, "web1", 1), (Q, "web1", 2)]),
    )
    found = Sightings(
        attempts={both: asked, ours: asked},
        boots={"web1": (a_boot(2),), "web2": (a_boot(2),)},
        retired={"web1": a_retirement("now")},
        proven=latest_machines([(Q, "m2")]),
        workers=latest_workers([(Q, "web1", 3)]),
    ).on_top_of(earlier)
    assert found.attempts == {both: before, ours: asked}
    assert found.boots == {"web1": (a_boot(1),), "web2": (a_boot(2),)}
    assert found.retired == {"web1": a_retirement("now"), "web2": a_retirement("earlier")}
    assert (set(found.proven), set(found.workers)) == ({(Q, "m2")}, {(Q, "web1", 2), (Q, "web1", 3)})


def test_who_was_enrolled_first_has_the_job() -> None:
    """Another process under the pid came later; which boots have answered adds up, in turn."""
    first, second = (
        Enrolment(machine_id="m", boot_id="1", pid=100, start_ticks=ticks, seen_at=NOON) for ticks in (1, 2)
    )
    earlier = AttemptSighting(first_seen_at=NOON, asked_at=NOON, enrolment=first, boots=("m/1", "m/2"))
    later = AttemptSighting(first_seen_at=NOON + DAY, asked_at=NOON + DAY, enrolment=second, boots=("m/3", "m/2"))
    assert merge(earlier, later) == replace(earlier, boots=("m/1", "m/3", "m/2"))
    assert merge(replace(earlier, enrolment=None), later).enrolment == second
    assert merge(None, later) == later
