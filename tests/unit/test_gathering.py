"""What is gathered of each attempt, and whose suspicion counts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.collector import QueueStatus
from exporter.jobs import Attempt, QueueName
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from healers.beliefs import Moment, QueueBeliefs
from healers.candidates import Candidate
from healers.gathering import Seen, gather
from healers.proofs import Proof, Suspect
from healers.reasons import Reason
from healers.rounds import Watched
from healers.sightings import AttemptSighting, Enrolment, Sightings
from tests.builders import BOOTED_FOR, MACHINE, NOON, a_verdict, an_attempt

Q = QueueName("q")


def a_status() -> QueueStatus:
    """Return the status of a queue that was not polled."""
    return Poller(
        MemoryQueue(Q), QueueOptions(), aliases={}, server_slots=ServerSlots(1), publish=lambda *_: None
    ).status


def a_proof(ago: float) -> Proof:
    """Return a proof that was taken so many seconds ago."""
    seconds = BOOTED_FOR - ago
    return Proof(witnesses=frozenset(), is_fresh=True, began_seconds=seconds, ended_seconds=seconds)


def a_suspect(attempt: Attempt, first: float = 40, second: float | None = 5) -> Suspect:
    """Return an attempt that was judged dead so many seconds ago, and perhaps again."""
    verdict = a_verdict(attempt, Reason.NO_PROCESS)
    return Suspect(
        claim=attempt.claim,
        verdict=verdict,
        first_verdict=replace(verdict, seen_at=NOON - timedelta(seconds=first)),
        first=a_proof(first),
        second=None if second is None else a_proof(second),
    )


def gather_one(
    attempt: Attempt,
    suspect: Suspect | None,
    *,
    sightings: Sightings | None = None,
    witnesses: frozenset[str] | None = None,
    resets: int | None = 0,
) -> Candidate:
    """Gather the only attempt of a queue at noon."""
    seen = Seen(
        status=a_status(),
        held=QueueBeliefs(
            watched=Watched(started=(attempt,), signs=MemoryQueue(Q).signs, read_seconds=BOOTED_FOR),
            verdicts={attempt.key: a_verdict(attempt, Reason.NO_PROCESS)},
            suspects={} if suspect is None else {attempt.key: suspect},
        ),
        sightings=sightings or Sightings(),
        witnesses={} if witnesses is None else {attempt.key: witnesses},
        loads={},
        moment=Moment(at=NOON, boottime_seconds=BOOTED_FOR, monotonic_seconds=0),
    )
    (candidate,) = gather(seen, count_resets=lambda _: resets)
    return candidate


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (40, 5, True),
        (40, None, False),
        (300, 5, True),
        (301, 5, False),  # the first has expired
        (-1, -2, False),  # of another boot of this machine
    ],
)
def test_two_proofs_that_count_confirm(first: float, second: float | None, expected: bool) -> None:
    """By the boot clock of the pass."""
    attempt = an_attempt()
    candidate = gather_one(attempt, a_suspect(attempt, first, second))
    assert (candidate.is_confirmed, candidate.dead_at) == (expected, NOON - timedelta(seconds=first))


@pytest.mark.parametrize(
    "other",
    [
        an_attempt(heartbeat="11:59:30"),
        an_attempt(started="2026-11-22 11:59:01"),
        an_attempt(pid="101"),
        an_attempt(host="web2"),
    ],
)
def test_a_suspicion_of_another_claim_confirms_nothing(other: Attempt) -> None:
    """The row claims something else by now: neither its proofs nor their date are of this attempt."""
    candidate = gather_one(an_attempt(), a_suspect(other))
    assert (candidate.is_confirmed, candidate.dead_at, candidate.first_verdict) == (False, None, None)


def test_one_that_is_no_suspect_is_not_dead_since_anything() -> None:
    """There is nothing to confirm."""
    candidate = gather_one(an_attempt(), None)
    assert (candidate.is_confirmed, candidate.dead_at, candidate.first_verdict) == (False, None, None)


def test_what_is_remembered_and_counted_comes_along() -> None:
    """When it was first seen, whether it was enrolled, who answered about it, and how often its job was put back."""
    attempt = an_attempt()
    enrolment = Enrolment(machine_id=MACHINE, boot_id="boot-1", pid=100, start_ticks=1, seen_at=NOON)
    sightings = Sightings(attempts={attempt.key: AttemptSighting(first_seen_at=NOON, enrolment=enrolment)})
    hosts = frozenset({"web1"})
    full = gather_one(attempt, a_suspect(attempt), sightings=sightings, witnesses=hosts, resets=2)
    assert (full.first_seen_at, full.is_enrolled, full.hosts, full.resets) == (NOON, True, hosts, 2)
    bare = gather_one(attempt, None, resets=None)
    assert (bare.first_seen_at, bare.is_enrolled, bare.hosts, bare.resets) == (None, False, frozenset(), None)
    assert full.first_verdict == a_suspect(attempt).first_verdict
