"""Build jobs, attempts and snapshots for tests: say what matters, the rest is ordinary."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from exporter.jobs import (
    Attempt,
    AttemptKey,
    Beginnings,
    Breakdown,
    Claim,
    Cursor,
    DetailValue,
    Finished,
    JobId,
    Kind,
    LastSuccess,
    QueueName,
    Role,
    Signal,
    Snapshot,
    State,
    Waiting,
    WorkerSigns,
    read_pid,
)
from exporter.options import read_duration
from exporter.queues.matomo.queue import SIGNS
from healers.breaker import BreakerState
from healers.candidates import Candidate
from healers.machines import INITIAL_PID_NAMESPACE
from healers.options import HealingOptions
from healers.probes.protocol import HostAnswer, NoAnswer, Presence, ProcessAnswer, Relative, RunTrace, Silence
from healers.rounds import Heard, Host, Placement, Round, Watched, plan_round
from healers.sightings import Sightings
from healers.situation import Clocks, Database, Person, Situation
from healers.verdicts import Liveness, Reason, Verdict

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = Kind("day")
MACHINE = "3f9c" * 8
WEB1 = Host(name="web1")
ARCHIVER = ("php", "/srv/matomo/console", "core:archive")
# The boot clock of this machine at noon.
BOOTED_FOR = 50_000.0


def span(text: str | None) -> timedelta | None:
    """Read `3h`; `0s` is nothing at all."""
    if text is None:
        return None
    return timedelta(0) if text == "0s" else read_duration(text)


def an_attempt(
    job_id: str = "1",
    *,
    kind: str = DAY,
    host: str | None = "web1",
    pid: str | None = "100",
    started_for: str | None = "1m",
    enqueued_for: str | None = "10m",
    heartbeat_age: str | None = None,
    heartbeat: str | None = None,
    started: object = "2026-11-22 11:59:00",
    natural_key: tuple[str, ...] | None = None,
    detail: Mapping[str, DetailValue] | None = None,
) -> Attempt:
    """Return one started job; `started=None` is one without a start time."""
    key = AttemptKey(
        queue=QueueName("q"),
        job_id=JobId(job_id),
        started=None if started is None else str(started),
        host=host,
        pid_text=pid,
    )
    return Attempt(
        key=key,
        job_id=key.job_id,
        natural_key=(job_id,) if natural_key is None else natural_key,
        kind=Kind(kind),
        host=host,
        pid=read_pid(pid),
        pid_text=pid,
        has_start_time=started is not None,
        age=None if started is None else span(started_for),
        enqueued_age=span(enqueued_for),
        heartbeat_age=span(heartbeat_age),
        detail=detail or {},
        claim=Claim(key=key, rests_on=(heartbeat,)),
    )


def a_waiting(jobs: int = 0, *, kind: str = DAY, enqueued: int = 0, oldest: str | None = None) -> Waiting:
    """Return the waiting jobs of one kind."""
    return Waiting(kind=Kind(kind), jobs=jobs, enqueued=enqueued, oldest_age=span(oldest))


def a_snapshot(
    *started: Attempt,
    waiting: Iterable[Waiting] = (),
    at: str = "0s",
    left_started: Mapping[str, State] | None = None,
    left_out: Mapping[str, int] | None = None,
    breakdown: Breakdown | None = None,
    signals: tuple[Signal, ...] = (),
    finished: tuple[Finished, ...] = (),
    last_successes: tuple[LastSuccess, ...] = (),
    beginnings: Beginnings | None = None,
    database_ahead: str | None = None,
) -> Snapshot:
    """Return a snapshot read `at` so long after noon."""
    read_at = NOON + (span(at) or timedelta(0))
    return Snapshot(
        queue=QueueName("q"),
        schema="5.3",
        role=Role.PRIMARY,
        read_at=read_at,
        database_now=read_at + (span(database_ahead) or timedelta(0)),
        waiting=tuple(waiting) or (a_waiting(),),
        started=started,
        started_left_out={Kind(kind): number for kind, number in (left_out or {}).items()},
        left_started={JobId(job_id): state for job_id, state in (left_started or {}).items()},
        breakdown=breakdown,
        signals=signals,
        finished=finished,
        last_successes=last_successes,
        beginnings=beginnings,
        cursor=Cursor(last_id=0, started=frozenset(attempt.job_id for attempt in started)),
    )


def a_process(
    pid: int = 100,
    *,
    presence: str = "present",
    ticks: int | None = 900_000,
    states: str = "S",
    argv: tuple[str, ...] | None = ARCHIVER,
    name: str = "php",
) -> ProcessAnswer:
    """Return what a host says of an archiver that is 1,000 s old where the host is up for 10,000 s."""
    return ProcessAnswer(
        pid=pid, presence=Presence(presence), start_ticks=ticks, states=states, name=name, memory_bytes=1, argv=argv
    )


def no_process(pid: int = 100) -> ProcessAnswer:
    """Return what a host says of a pid that is not there."""
    return ProcessAnswer(pid=pid, presence=Presence.ABSENT)


def an_answer(
    *processes: ProcessAnswer,
    hostname: str = "web1",
    machine_id: str | None = MACHINE,
    boot_id: str = "boot-1",
    uptime: str = "10000s",
    pid_namespace: int = INITIAL_PID_NAMESPACE,
    pid_max: int = 4_194_304,
    proc_options: Iterable[str] = ("rw", "nosuid"),
    sees_foreign: bool = True,
    user: str = "queuemedic",
    uid: int = 998,
    has_looked_through: bool = True,
    runs_visible: bool = True,
    relatives: tuple[Relative, ...] = (),
    traces: tuple[RunTrace, ...] = (),
    host_key: str | None = "SHA256:web1",
) -> HostAnswer:
    """Return a whole answer of web1, by an account that sees everything."""
    return HostAnswer(
        hostname=hostname,
        machine_id=machine_id,
        boot_id=boot_id,
        uptime=span(uptime) or timedelta(0),
        clock_ticks=100,
        pid_max=pid_max,
        pid_namespace=pid_namespace,
        proc_options=frozenset(proc_options),
        sees_foreign=sees_foreign,
        user=user,
        uid=uid,
        load_average=0.5,
        processors=2,
        has_looked_through=has_looked_through,
        runs_visible=runs_visible,
        processes={process.pid: process for process in processes},
        relatives=relatives,
        traces=traces,
        host_key=host_key,
    )


def no_answer(silence: str = "timeout") -> NoAnswer:
    """Return the silence of a host."""
    return NoAnswer(silence=Silence(silence), detail="no answer within 10s")


def a_round(
    *attempts: Attempt,
    host: Host = WEB1,
    sightings: Sightings | None = None,
    signs: WorkerSigns = SIGNS,
    placement: Placement | None = None,
    read: str = "0s",
) -> Round:
    """Return a round of one host, over one queue that was read `read` after noon."""
    seconds = BOOTED_FOR + (span(read) or timedelta(0)).total_seconds()
    watched = Watched(started=attempts, signs=signs, read_seconds=seconds, placement=placement)
    return plan_round(host, [watched], sightings or Sightings())


def hear(
    one: Round,
    answer: HostAnswer | NoAnswer,
    *,
    at: str = "0s",
    is_fresh: bool = False,
    took: str = "0s",
    clock_ahead: str = "0s",
) -> Heard:
    """Return what was heard of a round that ended `at` after noon, by a wall clock that is `clock_ahead`."""
    ended = span(at) or timedelta(0)
    seconds = BOOTED_FOR + ended.total_seconds()
    return Heard(
        round=one,
        answer=answer,
        is_fresh=is_fresh,
        at=NOON + ended + (span(clock_ahead) or timedelta(0)),
        began_seconds=seconds - (span(took) or timedelta(0)).total_seconds(),
        ended_seconds=seconds,
    )


ALIVE = frozenset({Reason.RUNNING, Reason.FROZEN, Reason.CHILD_RUNNING})
DEAD = frozenset(
    {
        Reason.NO_PROCESS,
        Reason.PID_REUSED,
        Reason.HOST_REBOOTED,
        Reason.HOST_RETIRED,
        Reason.HEARTBEAT_LOST,
        Reason.NEVER_INITIALISED,
        Reason.HEARTBEAT_STALE,
    }
)


def a_verdict(attempt: Attempt, reason: Reason) -> Verdict:
    """Return what is held of an attempt at noon."""
    value = Liveness.ALIVE if reason in ALIVE else Liveness.DEAD if reason in DEAD else Liveness.UNKNOWN
    return Verdict(key=attempt.key, value=value, reason=reason, seen_at=NOON)


def a_candidate(
    attempt: Attempt | None = None,
    *,
    reason: Reason = Reason.NO_PROCESS,
    hosts: Iterable[str] = ("web1",),
    is_confirmed: bool = True,
    dead_for: str | None = "30s",
    is_enrolled: bool = False,
    first_seen_for: str | None = "10m",
    resets: int | None = 0,
) -> Candidate:
    """Return an attempt with its verdict, at noon; ordinarily one that nothing keeps from being put back."""
    attempt = attempt or an_attempt(started_for="10m")
    dead_since, seen_since = span(dead_for), span(first_seen_for)
    return Candidate(
        attempt=attempt,
        verdict=a_verdict(attempt, reason),
        hosts=frozenset(hosts),
        is_confirmed=is_confirmed,
        dead_at=None if dead_since is None else NOON - dead_since,
        is_enrolled=is_enrolled,
        first_seen_at=None if seen_since is None else NOON - seen_since,
        resets=resets,
    )


def a_person(*jobs: str, applies: bool = True, limit: int | None = None, accepts_unknown: bool = False) -> Person:
    """Return somebody who ran `heal` a minute before noon."""
    return Person(
        commanded_at=NOON - timedelta(minutes=1),
        is_applied=applies,
        limit=limit,
        jobs=frozenset(JobId(job) for job in jobs),
        accepts_unknown=accepts_unknown,
    )


def a_situation(
    *,
    options: Mapping[str, object] | None = None,
    is_paused: bool | None = False,
    pause_detail: str = "",
    resets_last_hour: int | None = 0,
    breaker: BreakerState | None = BreakerState(),  # noqa: B008 - immutable
    role: Role | None = Role.PRIMARY,
    is_answering: bool | None = True,
    back_for: str | None = None,
    has_new_schema: bool | None = False,
    drift: float | None = 0,
    offset_jump: float | None = 0,
    is_ledger_usable: bool | None = True,
    has_lock: bool | None = True,
    loads: Mapping[str, float | None] | None = None,
    by_person: Person | None = None,
    planned: int = 0,
) -> Situation:
    """Return the state of a queue at noon; ordinarily one in which nothing keeps a dead job from being put back."""
    back_since = span(back_for)
    return Situation(
        queue=QueueName("q"),
        now=NOON,
        read_at=NOON,
        options=HealingOptions.model_validate({"mode": "reset", **(options or {})}),
        is_paused=is_paused,
        pause_detail=pause_detail,
        resets_last_hour=resets_last_hour,
        breaker=breaker,
        database=Database(
            role=role,
            is_answering=is_answering,
            came_back_at=None if back_since is None else NOON - back_since,
            poll_interval=timedelta(seconds=15),
            has_new_schema=has_new_schema,
        ),
        clocks=Clocks(
            drift=None if drift is None else timedelta(seconds=drift),
            offset_jump=None if offset_jump is None else timedelta(seconds=offset_jump),
        ),
        is_ledger_usable=is_ledger_usable,
        has_lock=has_lock,
        loads=loads or {},
        by_person=by_person,
        planned=planned,
    )
