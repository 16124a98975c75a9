"""Compare successive snapshots and keep account of what happened between them; pure.

Rows are deleted when they are done, so what happened is derived. Jobs: ended = before + enqueued - after, and where
that is negative, rows were committed behind the cursor and count as enqueued late. Attempts: those of the last snapshot
that are missing now were restarted, returned, or are gone; shorter ones than the time between polls are never seen.
Nothing is counted at the first snapshot, so that a restart makes no burst; a failed poll keeps the last snapshot.
In: History and a Snapshot. Out: the next History; O(started attempts). Raises nothing.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from .histogram import Histogram
from .jobs import Attempt, AttemptKey, JobId, Kind, Snapshot, State
from .labels import OTHER, Labels
from .options import QueueOptions

NO_HOST = "none"
SLOTS = 60
CLOCK_TOLERANCE = timedelta(seconds=5)


class Ending(StrEnum):
    """What became of an attempt; `healed` is the healer's."""

    GONE = "gone"
    RETURNED = "returned"
    RESTARTED = "restarted"
    HEALED = "healed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What happened in one sixtieth of the window: jobs ended, and attempts, now over, that had crossed the limit."""

    begins_at: datetime
    ended: int = 0
    crossed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One (host, pid) over all the jobs it held, as long as no two polls in a row miss it."""

    host: str
    since: datetime
    missed_polls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of a queue since the program began to watch it; every mapping is by label, not by raw value."""

    hosts: Labels
    kinds: Labels
    aliases: Mapping[str, str]
    previous: Snapshot | None = None
    enqueued: Mapping[str, int]
    ended: Mapping[str, int]
    attempts_started: Mapping[str, int]
    attempts_ended: Mapping[tuple[str, Ending], int]
    timed_out: Mapping[str, int]
    attempt_durations: Mapping[str, Histogram]
    waiting_durations: Mapping[str, Histogram]
    finished: Mapping[tuple[str, str], int]
    finished_durations: Mapping[str, Histogram]
    silences: Mapping[AttemptKey, timedelta]
    crossed: Mapping[AttemptKey, datetime]
    slots: tuple[Slot, ...] = ()
    workers: Mapping[tuple[str, str], Worker]

    @classmethod
    def begin(cls, kinds: Iterable[Kind], options: QueueOptions, *, aliases: Mapping[str, str]) -> Self:
        """Return the history of a queue that was never read; `aliases` has the host's name for each further name."""
        labels = Labels(limit=options.max_kinds).admit(kinds)
        zeros = dict.fromkeys(labels.known, 0)
        histograms = dict.fromkeys(labels.known, Histogram())
        return cls(
            hosts=Labels(limit=options.max_hosts).admit([NO_HOST]),
            kinds=labels,
            aliases=aliases,
            enqueued=zeros,
            ended=zeros,
            attempts_started=zeros,
            attempts_ended={(kind, ending): 0 for kind in labels.known for ending in Ending},
            timed_out=zeros,
            attempt_durations=histograms,
            waiting_durations=histograms,
            finished={},
            finished_durations=histograms,
            silences={},
            crossed={},
            workers={},
        )

    def host_of(self, attempt: Attempt) -> str:
        """Return the host that the row records, under its own name where that is an alias; `none` without one."""
        return NO_HOST if attempt.host is None else self.aliases.get(attempt.host, attempt.host)


def track(
    history: History, snapshot: Snapshot, options: QueueOptions, *, healed: Container[AttemptKey] = frozenset()
) -> History:
    """Return the history with what happened between its last snapshot and this one; `healed` ended by a reset."""
    now = _admit(history, snapshot)
    if history.previous is not None:
        now = _count_jobs(now, history.previous, snapshot, options)
        now = _count_attempts(now, history.previous, snapshot, options, healed)
        now = _count_finished(now, snapshot)
    now = _follow_workers(now, snapshot)
    now = replace(now, silences=_silences(now, snapshot))
    begins_at = snapshot.read_at - options.timeout_window
    slots = tuple(slot for slot in now.slots if begins_at < slot.begins_at <= snapshot.read_at)
    return replace(now, previous=snapshot, slots=slots)


def count_by_state(snapshot: Snapshot) -> dict[tuple[State, Kind], int]:
    """Count the jobs of a snapshot by state and kind, those beyond its limit included."""
    counts: Counter[tuple[State, Kind]] = Counter()
    for waiting in snapshot.waiting:
        counts[State.WAITING, waiting.kind] += waiting.jobs
        counts[State.STARTED, waiting.kind] += 0
    started = Counter(attempt.kind for attempt in snapshot.started)
    for kind, number in (*started.items(), *snapshot.started_left_out.items()):
        counts[State.STARTED, kind] += number
    return dict(counts)


