"""Judge runs, whose rows record no host: only all hosts that may run one can tell that nobody does; pure.

Meltano writes a heartbeat each second and records neither host nor process (4.4.1, core/job/job.py). A heartbeat that
stands still proves nothing: its worker may be stopped, or cut off from the database. So it only selects candidates, by
how long this program saw the very same value, on two clocks; its date is of the worker's clock and counts for nothing.
In: what every listed host said last, and the heartbeats. Out: a verdict on each run. Raises nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from exporter.jobs import Attempt, AttemptKey, Claim, DetailValue, Snapshot

from .probes.protocol import HostAnswer, NoAnswer, RunTrace, Silence, Trace
from .reasons import Liveness, Reason
from .rounds import Heard, Placement, run_id_of
from .verdicts import Verdict, describe, doubt_of

LOST_AFTER: Final = timedelta(seconds=30)
# Meltano's own rules (4.4.1, core/job/job.py: HEARTBEAT_VALID_MINUTES, HEARTBEATLESS_JOB_VALID_HOURS).
STALE_AFTER: Final = timedelta(minutes=5)
STALE_WITHOUT_HEARTBEAT_AFTER: Final = timedelta(hours=24)
ENDED: Final = frozenset("ZXx")
STOPPED: Final = frozenset("Tt")
HOME: Final = ".meltano/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stillness:
    """For how long a run has claimed the very same, its heartbeat included, and in how many snapshots."""

    claim: Claim
    lasted: timedelta
    snapshots: int
    database_now: datetime
    read_seconds: float


def follow_stillness(
    known: Mapping[AttemptKey, Stillness], snapshot: Snapshot, *, read_seconds: float
) -> dict[AttemptKey, Stillness]:
    """Return how long each run of the snapshot has been still; `read_seconds`: this machine's monotonic clock then.

    That clock stands still while this machine sleeps, and the database's may be set: of the two, the less counts.
    """
    found: dict[AttemptKey, Stillness] = {}
    for attempt in snapshot.started:
        before = known.get(attempt.key)
        lasted, snapshots = timedelta(0), 1
        if before is not None and before.claim == attempt.claim:
            by_database = snapshot.database_now - before.database_now
            by_monotonic = timedelta(seconds=read_seconds - before.read_seconds)
            lasted = before.lasted + max(timedelta(0), min(by_database, by_monotonic))
            snapshots = before.snapshots + 1
        found[attempt.key] = Stillness(
            claim=attempt.claim,
            lasted=lasted,
            snapshots=snapshots,
            database_now=snapshot.database_now,
            read_seconds=read_seconds,
        )
    return found


def judge_runs(
    attempts: Iterable[Attempt],
    placement: Placement,
    heard: Mapping[str, Heard],
    *,
    stillness: Mapping[AttemptKey, Stillness],
    duplicates: frozenset[str] = frozenset(),
    at: datetime,
) -> tuple[Verdict, ...]:
    """Judge the runs of a queue by what each host said last (`heard`, by configured name)."""
    return tuple(
        _judge_run(attempt, placement, heard, still=stillness.get(attempt.key), duplicates=duplicates, at=at)
        for attempt in attempts
    )


def _judge_run(
    attempt: Attempt,
    placement: Placement,
    heard: Mapping[str, Heard],
    *,
    still: Stillness | None,
    duplicates: frozenset[str],
    at: datetime,
) -> Verdict:
    """Apply the lines in their order: the row, the heartbeat alone, life, each host's doubt, the heartbeat, death."""
    if still is not None and still.claim != attempt.claim:
        still = None
    evidence: dict[str, DetailValue] = {"still_seconds": int(still.lasted.total_seconds()) if still else 0}
    trace = _find_life(attempt, placement, heard)
    if attempt.has_start_time and attempt.age is None:
        value, reason = Liveness.UNKNOWN, Reason.CLOCK
    elif not placement.workers_on:
        value, reason = _by_heartbeat_alone(attempt, placement, still)
    elif trace is not None:
        host, life = trace
        evidence |= {"host": host, "pid": life.pid, "trace": str(life.trace), "states": life.states}
        value = Liveness.ALIVE
        reason = Reason.FROZEN if _is_frozen(attempt, placement, heard) else Reason.RUNNING
    else:
        value = Liveness.UNKNOWN
        found = _find_doubt(attempt, placement, heard, duplicates)
        if found is not None:
            host, reason = found
            evidence |= {"host": host} | (describe(heard[host].answer) if host in heard else {})
        elif run_id_of(attempt) is None:
            reason = Reason.NOT_IDENTIFIABLE
        elif not _is_silent(still, LOST_AFTER):
            reason = Reason.HEARTBEAT_RECENT
        else:
            value, reason = Liveness.DEAD, _how_lost(attempt)
            evidence["hosts"] = " ".join(placement.workers_on)
    return Verdict(key=attempt.key, value=value, reason=reason, seen_at=at, evidence=MappingProxyType(evidence))


