"""Hold what the databases and the ledger say against what really happened to the workers; pure.

Each check counts how often a promise was broken, and must come to 0. Nothing here asks the program what it thinks: a
reset is what a database wrote down, a death what the workers' own log says.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from healers.ledger import RecordedReset
from healers.outcomes import Outcome

from .history import Change
from .truth import Life, Truth

TOLERANCE_SECONDS: Final = 0.05
LONGEST_RESET_SECONDS: Final = 120.0
MOST_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What was promised, in seconds and numbers of resets."""

    heal_after: float
    confirm_after: float
    per_job: int
    per_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it is at the end; `is_finished` where one that is finished stays."""

    job: str
    name: str
    is_started: bool
    is_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEvidence:
    """One queue: its changes and its rows at the end, and what the ledger has about it. `added` was surely added."""

    changes: Sequence[Change]
    rows: Sequence[Row]
    recorded: Sequence[RecordedReset]
    open_intents: int
    added: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known of a run. `offsets`: what the clock of the watchdog with a pid was ever off."""

    truth: Truth
    queues: Mapping[str, QueueEvidence]
    healers: frozenset[str]
    rules: Rules
    offsets: Mapping[int, frozenset[float]]
    clock_set: Sequence[tuple[float, float]] = ()
    chain_fault: str | None = None
    scrapes_failed: Sequence[str] = ()
    watchdogs_failed: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check came to."""

    check: str
    broken: int
    examples: tuple[str, ...] = ()


def judge(evidence: Evidence) -> tuple[Finding, ...]:
    """Make every check."""
    found = []
    for check, find in CHECKS.items():
        broken = list(find(evidence))
        found.append(Finding(check=check, broken=len(broken), examples=tuple(broken[:MOST_EXAMPLES])))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A reset by a healer, the claim that it ended, and whose that was."""

    queue: str
    change: Change
    claim: Change | None
    life: Life | None


def resets(evidence: Evidence) -> Iterator[Reset]:
    """Find every reset that a healer made."""
    for name, queue in evidence.queues.items():
        claims: dict[str, Change] = {}
        for change in queue.changes:
            if change.what == "claimed":
                claims[change.job] = change
            elif change.what == "reset" and change.account in evidence.healers:
                claim = claims.pop(change.job, None)
                life = evidence.truth.lives.get(claim.worker or "") if claim else None
                yield Reset(queue=name, change=change, claim=claim, life=life)


def _false_resets(evidence: Evidence) -> Iterator[str]:
    for one in resets(evidence):
        if one.life is None:
            yield f"{_tell(one)}: nobody is known to have had it"
        elif one.life.is_alive_at(one.change.at):
            yield f"{_tell(one)}: its worker {one.life.name} (pid {one.life.pid}) lived"


def _too_soon(evidence: Evidence) -> Iterator[str]:
    rules = evidence.rules
    for one in resets(evidence):
        if one.life is None or one.claim is None or one.life.is_alive_at(one.change.at):
            continue
        after = one.change.at - one.life.over_at
        if after < rules.confirm_after - TOLERANCE_SECONDS:
            yield f"{_tell(one)}: {after:.2f} s after the end of its worker"
        age = one.change.at - one.claim.at
        is_clock_set = any(begun <= one.change.at and ended >= one.claim.at for begun, ended in evidence.clock_set)
        if age < rules.heal_after - TOLERANCE_SECONDS - 1 and not is_clock_set:
            yield f"{_tell(one)}: {age:.2f} s after it was claimed"


def _without_lock(evidence: Evidence) -> Iterator[str]:
    return (_tell(one) for one in resets(evidence) if not one.change.has_lock)


def _done_twice(evidence: Evidence) -> Iterator[str]:
    """Find jobs that two had in hand at once, and rows that somebody ended who did not have them."""
    by_job = defaultdict(list)
    for work in evidence.truth.work:
        by_job[work.job].append(work)
    for job, works in by_job.items():
        works.sort(key=lambda one: one.began_at)
        for one, other in pairwise(works):
            if other.began_at < one.ended_at:
                yield f"{job}: {one.worker} and {other.worker}"
    for queue in evidence.queues.values():
        holders: dict[str, str | None] = {}
        for change in queue.changes:
            if change.what == "claimed":
                holders[change.job] = change.worker
            elif change.what == "ended" and (not change.worker or holders.get(change.job) != change.worker):
                yield f"{change.name}: ended by {change.worker}, claimed by {holders.get(change.job)}"


def _lost(evidence: Evidence) -> Iterator[str]:
    for queue in evidence.queues.values():
        known = {change.name for change in queue.changes}
        yield from (f"{name}: never was there" for name in queue.added - known)
        gone = _left(queue) - {row.job for row in queue.rows}
        yield from (f"{job}: is not there any more" for job in gone)


def _duplicated(evidence: Evidence) -> Iterator[str]:
    for queue in evidence.queues.values():
        first = "born" if any(change.what == "born" for change in queue.changes) else "claimed"
        for name, number in Counter(change.name for change in queue.changes if change.what == first).items():
            if number > 1:
                yield f"{name}: {number} times"
        yield from (f"{row.job}: came from nowhere" for row in queue.rows if row.job not in _left(queue))
        finished = evidence.truth.finished
        yield from (f"{row.name}: is not finished any more" for row in queue.rows if _is_again(row, finished))
        yield from (f"{one.name}: changed oddly at {one.at}" for one in queue.changes if _is_odd(one, evidence.healers))


def _is_odd(change: Change, healers: frozenset[str]) -> bool:
    """Tell whether a row was changed as nobody may, or put back by who may not."""
    return change.what == "odd" or (change.what == "reset" and change.account not in healers)


