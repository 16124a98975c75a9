"""What people and programs are shown of a queue: frozen, JSON-ready, the same for every `--json` and the API.

Durations are numbers that end in `_seconds`, instants are RFC 3339 in UTC, and what is not known is null, not missing.
A line below a field says what it means: docs/generate.py makes docs/reference/api.md of them.
"""

import json
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError

JSON_VERSION = 1


class View(BaseModel):
    """A frozen view; unknown fields are a mistake of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, *, indent: int | None = None) -> str:
        """Write it as JSON; half of a surrogate pair, which a driver may hand on and UTF-8 cannot say, as an escape."""
        try:
            return self.model_dump_json(indent=indent)
        except PydanticSerializationError:
            return json.dumps(self.model_dump(mode="json"), indent=indent)


class KindView(View):
    """The jobs of one kind."""

    kind: str
    """Its label; `other` beyond `max_kinds`."""
    waiting: int
    """Jobs that wait."""
    started: int
    """Jobs that are started."""
    oldest_waiting_age_seconds: float | None
    """Null where none waits. Matomo: of periods that are over."""


class LoadView(View):
    """The load of one host as the rows of one queue record it."""

    host: str
    """The configured name; `none` where the rows record no host, `other` beyond `max_hosts`."""
    started: int
    """Started jobs."""
    workers: int
    """Different process ids."""
    max_jobs_per_worker: int
    """The most that one process holds."""
    stuck: int
    """Of them, those that are stuck."""
    overdue: int
    """Of them, those that are overdue."""
    oldest_started_age_seconds: float | None
    """Null where none has a usable start time."""


class AttemptView(View):
    """One started job."""

    queue: str
    """The name of its queue in the configuration."""
    job_id: str
    """Its primary key, as text."""
    kind: str
    """What kind of job it is."""
    host: str | None
    """As the row records it."""
    pid: int | None
    """Null where the row records none, or what is no process id."""
    pid_text: str | None
    """What the row records, whatever it is."""
    age_seconds: float | None
    """Since it was started, on the database's clock; null without a start time, or with one that cannot be true."""
    enqueued_age_seconds: float | None
    """How long ago it came in; null where that is not recorded."""
    heartbeat_age_seconds: float | None
    """How long its heartbeat has not changed; null where it never had one."""
    stuck_reason: str | None
    """`no_start_time`, `never_initialised`, `heartbeat_lost`, `over_age`; null where it is not stuck."""
    is_overdue: bool
    """Whether it was started longer ago than `timeout_after`."""
    detail: dict[str, str | int | None]
    """What the system says of it; Matomo: `site`, `date1`, `date2`, `scope`, `segment`, `plugin`, `report`."""
    verdict: str | None = None
    """Whether its worker is `alive`, `dead` or `unknown`; null where nobody judged."""
    verdict_reason: str | None = None
    """Why; the values are those of the label `reason` of `queuemedic_worker_verdicts`."""
    evidence: dict[str, str | int | None] = {}
    """What the verdict rests on, for people."""


class ScopeView(View):
    """The jobs of one scope (Matomo)."""

    scope: str
    """`all`, `segment`, `plugin` or `report`."""
    waiting: int
    """Jobs that wait."""
    started: int
    """Jobs that are started."""


class ReportView(View):
    """The jobs that build one report of one plugin (Matomo)."""

    plugin: str
    """`other` beyond `max_reports`, as is the report."""
    report: str
    """Its name within the plugin."""
    waiting: int
    """Jobs that wait."""
    started: int
    """Jobs that are started."""


class GroupView(View):
    """The started jobs of one host, site or report."""

    name: str
    """The host, the site or the report."""
    waiting: int | None
    """Null where waiting jobs are not counted so."""
    started: int
    """Started jobs."""
    stuck: int
    """Of them, those that are stuck."""
    overdue: int
    """Of them, those that are overdue."""
    oldest_started_age_seconds: float | None
    """Null where none has a usable start time."""


class PauseView(View):
    """A person stopped healing."""

    queue: str | None
    """Null: of all queues."""
    why: str
    actor: str
    at: datetime


class HealingView(View):
    """What healing does with one queue."""

    mode: str
    """The mode in force: `disabled`, `dry_run`, `reset` or `paused`."""
    breaker_open: bool
    """Whether so many hosts lost workers at once that nothing is put back."""
    quarantined: int
    """Orphaned jobs that were put back too often to be put back again."""
    blocked: dict[str, int]
    """Orphaned jobs by the reason for which they are not put back now."""
    passed_at: datetime | None
    """When the last pass ended."""


