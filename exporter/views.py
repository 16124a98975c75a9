"""What people and programs are shown of a queue: frozen, JSON-ready, the same for every `--json` and the API.

Durations are numbers that end in `_seconds`, instants are RFC 3339 in UTC, and what is not known is null, not missing.
"""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

JSON_VERSION = 1


class View(BaseModel):
    """A frozen view; unknown fields are a mistake of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KindView(View):
    """The jobs of one kind. `oldest_waiting_age_seconds` is null where none waits."""

    kind: str
    waiting: int
    started: int
    oldest_waiting_age_seconds: float | None


class LoadView(View):
    """The load of one host as its rows record it; host `none` where they record none."""

    host: str
    started: int
    workers: int
    max_jobs_per_worker: int
    stuck: int
    overdue: int
    oldest_started_age_seconds: float | None


class AttemptView(View):
    """One started job. `pid` is null where the row records none or no process id; `pid_text` is what it records.

    `heartbeat_age_seconds` is how long its heartbeat has not changed; null where it never had one.
    `verdict` says whether its worker is alive, dead or unknown, and `verdict_reason` why; null where nobody judged.
    """

    queue: str
    job_id: str
    kind: str
    host: str | None
    pid: int | None
    pid_text: str | None
    age_seconds: float | None
    enqueued_age_seconds: float | None
    heartbeat_age_seconds: float | None
    stuck_reason: str | None
    is_overdue: bool
    detail: dict[str, str | int | None]
    verdict: str | None = None
    verdict_reason: str | None = None
    evidence: dict[str, str | int | None] = {}


class ScopeView(View):
    """The jobs of one scope (Matomo)."""

    scope: str
    waiting: int
    started: int


class ReportView(View):
    """The jobs that build one report of one plugin (Matomo)."""

    plugin: str
    report: str
    waiting: int
    started: int


class GroupView(View):
    """The started jobs of one host, site or report; `waiting` is null where waiting jobs are not counted so."""

    name: str
    waiting: int | None
    started: int
    stuck: int
    overdue: int
    oldest_started_age_seconds: float | None


class QueueView(View):
    """One queue. Where it is not `up`, `error` says why and the rest is of the last good poll; null if there was none.

    `attempts` are the started jobs, those without a start time first, then the oldest; up to the queue's limit.
    `groups` are the same jobs by what was asked for, the most stuck first; empty where nothing was, or jobs have none.
    `orphaned` counts those whose worker is proven dead; null where nobody judged.
    """

    queue: str
    system: str
    up: bool
    error: str | None
    schema_version: str | None
    role: str | None
    read_at: datetime | None
    stuck_after_seconds: float
    database_clock_offset_seconds: float | None
    waiting: int | None
    started: int | None
    stuck: int | None
    overdue: int | None
    kinds: tuple[KindView, ...]
    hosts: tuple[LoadView, ...]
    attempts: tuple[AttemptView, ...]
    scopes: tuple[ScopeView, ...]
    reports: tuple[ReportView, ...]
    signals: dict[str, float]
    groups: tuple[GroupView, ...] = ()
    orphaned: int | None = None


class HostView(View):
    """One host that is asked. Where it is not `up`, `reason` and `error` say why it gave no usable answer."""

    host: str
    up: bool
    reason: str | None
    error: str | None
    load_average: float | None
    processors: int | None


class HealView(View):
    """One job that was put back, would be, or was refused: `result` says which.

    `result`: `planned`, `refused`, or an outcome: `reset`, `lost_race`, `gone`, `failed`, `unknown`, `dry_run`; null
    where the outcome is not known yet. `refusal` is why it was refused, and `detail` says more for people.
    `verdict_reason` and `evidence` are of the last proof. `row` is the whole original row, where one is kept.
    """

    queue: str
    job_id: str
    kind: str
    host: str | None
    pid_text: str | None
    result: str | None
    refusal: str | None
    detail: str
    verdict: str | None
    verdict_reason: str | None
    evidence: dict[str, str | int | None]
    age_seconds: float | None
    first_dead_at: datetime | None
    at: datetime | None
    actor: str | None
    instance: str | None
    row: dict[str, str | int | float | bool | None] | None


class HealsView(View):
    """The answer of `heal --json` and `history --json`."""

    version: int = JSON_VERSION
    heals: tuple[HealView, ...]


class HostsView(View):
    """The answer of `hosts check --json`."""

    version: int = JSON_VERSION
    hosts: tuple[HostView, ...]


class QueuesView(View):
    """The answer of `check --json`."""

    version: int = JSON_VERSION
    queues: tuple[QueueView, ...]
    hosts: tuple[HostView, ...] = ()
