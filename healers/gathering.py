"""Gather the candidates of one pass from what polls, hosts and the ledger said; pure.

In: what is held of a queue's attempts. Out: one candidate for each started attempt, alive ones too; O(attempts).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exporter.collector import QueueStatus
from exporter.jobs import Attempt, AttemptKey

from .beliefs import Moment, QueueBeliefs
from .breaker import is_enrolled
from .candidates import Candidate
from .proofs import is_confirmed
from .sightings import Sightings


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a pass goes by: the latest poll, what is held of its attempts, and what hosts said of themselves.

    `witnesses`: by attempt, the hosts whose last answer is usable and about it. `loads`: by host, per processor.
    """

    status: QueueStatus
    held: QueueBeliefs
    sightings: Sightings
    witnesses: Mapping[AttemptKey, frozenset[str]]
    loads: Mapping[str, float | None]
    moment: Moment


def gather(seen: Seen, *, count_resets: Callable[[Attempt], int | None]) -> tuple[Candidate, ...]:
    """Return the candidates; a suspicion of another claim than the row's confirms nothing."""
    return tuple(_candidate(attempt, seen, count_resets(attempt)) for attempt in seen.held.watched.started)


def renew(candidate: Candidate, held: QueueBeliefs, *, boottime_seconds: float) -> Candidate | None:
    """Return a candidate as it is believed now; None where nothing is held of its attempt any more."""
    key = candidate.attempt.key
    verdict, suspect = held.verdicts.get(key), held.suspects.get(key)
    if verdict is None:
        return None
    is_dead = suspect is not None and suspect.claim == candidate.attempt.claim
    return replace(
        candidate,
        verdict=verdict,
        is_confirmed=is_dead and suspect is not None and is_confirmed(suspect, boottime_seconds),
    )


def _candidate(attempt: Attempt, seen: Seen, resets: int | None) -> Candidate:
    suspect = seen.held.suspects.get(attempt.key)
    if suspect is not None and suspect.claim != attempt.claim:
        suspect = None
    still = seen.held.stillness.get(attempt.key)
    sighting = seen.sightings.attempts.get(attempt.key)
    return Candidate(
        attempt=attempt,
        verdict=seen.held.verdicts[attempt.key],
        hosts=seen.witnesses.get(attempt.key, frozenset()),
        is_confirmed=suspect is not None and is_confirmed(suspect, seen.moment.boottime_seconds),
        dead_at=None if suspect is None else suspect.first_dead_at,
        is_enrolled=is_enrolled(attempt, seen.sightings),
        first_seen_at=None if sighting is None else sighting.first_seen_at,
        resets=resets,
        first_verdict=None if suspect is None else suspect.first_verdict,
        still_for=still.lasted if still is not None and still.claim == attempt.claim and still.snapshots > 1 else None,
    )