class QueueFigures(View):
    """One queue without its started jobs."""

    queue: str
    """Its name in the configuration."""
    system: str
    """`matomo`, `meltano` or `table`."""
    up: bool
    """Whether the last poll succeeded and is no older than `stale_after`; else the rest is of the last good one."""
    error: str | None
    """Why it is not up."""
    schema_version: str | None
    """The oldest release with the columns that were found."""
    role: str | None
    """`primary` or `replica`."""
    read_at: datetime | None
    """When the last good poll was; null, as is all else that it brings, where there was none."""
    stuck_after_seconds: float
    """The limit in force, as are the next two."""
    timeout_after_seconds: float | None = None
    """Null where there is none."""
    run_expected_every_seconds: float | None = None
    """Null where nothing is expected."""
    poll_interval_seconds: float | None = None
    """The interval in force."""
    database_clock_offset_seconds: float | None
    """The database's clock minus this machine's."""
    waiting: int | None
    """Jobs that wait."""
    started: int | None
    """Jobs that are started."""
    stuck: int | None
    """Of them, those that are stuck."""
    stuck_reasons: dict[str, int] | None = None
    """The stuck jobs by reason."""
    stuck_alive: int | None = None
    """The stuck jobs whose worker is alive; null where nobody judged."""
    overdue: int | None
    """Of them, those that are overdue."""
    orphaned: int | None = None
    """Started jobs whose worker is proven dead; null where nobody judged."""
    unjudged: int | None = None
    """Those of which nobody can tell whether the worker is alive, once its host was asked; null if nobody judged."""
    kinds: tuple[KindView, ...]
    """The jobs by kind."""
    hosts: tuple[LoadView, ...]
    """The started jobs by host."""
    scopes: tuple[ScopeView, ...]
    """The jobs by scope (Matomo)."""
    reports: tuple[ReportView, ...]
    """The jobs by report (Matomo)."""
    signals: dict[str, float]
    """What the system itself says, such as when Matomo last archived; the names are those of metrics."""
    healing: HealingView | None = None
    """Null where the command that was asked heals nothing."""


class QueueView(QueueFigures):
    """One queue with its started jobs."""

    attempts: tuple[AttemptView, ...]
    """Those without a start time first, then the oldest; at most `max_started`."""
    groups: tuple[GroupView, ...] = ()
    """The same jobs by what was asked for, the most stuck first; empty where nothing was, or jobs have none."""


class ListedQueueView(QueueFigures):
    """One queue among all."""

    attempts: None = None
    """Null: they are at `/api/v1/queues/{queue}/attempts`."""
    groups: tuple[GroupView, ...] = ()


class HostView(View):
    """One host that is asked."""

    host: str
    """Its name in the configuration."""
    up: bool
    """Whether its last answer can be used."""
    reason: str | None
    """Why it cannot, such as `unreachable`, `timeout`, `host_key`."""
    error: str | None
    """The same for people."""
    load_average: float | None
    """Over one minute."""
    processors: int | None
    """How many it has."""
    answered_at: datetime | None = None
    """When it last gave an answer."""
    worker_memory_bytes: int | None = None
    """The resident memory of its largest worker, or child of one."""
    worker_memory_limit_bytes: int | None = None
    """The configured limit; null where there is none."""


class HealView(View):
    """One job that was put back, would be, or was refused."""

    queue: str
    """The name of its queue in the configuration."""
    job_id: str
    """Its primary key, as text."""
    kind: str
    """What kind of job it is."""
    host: str | None
    """As the row recorded it."""
    pid_text: str | None
    """What the row recorded, whatever it is."""
    result: str | None
    """`planned`, `refused`, or an outcome: `reset`, `lost_race`, `gone`, `failed`, `unknown`, `dry_run`; null where the
    outcome is not known yet."""
    refusal: str | None
    """Why it was refused."""
    detail: str
    """More about that, for people."""
    verdict: str | None
    """Of the last proof, as are the next two."""
    verdict_reason: str | None
    """Why."""
    evidence: dict[str, str | int | None]
    """What it rests on, for people."""
    age_seconds: float | None
    """Since it was started; null in a history."""
    first_dead_at: datetime | None
    """When its worker was first judged dead."""
    at: datetime | None
    """When that was; null in a plan."""
    actor: str | None
    """Who did it: `serve`, or a person."""
    instance: str | None
    """Which instance, as `host:pid`."""
    row: dict[str, str | int | float | bool | None] | None
    """The whole original row where one is kept; always null in the API: it may hold what is not for everybody."""


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


class ListedQueuesView(View):
    """The same without started jobs."""

    version: int = JSON_VERSION
    queues: tuple[ListedQueueView, ...]
    hosts: tuple[HostView, ...] = ()