def _admit(history: History, snapshot: Snapshot) -> History:
    """Give new hosts and kinds their labels: those with the most jobs first, so that no crowd of strays comes first."""
    kinds = history.kinds.admit(kind for _, kind in count_by_state(snapshot))
    hosts = history.hosts.admit(host for host, _ in Counter(map(history.host_of, snapshot.started)).most_common())
    new = [*(kind for kind in kinds.known if kind not in history.enqueued)]
    if kinds.dropped(kind for _, kind in count_by_state(snapshot)) and OTHER not in history.enqueued:
        new.append(OTHER)
    zeros, histograms = dict.fromkeys(new, 0), dict.fromkeys(new, Histogram())
    return replace(
        history,
        kinds=kinds,
        hosts=hosts,
        enqueued={**history.enqueued, **zeros},
        ended={**history.ended, **zeros},
        attempts_started={**history.attempts_started, **zeros},
        attempts_ended={**history.attempts_ended, **{(kind, ending): 0 for kind in new for ending in Ending}},
        timed_out={**history.timed_out, **zeros},
        attempt_durations={**history.attempt_durations, **histograms},
        waiting_durations={**history.waiting_durations, **histograms},
        finished_durations={**history.finished_durations, **histograms},
    )


def _count_jobs(history: History, previous: Snapshot, snapshot: Snapshot, options: QueueOptions) -> History:
    before, after = _total(previous), _total(snapshot)
    new: Counter[Kind] = Counter()
    for waiting in snapshot.waiting:
        new[waiting.kind] += waiting.enqueued
    enqueued, ended = Counter(history.enqueued), Counter(history.ended)
    ended_now = 0
    for kind in before.keys() | after.keys() | new.keys():
        label = history.kinds.label(kind)
        rest = before.get(kind, 0) + new.get(kind, 0) - after.get(kind, 0)
        enqueued[label] += new.get(kind, 0) + max(-rest, 0)
        ended[label] += max(rest, 0)
        ended_now += max(rest, 0)
    slots = _add(history.slots, snapshot.read_at, options, ended=ended_now)
    return replace(history, enqueued=enqueued, ended=ended, slots=slots)


def _total(snapshot: Snapshot) -> Counter[Kind]:
    totals: Counter[Kind] = Counter()
    for (_, kind), number in count_by_state(snapshot).items():
        totals[kind] += number
    return totals


def _count_attempts(
    history: History, previous: Snapshot, snapshot: Snapshot, options: QueueOptions, healed: Container[AttemptKey]
) -> History:
    before = {attempt.key: attempt for attempt in previous.started}
    after = {attempt.key: attempt for attempt in snapshot.started}
    elapsed = _elapsed(previous, snapshot)
    history = _count_new(history, [after[key] for key in after.keys() - before.keys()], previous, elapsed)
    history = _count_crossings(history, before, snapshot, options)
    started_ids = {attempt.job_id for attempt in snapshot.started}
    endings = [
        (before[key], Ending.HEALED if key in healed else _ending(before[key], started_ids, snapshot))
        for key in before.keys() - after.keys()
    ]
    return _count_endings(history, endings, elapsed, options)


def _count_new(history: History, new: list[Attempt], previous: Snapshot, elapsed: timedelta) -> History:
    """Count attempts never seen before; behind a limit on how many are read, those younger than a poll."""
    started, durations = Counter(history.attempts_started), dict(history.waiting_durations)
    for attempt in new:
        if previous.started_left_out and (attempt.age is None or attempt.age > elapsed):
            continue
        label = history.kinds.label(attempt.kind)
        started[label] += 1
        if attempt.enqueued_age is not None:
            durations[label] = durations[label].observe(attempt.enqueued_age)
    return replace(history, attempts_started=started, waiting_durations=durations)


def _count_crossings(
    history: History, before: Mapping[AttemptKey, Attempt], snapshot: Snapshot, options: QueueOptions
) -> History:
    """Count attempts that were below the limit at the last poll and are not any more."""
    limit = options.timeout_after
    if limit is None or (history.previous and _is_clock_set(history.previous, snapshot)):
        return history
    timed_out, crossed = Counter(history.timed_out), dict(history.crossed)
    for attempt in snapshot.started:
        last = before.get(attempt.key)
        if last and last.age is not None and last.age < limit and attempt.age is not None and attempt.age >= limit:
            timed_out[history.kinds.label(attempt.kind)] += 1
            crossed[attempt.key] = snapshot.read_at
    return replace(history, timed_out=timed_out, crossed=crossed)