def _by_heartbeat_alone(attempt: Attempt, placement: Placement, still: Stillness | None) -> tuple[Liveness, Reason]:
    """Meltano's own rule, where a person accepts it; else nothing is known."""
    if placement.trusts_heartbeat and _is_silent(still, STALE_AFTER):
        has_heartbeat = attempt.claim.rests_on != (None,)
        if has_heartbeat or (attempt.age or timedelta(0)) >= STALE_WITHOUT_HEARTBEAT_AFTER:
            return Liveness.DEAD, Reason.HEARTBEAT_STALE
    return Liveness.UNKNOWN, Reason.HEARTBEAT_ONLY


def _is_silent(still: Stillness | None, limit: timedelta) -> bool:
    return still is not None and still.snapshots >= 2 and still.lasted >= limit


def _how_lost(attempt: Attempt) -> Reason:
    return Reason.NEVER_INITIALISED if attempt.claim.rests_on == (None,) else Reason.HEARTBEAT_LOST


def _find_life(attempt: Attempt, placement: Placement, heard: Mapping[str, Heard]) -> tuple[str, RunTrace] | None:
    return next(_lives(attempt, placement, heard), None)


def _lives(attempt: Attempt, placement: Placement, heard: Mapping[str, Heard]) -> Iterator[tuple[str, RunTrace]]:
    """Find every process at work on the run, on whatever host that answered: life needs no usable answer."""
    for host in placement.workers_on:
        answer = heard[host].answer if host in heard else None
        for trace in answer.traces if isinstance(answer, HostAnswer) else ():
            has_ended = bool(trace.states) and set(trace.states) <= ENDED
            if not has_ended and _is_of(trace, attempt, placement):
                yield host, trace


def _is_frozen(attempt: Attempt, placement: Placement, heard: Mapping[str, Heard]) -> bool:
    return all(trace.states and set(trace.states) <= STOPPED for _, trace in _lives(attempt, placement, heard))


def _is_of(trace: RunTrace, attempt: Attempt, placement: Placement) -> bool:
    run_id = run_id_of(attempt)
    if trace.trace is not Trace.FOLDER:
        return run_id is not None and trace.run == run_id
    if trace.folder != placement.project:
        return False
    job_name = str(attempt.detail.get("state_id") or "")
    is_named = any(plugin in job_name for plugin in _plugins(trace.argv))
    return is_named or (run_id is not None and any(run_id in word for word in trace.argv))


def _plugins(argv: Iterable[str]) -> Iterator[str]:
    """Find the plugins that a command line names: `<project>/.meltano/run/<plugin>/…`, or `…/extractors/<plugin>/…`."""
    for word in argv:
        _, home, rest = word.partition(HOME)
        parts = rest.split("/")
        if home and len(parts) > 1 and parts[1]:
            yield parts[1]


def _find_doubt(
    attempt: Attempt, placement: Placement, heard: Mapping[str, Heard], duplicates: frozenset[str]
) -> tuple[str, Reason] | None:
    """Return the first listed host that leaves open whether the run is there, and why."""
    for host in placement.workers_on:
        reason = _doubt_at(attempt, placement, heard.get(host), duplicates)
        if reason is not None:
            return host, reason
    return None


def _doubt_at(attempt: Attempt, placement: Placement, one: Heard | None, duplicates: frozenset[str]) -> Reason | None:
    if one is None:
        return Reason.NOT_ASKED
    doubt = doubt_of(one, duplicates)
    if doubt is not None or isinstance(one.answer, NoAnswer):
        return Reason((doubt or Silence.BAD_ANSWER).value)
    if attempt.key not in one.round.runs:
        return Reason.NOT_ASKED
    if not one.answer.runs_visible or (one.answer.uid != 0 and one.answer.user != placement.workers_user):
        return Reason.FILES_INVISIBLE
    return None if one.answer.has_looked_through else Reason.BAD_ANSWER
