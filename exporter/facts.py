"""Derive facts from one snapshot and the history before it; pure.

A job without `started` waits; it is never stuck. A started job is stuck under the first reason that fits: no start time
(Matomo 5.2 and later never takes such a row back), no first heartbeat, a heartbeat that is silent for too long, or its
age where the system has no heartbeats. An age that cannot be true makes nobody stuck.
In: Snapshot of n jobs, its History. Out: Facts; O(started attempts). Raises nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .jobs import Attempt, AttemptKey, LastSuccess, Snapshot, State, WorkerSigns
from .labels import OTHER
from .options import QueueOptions
from .tracker import NO_HOST, History, count_by_state

LEAST_FOR_RATIO = 10


class StuckReason(StrEnum):
    """Why a started job looks stuck, in the order of matching."""

    NO_START_TIME = "no_start_time"
    NEVER_INITIALISED = "never_initialised"
    HEARTBEAT_LOST = "heartbeat_lost"
    OVER_AGE = "over_age"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The load of one host, as its rows record it; `oldest_age` is None where no attempt has a usable start time."""

    started: int
    workers: int
    max_jobs_per_worker: int
    overdue: int
    stuck: Mapping[StuckReason, int]
    oldest_age: timedelta | None
    oldest_worker_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The numbers of one snapshot; every mapping is by label. `stuck` names the attempts."""

    jobs: Mapping[tuple[State, str], int]
    oldest_waiting: Mapping[str, timedelta | None]
    hosts: Mapping[str, HostFacts]
    heartbeat_age: Mapping[str, timedelta]
    last_success: Mapping[str, LastSuccess]
    initialisation_ratio: float | None
    timeout_ratio: float | None
    labels_dropped: Mapping[str, int]
    stuck: Mapping[AttemptKey, StuckReason]
    overdue: frozenset[AttemptKey]

    def count(self, state: State) -> int:
        """Count the jobs of one state."""
        return sum(number for (one, _), number in self.jobs.items() if one is state)


def derive_facts(snapshot: Snapshot, history: History, options: QueueOptions, signs: WorkerSigns) -> Facts:
    """Derive everything that is published about the snapshot; `history` already includes it."""
    reasons = {
        attempt.key: _stuck_reason(attempt, history.silences.get(attempt.key), options, signs)
        for attempt in snapshot.started
    }
    stuck = {key: reason for key, reason in reasons.items() if reason}
    overdue = frozenset(attempt.key for attempt in snapshot.started if _is_overdue(attempt, options))
    return Facts(
        jobs=_jobs(snapshot, history),
        oldest_waiting=_oldest_waiting(snapshot, history),
        hosts=_hosts(snapshot, history, stuck, overdue),
        heartbeat_age=_heartbeat_age(snapshot, history),
        last_success=_last_success(snapshot, history),
        initialisation_ratio=_initialisation_ratio(snapshot),
        timeout_ratio=_timeout_ratio(history, len(overdue)),
        labels_dropped={
            "host": history.hosts.dropped(map(history.host_of, snapshot.started)),
            "kind": history.kinds.dropped(kind for _, kind in count_by_state(snapshot)),
            "report": snapshot.breakdown.reports_left_out if snapshot.breakdown else 0,
        },
        stuck=stuck,
        overdue=overdue,
    )


def _stuck_reason(
    attempt: Attempt, silence: timedelta | None, options: QueueOptions, signs: WorkerSigns
) -> StuckReason | None:
    limit = options.stuck_after
    if not attempt.has_start_time:
        return StuckReason.NO_START_TIME
    if not signs.has_heartbeats:
        return StuckReason.OVER_AGE if attempt.age is not None and attempt.age >= limit else None
    if silence is None:
        return StuckReason.NEVER_INITIALISED if attempt.age is not None and attempt.age >= limit else None
    return StuckReason.HEARTBEAT_LOST if silence >= limit else None


def _is_overdue(attempt: Attempt, options: QueueOptions) -> bool:
    return options.timeout_after is not None and attempt.age is not None and attempt.age >= options.timeout_after


def _jobs(snapshot: Snapshot, history: History) -> dict[tuple[State, str], int]:
    jobs = {(state, kind): 0 for kind in history.enqueued for state in State}
    for (state, kind), number in count_by_state(snapshot).items():
        jobs[state, history.kinds.label(kind)] += number
    return jobs


def _oldest_waiting(snapshot: Snapshot, history: History) -> dict[str, timedelta | None]:
    oldest: dict[str, timedelta | None] = dict.fromkeys(history.enqueued)
    for waiting in snapshot.waiting:
        label = history.kinds.label(waiting.kind)
        if waiting.oldest_age is not None:
            oldest[label] = max(waiting.oldest_age, oldest[label] or waiting.oldest_age)
    return oldest


def _heartbeat_age(snapshot: Snapshot, history: History) -> dict[str, timedelta]:
    ages: dict[str, timedelta] = {}
    for attempt in snapshot.started:
        silence = history.silences.get(attempt.key)
        if silence is not None:
            label = history.kinds.label(attempt.kind)
            ages[label] = max(silence, ages.get(label, silence))
    return ages


def _last_success(snapshot: Snapshot, history: History) -> dict[str, LastSuccess]:
    """Return the last success by label: of the kinds that share `other`, the one that is longest ago."""
    last: dict[str, LastSuccess] = {}
    for success in snapshot.last_successes:
        label = history.kinds.label(success.kind)
        if label not in last or success.age > last[label].age:
            last[label] = success
    return last


def _initialisation_ratio(snapshot: Snapshot) -> float | None:
    """Divide the runs that got a heartbeat by all that were started within the window; None where there was none."""
    beginnings = snapshot.beginnings
    return beginnings.initialised / beginnings.started if beginnings and beginnings.started else None


def _hosts(
    snapshot: Snapshot, history: History, stuck: Mapping[AttemptKey, StuckReason], overdue: frozenset[AttemptKey]
) -> dict[str, HostFacts]:
    """Add up by host; attempts beyond the limit of what is read have no host and count as `other`."""
    by_host: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in snapshot.started:
        by_host[history.hosts.label(history.host_of(attempt))].append(attempt)
    since: dict[str, datetime] = {}
    for worker in history.workers.values():
        label = history.hosts.label(worker.host)
        since[label] = min(worker.since, since.get(label, worker.since))
    left_out = sum(snapshot.started_left_out.values())
    labels = {NO_HOST, *by_host, *since, *([OTHER] if left_out else [])}
    return {
        label: _host(
            by_host[label],
            history=history,
            stuck=Counter(stuck[attempt.key] for attempt in by_host[label] if attempt.key in stuck),
            overdue=sum(attempt.key in overdue for attempt in by_host[label]),
            left_out=left_out if label == OTHER else 0,
            oldest_worker_at=since.get(label),
        )
        for label in sorted(labels)
    }


def _host(
    attempts: list[Attempt],
    *,
    history: History,
    stuck: Mapping[StuckReason, int],
    overdue: int,
    left_out: int,
    oldest_worker_at: datetime | None,
) -> HostFacts:
    workers = Counter(
        (history.host_of(attempt), attempt.pid_text) for attempt in attempts if attempt.pid_text is not None
    )
    return HostFacts(
        started=len(attempts) + left_out,
        workers=len(workers),
        max_jobs_per_worker=max(workers.values(), default=0),
        overdue=overdue,
        stuck={reason: stuck.get(reason, 0) for reason in StuckReason},
        oldest_age=max((attempt.age for attempt in attempts if attempt.age is not None), default=None),
        oldest_worker_at=oldest_worker_at,
    )


def _timeout_ratio(history: History, overdue: int) -> float | None:
    """Divide what timed out by what ended, within the window; None where too little happened to say."""
    base = sum(slot.ended for slot in history.slots) + overdue
    if base < LEAST_FOR_RATIO:
        return None
    return min(1.0, (sum(slot.crossed for slot in history.slots) + overdue) / base)