def _count_endings(
    history: History,
    endings: Iterable[tuple[Attempt, Ending | None]],
    elapsed: timedelta,
    options: QueueOptions,
) -> History:
    ended, durations = Counter(history.attempts_ended), dict(history.attempt_durations)
    crossed, slots = dict(history.crossed), history.slots
    for attempt, ending in endings:
        if ending is None:
            continue
        label = history.kinds.label(attempt.kind)
        ended[label, ending] += 1
        if ending is Ending.GONE and attempt.age is not None:
            durations[label] = durations[label].observe(attempt.age + elapsed)
        crossed_at = crossed.pop(attempt.key, None)
        if crossed_at is not None:
            slots = _add(slots, crossed_at, options, crossed=1)
    return replace(history, attempts_ended=ended, attempt_durations=durations, crossed=crossed, slots=slots)


def _ending(attempt: Attempt, started_ids: set[JobId], snapshot: Snapshot) -> Ending | None:
    """Say what became of an attempt; None if it only fell behind the limit on how many are read."""
    if attempt.job_id in started_ids:
        return Ending.RESTARTED
    match snapshot.left_started.get(attempt.job_id):
        case State.WAITING:
            return Ending.RETURNED
        case State.STARTED:
            return None
        case None:
            return Ending.GONE


def _count_finished(history: History, snapshot: Snapshot) -> History:
    counts, durations = Counter(history.finished), dict(history.finished_durations)
    for finished in snapshot.finished:
        label = history.kinds.label(finished.kind)
        counts[label, finished.outcome] += 1
        if finished.duration is not None:
            durations[label] = durations.get(label, Histogram()).observe(finished.duration)
    return replace(history, finished=counts, finished_durations=durations)


def _silences(history: History, snapshot: Snapshot) -> dict[AttemptKey, timedelta]:
    """Say for how long each attempt has shown no new heartbeat, at most; those that never had one have none.

    A heartbeat is dated on its worker's clock, which may be wrong. So its age counts only at first sight: from then on
    a value that does not change grows silent on the database's clock, and one that changed was written since.
    """
    previous = history.previous
    beating = [attempt for attempt in previous.started if attempt.heartbeat_age is not None] if previous else []
    before = {attempt.key: attempt.claim for attempt in beating}
    silences: dict[AttemptKey, timedelta] = {}
    for attempt in snapshot.started:
        if attempt.heartbeat_age is None:
            continue
        silence = attempt.heartbeat_age
        if previous and attempt.claim == before.get(attempt.key):
            silence = history.silences.get(attempt.key, silence) + _elapsed(previous, snapshot)
        elif previous and not previous.started_left_out:
            silence = min(silence, _elapsed(previous, snapshot))
        silences[attempt.key] = silence
    return silences


def _follow_workers(history: History, snapshot: Snapshot) -> History:
    """Date each worker by the earliest attempt it was seen with; between two batches a worker holds nothing."""
    is_clock_set = history.previous is not None and _is_clock_set(history.previous, snapshot)
    ages: dict[tuple[str, str], timedelta] = {}
    for attempt in snapshot.started:
        if attempt.pid_text is not None:
            key, age = (history.host_of(attempt), attempt.pid_text), attempt.age or timedelta(0)
            ages[key] = max(age, ages.get(key, age))
    workers: dict[tuple[str, str], Worker] = {}
    for key, age in ages.items():
        known, since = None if is_clock_set else history.workers.get(key), snapshot.read_at - age
        workers[key] = Worker(host=key[0], since=min(since, known.since) if known else since)
    missed = {
        key: replace(worker, missed_polls=1)
        for key, worker in history.workers.items()
        if key not in workers and worker.missed_polls == 0
    }
    return replace(history, workers={**workers, **missed})


def _elapsed(previous: Snapshot, snapshot: Snapshot) -> timedelta:
    """Return the time between two snapshots on the database's clock; on ours where one of the two was set."""
    is_clock_set = _is_clock_set(previous, snapshot)
    elapsed = snapshot.read_at - previous.read_at if is_clock_set else snapshot.database_now - previous.database_now
    return max(elapsed, timedelta(0))


def _is_clock_set(previous: Snapshot, snapshot: Snapshot) -> bool:
    """Tell whether one of the two clocks was set in between: ages before and after are not of one clock."""
    offsets = [one.database_now - one.read_at for one in (previous, snapshot)]
    return abs(offsets[1] - offsets[0]) > CLOCK_TOLERANCE


def _add(
    slots: tuple[Slot, ...], at: datetime, options: QueueOptions, *, ended: int = 0, crossed: int = 0
) -> tuple[Slot, ...]:
    width = options.timeout_window.total_seconds() / SLOTS
    begins_at = datetime.fromtimestamp(at.timestamp() // width * width, UTC)
    for index, slot in enumerate(slots):
        if slot.begins_at == begins_at:
            grown = replace(slot, ended=slot.ended + ended, crossed=slot.crossed + crossed)
            return (*slots[:index], grown, *slots[index + 1 :])
    return (*slots, Slot(begins_at=begins_at, ended=ended, crossed=crossed))
