"""The vocabulary of job queues: what one poll reads, as immutable values.

An attempt is one `started` spell of a job. Its key is its identity; its claim is the key and whatever else a verdict
rests on, in the driver's own values exactly as read: claims are compared for equality and bound again, never converted.
Ages come from the database's clock, in the statement that reads the rows; no age is made from two clocks.
Impossible values are refused on construction, so that nothing behind this module has to doubt them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NewType, TypeAlias

QueueName = NewType("QueueName", str)
Kind = NewType("Kind", str)
JobId = NewType("JobId", str)

DriverValue: TypeAlias = str | bytes | int | float | Decimal | date | datetime | timedelta | None
DetailValue: TypeAlias = str | int | None

NOTHING = timedelta(0)


class State(StrEnum):
    """What a job is doing; a job that is done has left the queue."""

    WAITING = "waiting"
    STARTED = "started"


class Role(StrEnum):
    """What the database server says of itself; healing never trusts a replica."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptKey:
    """The identity of one started spell: the worker and the start time exactly as the driver read them."""

    queue: QueueName
    job_id: JobId
    started: DriverValue
    host: str | None
    pid_text: str | None

    def __hash__(self) -> int:
        return hash((self.queue, self.job_id))  # texts remember theirs; keys are looked up ten times a poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a verdict rests on: the key, and further values of the row (Meltano: the heartbeat)."""

    key: AttemptKey
    rests_on: tuple[DriverValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One started job.

    `pid` is a positive integer or None; `pid_text` is what the row says. `age` is None where the row has no start time
    or one that cannot be true; `has_start_time` tells the two apart. `heartbeat_age` is None where there is no
    heartbeat, and nothing where its date cannot be true. `detail` is for people and for filters.
    """

    key: AttemptKey
    job_id: JobId
    natural_key: tuple[str, ...]
    kind: Kind
    host: str | None
    pid: int | None
    pid_text: str | None
    has_start_time: bool
    age: timedelta | None
    enqueued_age: timedelta | None
    heartbeat_age: timedelta | None
    detail: Mapping[str, DetailValue]
    claim: Claim

    def __post_init__(self) -> None:
        if self.pid is not None and self.pid <= 0:
            raise ValueError(f"pid: {self.pid} is no process id; a process id is a positive integer")
        if self.age is not None and not self.has_start_time:
            raise ValueError("age: a job without a start time has no age")
        _refuse_negative("age", self.age)
        _refuse_negative("enqueued_age", self.enqueued_age)
        _refuse_negative("heartbeat_age", self.heartbeat_age)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The waiting jobs of one kind.

    `enqueued` counts jobs of this kind, in whatever state, whose id lies above the cursor.
    `oldest_age` is of jobs that could run by now; None where there are none.
    """

    kind: Kind
    jobs: int
    enqueued: int
    oldest_age: timedelta | None

    def __post_init__(self) -> None:
        if self.jobs < 0 or self.enqueued < 0:
            raise ValueError(f"{self.kind}: a number of jobs is never negative")
        _refuse_negative("oldest_age", self.oldest_age)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeJobs:
    """How many jobs of one state have one scope (Matomo: all, segment, plugin, report)."""

    state: State
    scope: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJobs:
    """How many jobs of one state build one report of one plugin."""

    state: State
    plugin: str
    report: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Figures too dear for every poll, read at their own pace.

    `reports_left_out`: reports folded into `other`. `blocked_jobs`: waiting jobs that an overdue one holds back.
    """

    scopes: tuple[ScopeJobs, ...]
    reports: tuple[ReportJobs, ...]
    reports_left_out: int
    blocked_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One number a system keeps about itself; `name` is that of a metric in catalogue.py, without prefix."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One job that ended since the cursor, where the system keeps its ended jobs; None: not known how long it took."""

    kind: Kind
    outcome: str
    duration: timedelta | None

    def __post_init__(self) -> None:
        _refuse_negative("duration", self.duration)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSuccess:
    """The latest success of one kind, where the system keeps its ended jobs: how long ago it was, how long it took."""

    kind: Kind
    age: timedelta
    duration: timedelta | None

    def __post_init__(self) -> None:
        _refuse_negative("age", self.age)
        _refuse_negative("duration", self.duration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginnings:
    """Jobs that were started within the window, and how many of them ever had a heartbeat."""

    started: int
    initialised: int

    def __post_init__(self) -> None:
        if not 0 <= self.initialised <= self.started:
            raise ValueError(f"initialised: {self.initialised} of {self.started} cannot be")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a poll has read: the highest job id, the started jobs it saw, the last finished job."""

    last_id: DriverValue
    started: frozenset[JobId]
    last_finished_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one poll read, in one transaction.

    `read_at` is this machine's clock and `database_now` the database's, both taken as the first statement answered.
    `waiting` has one entry for each kind the queue knows or found. `started` holds up to the queue's limit, the oldest
    first; `started_left_out` counts the rest. `breakdown` is the last one that was read, at its own pace.
    `left_started` says of each job that was started at the cursor, is not in `started`, and is still in the queue,
    whether it waits or is started. `last_successes` and `beginnings` are there where ended jobs stay in the table.
    """

    queue: QueueName
    schema: str
    role: Role
    read_at: datetime
    database_now: datetime
    waiting: tuple[Waiting, ...]
    started: tuple[Attempt, ...]
    cursor: Cursor
    started_left_out: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType({}))
    left_started: Mapping[JobId, State] = field(default_factory=lambda: MappingProxyType({}))
    breakdown: Breakdown | None = None
    signals: tuple[Signal, ...] = ()
    finished: tuple[Finished, ...] = ()
    last_successes: tuple[LastSuccess, ...] = ()
    beginnings: Beginnings | None = None

    def __post_init__(self) -> None:
        for name in ("read_at", "database_now"):
            if getattr(self, name).utcoffset() is None:
                raise ValueError(f"{name}: an instant has a time zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSigns:
    """What a queue's workers look like on their host, as data for judging.

    `commands`: alternatives, each a tuple of words that must all be elements of argv; a leading `*` matches an ending.
    `child_marks`: words in the argv of work that can outlive its worker. Such work tells whose it is by parameters
    (`name=value`, joined by `&`) in its argv: `child_owner` names the one that holds its worker's pid, and `child_job`
    pairs others with what an attempt's detail, or its `kind`, says of the same thing.
    `web_workers`: names of processes that outlive their jobs, so that being alive proves nothing. `has_heartbeats`:
    rows say when their worker last lived.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    child_marks: tuple[str, ...] = ()
    child_owner: str | None = None
    child_job: tuple[tuple[str, str], ...] = ()
    web_workers: tuple[str, ...] = ()
    has_heartbeats: bool = False


def count_left_out(started: Mapping[Kind, int], read: Iterable[Attempt]) -> dict[Kind, int]:
    """Count, by kind, the started jobs of a table that are not among those that were read."""
    return dict(Counter(started) - Counter(attempt.kind for attempt in read))


def read_pid(text: str | None) -> int | None:
    """Return the process id that a row records, or None if it is not one: ASCII digits only, 1 to 4194304.

    Linux: `PID_MAX_LIMIT` is 4194304 on 64 bits (kernel, include/linux/threads.h). Matomo without `getmypid` records a
    random number far above it (facts of 5.3).
    """
    if text is None or not (text.isascii() and text.isdigit()) or text.startswith("0") or len(text) > 7:
        return None
    pid = int(text)
    return pid if pid <= 4_194_304 else None


def _refuse_negative(name: str, age: timedelta | None) -> None:
    if age is not None and age < NOTHING:
        raise ValueError(f"{name}: {age} is negative; a time span that cannot be true is None")