def _left(queue: QueueEvidence) -> set[str]:
    """Return the jobs that are to be there at the end: a run of Meltano's always is, and is claimed as it is born."""
    left: set[str] = set()
    is_kept = not any(change.what == "born" for change in queue.changes)
    for change in queue.changes:
        if change.what in ("born", "claimed"):
            left.add(change.job)
        elif change.what == "ended" and not is_kept:
            left.discard(change.job)
    return left


def _is_again(row: Row, finished: set[str]) -> bool:
    return row.name in finished and not row.is_finished


def _stuck(evidence: Evidence) -> Iterator[str]:
    for name, queue in evidence.queues.items():
        spent = Counter(one.change.name for one in resets(evidence) if one.queue == name)
        if spent.total() >= evidence.rules.per_hour:
            continue
        holders = {change.job: change.worker for change in queue.changes if change.what == "claimed"}
        for row in queue.rows:
            life = evidence.truth.lives.get(holders.get(row.job) or "")
            is_held = life is not None and life.over_at == float("inf")
            if row.is_started and not is_held and spent[row.name] < evidence.rules.per_job:
                yield f"{name}: {row.name} of {holders.get(row.job)}, which {life.why if life else 'nobody knows'}"


def _without_outcome(evidence: Evidence) -> Iterator[str]:
    return (name for name, queue in evidence.queues.items() for _ in range(queue.open_intents))


def _not_once(evidence: Evidence) -> Iterator[str]:
    """Find resets that the ledger does not have, or has too often.

    One whose answer was lost, and whose job has moved on before the row was read again, may be told as that.
    """
    done: dict[str, Counter[str]] = defaultdict(Counter)
    for one in resets(evidence):
        done[one.queue][one.change.job] += 1
    for name, queue in evidence.queues.items():
        told = Counter(str(one.intent.key.job_id) for one in _told(queue))
        moved = Counter(str(one.intent.key.job_id) for one in queue.recorded if one.may_be_written)
        for job in done[name] | told:
            if not told[job] <= done[name][job] <= told[job] + moved[job]:
                yield f"{name}: job {job} was put back {done[name][job]} times, and {told[job]} times by the ledger"


def _before_intent(evidence: Evidence) -> Iterator[str]:
    """Find resets that were made before they were intended, by the clock of whoever intended them."""
    done: dict[tuple[str, str], list[Reset]] = defaultdict(list)
    for one in resets(evidence):
        done[(one.queue, one.change.job)].append(one)
    for name, queue in evidence.queues.items():
        left = {job: list(made) for (of, job), made in done.items() if of == name}
        for record in sorted(queue.recorded, key=lambda one: one.number):
            made = left.get(str(record.intent.key.job_id), [])
            if record.outcome is not Outcome.RESET and not record.may_be_written:
                continue
            waits = [_waited(record, one, evidence) for one in made]
            found = next((number for number, wait in enumerate(waits) if _fits(wait)), None)
            if found is not None:
                del made[found]
            elif made and record.outcome is Outcome.RESET:
                yield f"{_tell(made[0])}: intended {-waits[0]:.3f} s later"


def _waited(record: RecordedReset, reset: Reset, evidence: Evidence) -> float:
    """Return how long before a reset it was intended, by the clock of whoever did, which may have been off."""
    at, pid = record.intent.at.timestamp(), int(record.intent.instance.rpartition(":")[2])
    waits = [reset.change.at - (at - off) for off in evidence.offsets.get(pid, frozenset({0.0}))]
    return next(filter(_fits, waits), min(waits, key=abs))


def _fits(waited: float) -> bool:
    """Tell whether a reset can be what was intended so many seconds before it."""
    return -0.002 <= waited <= LONGEST_RESET_SECONDS


def _told(queue: QueueEvidence) -> list[RecordedReset]:
    return [one for one in queue.recorded if one.outcome is Outcome.RESET]


def _budget(evidence: Evidence) -> Iterator[str]:
    done: dict[str, list[float]] = defaultdict(list)
    by_job: Counter[tuple[str, str]] = Counter()
    for one in resets(evidence):
        done[one.queue].append(one.change.at)
        by_job[(one.queue, one.change.name)] += 1
    for (name, job), number in by_job.items():
        if number > evidence.rules.per_job:
            yield f"{name}: {job} was put back {number} times"
    for name, times in done.items():
        most = max(sum(1 for at in times if begun <= at < begun + 3600) for begun in times)
        if most > evidence.rules.per_hour:
            yield f"{name}: {most} were put back within an hour"


def _chain(evidence: Evidence) -> Iterator[str]:
    return iter([evidence.chain_fault] if evidence.chain_fault else [])


def _tell(one: Reset) -> str:
    return f"{one.queue}: job {one.change.job} ({one.change.name}) at {one.change.at:.2f}"


CHECKS: Final[Mapping[str, Callable[[Evidence], Iterator[str]]]] = MappingProxyType(
    {
        "jobs put back though their worker lived": _false_resets,
        "jobs in two hands at once": _done_twice,
        "orphans still stuck": _stuck,
        "rows lost": _lost,
        "rows duplicated or changed oddly": _duplicated,
        "resets sooner than two proofs allow": _too_soon,
        "resets without the lock": _without_lock,
        "resets before their intent": _before_intent,
        "resets that are not once in the ledger": _not_once,
        "intents without outcome": _without_outcome,
        "budgets exceeded": _budget,
        "faults in the ledger's chain": _chain,
        "scrapes failed": lambda evidence: iter(evidence.scrapes_failed),
        "watchdogs failed": lambda evidence: iter(evidence.watchdogs_failed),
    }
)
