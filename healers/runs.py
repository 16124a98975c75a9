"""Judge runs, whose rows record no host: only all hosts that may run one can tell that nobody does; pure.

Meltano writes a heartbeat each second and records neither host nor process (4.4.1, core/job/job.py). A heartbeat that
stands still proves nothing: its worker may be stopped, or cut off from the database. So it only selects candidates, by
how long this program saw the very same value, on two clocks; its date is of the worker's clock and counts for nothing.
In: what every listed host said last, and the heartbeats. Out: a verdict on each run. Raises nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from exporter.jobs import Attempt, AttemptKey, Claim, DetailValue, Snapshot

from .probes.protocol import HostAnswer, NoAnswer, RunTrace, Silence, Trace
from .reasons import Liveness, Reason
from .rounds import Heard, Placement, run_id_of
from .rules import Ruling
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCase:
    """One run, before what its hosts said.

    `lives`: each process at work on it, and on which host. `doubt`: a listed host that leaves open whether the run is
    there, and why. `still` is None where nobody saw this very claim before.
    """

    attempt: Attempt
    placement: Placement
    still: Stillness | None
    lives: tuple[tuple[str, RunTrace], ...]
    doubt: tuple[str, Reason] | None

    @property
    def has_heartbeat(self) -> bool:
        """Whether the run ever wrote one."""
        return self.attempt.claim.rests_on != (None,)

    def is_silent_for(self, limit: timedelta) -> bool:
        """Tell whether the very same claim was seen over at least that long, in two snapshots or more."""
        return self.still is not None and self.still.snapshots >= 2 and self.still.lasted >= limit


def _nonsense_age(case: RunCase) -> Ruling | None:
    attempt = case.attempt
    return (Liveness.UNKNOWN, Reason.CLOCK) if attempt.has_start_time and attempt.age is None else None


def _trusted_heartbeat(case: RunCase) -> Ruling | None:
    """Meltano's own rule, where no host can be asked and a person accepts it."""
    if case.placement.workers_on or not case.placement.trusts_heartbeat or not case.is_silent_for(STALE_AFTER):
        return None
    is_stale = case.has_heartbeat or (case.attempt.age or timedelta(0)) >= STALE_WITHOUT_HEARTBEAT_AFTER
    return (Liveness.DEAD, Reason.HEARTBEAT_STALE) if is_stale else None


def _nobody_to_ask(case: RunCase) -> Ruling | None:
    return None if case.placement.workers_on else (Liveness.UNKNOWN, Reason.HEARTBEAT_ONLY)


def _at_work(case: RunCase) -> Ruling | None:
    """Life needs no usable answer, and no heartbeat."""
    if not case.lives:
        return None
    is_frozen = all(trace.states and set(trace.states) <= STOPPED for _, trace in case.lives)
    return Liveness.ALIVE, Reason.FROZEN if is_frozen else Reason.RUNNING


def _host_in_doubt(case: RunCase) -> Ruling | None:
    return (Liveness.UNKNOWN, case.doubt[1]) if case.doubt is not None else None


def _no_run_id(case: RunCase) -> Ruling | None:
    """Without its id nobody could find its log."""
    return (Liveness.UNKNOWN, Reason.NOT_IDENTIFIABLE) if run_id_of(case.attempt) is None else None


def _heartbeat_recent(case: RunCase) -> Ruling | None:
    return None if case.is_silent_for(LOST_AFTER) else (Liveness.UNKNOWN, Reason.HEARTBEAT_RECENT)


def _nobody_at_work(case: RunCase) -> Ruling:
    """Every host that may run it says that nobody does, and its heartbeat stands still, or never came."""
    return Liveness.DEAD, Reason.HEARTBEAT_LOST if case.has_heartbeat else Reason.NEVER_INITIALISED


RUN_RULES: Final[tuple[Callable[[RunCase], Ruling | None], ...]] = (
    _nonsense_age,
    _trusted_heartbeat,
    _nobody_to_ask,
    _at_work,
    _host_in_doubt,
    _no_run_id,
    _heartbeat_recent,
)


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
        _judge_run(
            RunCase(
                attempt=attempt,
                placement=placement,
                still=_still(attempt, stillness),
                lives=tuple(_lives(attempt, placement, heard)),
                doubt=_find_doubt(attempt, placement, heard, duplicates),
            ),
            heard,
            at,
        )
        for attempt in attempts
    )


def _still(attempt: Attempt, stillness: Mapping[AttemptKey, Stillness]) -> Stillness | None:
    still = stillness.get(attempt.key)
    return still if still is not None and still.claim == attempt.claim else None


def _judge_run(case: RunCase, heard: Mapping[str, Heard], at: datetime) -> Verdict:
    value, reason = next((ruling for rule in RUN_RULES if (ruling := rule(case))), _nobody_at_work(case))
    evidence: dict[str, DetailValue] = {
        "still_seconds": int(case.still.lasted.total_seconds()) if case.still else 0,
        "hosts": " ".join(case.placement.workers_on),
    }
    if value is Liveness.ALIVE:
        host, life = case.lives[0]
        evidence |= {"host": host, "pid": life.pid, "trace": str(life.trace), "states": life.states}
    elif case.doubt is not None:
        host, _ = case.doubt
        evidence |= {"host": host} | (describe(heard[host].answer) if host in heard else {})
    return Verdict(key=case.attempt.key, value=value, reason=reason, seen_at=at, evidence=MappingProxyType(evidence))


def _lives(attempt: Attempt, placement: Placement, heard: Mapping[str, Heard]) -> Iterator[tuple[str, RunTrace]]:
    """Find every process at work on the run, on whatever host that answered: life needs no usable answer."""
    for host in placement.workers_on:
        answer = heard[host].answer if host in heard else None
        for trace in answer.traces if isinstance(answer, HostAnswer) else ():
            has_ended = bool(trace.states) and set(trace.states) <= ENDED
            if not has_ended and _is_of(trace, attempt, placement):
                yield host, trace


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
