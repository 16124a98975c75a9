"""Make the views of a queue from its status; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .collector import QueueStatus, Reading
from .facts import Facts, HostFacts
from .jobs import Attempt, Breakdown, DetailValue, Snapshot, State
from .labels import OTHER
from .tracker import NO_HOST
from .views import (
    AttemptView,
    GroupView,
    HealingView,
    KindView,
    ListedQueueView,
    LoadView,
    QueueView,
    ReportView,
    ScopeView,
)

WHOLE_SCOPES = {"all": "all reports", "segment": "all reports of a segment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One queue among very many, made in an eighth of the time of its view; what has a name of a view's is the same.

    `oldest_waiting_age_seconds` is that of all kinds, `hosts` are the facts themselves.
    """

    queue: str
    system: str
    up: bool
    error: str | None
    stuck_after_seconds: float
    timeout_after_seconds: float | None
    run_expected_every_seconds: float | None
    read_at: datetime | None = None
    waiting: int | None = None
    started: int | None = None
    stuck: int | None = None
    stuck_reasons: Mapping[str, int] | None = None
    stuck_alive: int | None = None
    overdue: int | None = None
    orphaned: int | None = None
    unjudged: int | None = None
    oldest_waiting_age_seconds: float | None = None
    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)
    healing: HealingView | None = None


def glance(status: QueueStatus, error: str | None, known: Mapping[str, Any]) -> Glance:
    """Show one queue as it stands, with what else is known of it; makes no view."""
    options, reading = status.options, status.reading
    found: dict[str, Any] = {
        "queue": status.name,
        "system": status.system,
        "up": status.is_up and reading is not None,
        "error": error,
        "stuck_after_seconds": options.stuck_after.total_seconds(),
        "timeout_after_seconds": _seconds(options.timeout_after),
        "run_expected_every_seconds": _seconds(options.run_expected_every),
    }
    if reading is not None:
        facts = reading.facts
        oldest = max(filter(None, facts.oldest_waiting.values()), default=None)
        found |= {
            "read_at": reading.snapshot.read_at,
            "waiting": facts.count(State.WAITING),
            "started": facts.count(State.STARTED),
            "stuck": len(facts.stuck),
            "stuck_reasons": Counter(facts.stuck.values()) if facts.stuck else {},
            "overdue": len(facts.overdue),
            "oldest_waiting_age_seconds": _seconds(oldest),
            "hosts": facts.hosts,
            "signals": _signals(reading.snapshot),
        }
    return Glance(**{**found, **known})


def show_queue(status: QueueStatus, error: str | None) -> QueueView:
    """Show one queue as it stands, with all of its started jobs."""
    reading = status.reading
    attempts = () if reading is None else tuple(show_attempt(one, reading) for one in _oldest_first(reading))
    return QueueView(**{**dict(list_queue(status, error)), "attempts": attempts})


def list_queue(status: QueueStatus, error: str | None) -> ListedQueueView:
    """Show one queue as it stands, without its started jobs."""
    options, reading = status.options, status.reading
    snapshot, facts = (reading.snapshot, reading.facts) if reading else (None, None)
    return ListedQueueView(
        queue=status.name,
        system=status.system,
        up=status.is_up and reading is not None,
        error=error,
        schema_version=snapshot.schema if snapshot else None,
        role=snapshot.role if snapshot else None,
        read_at=snapshot.read_at if snapshot else None,
        stuck_after_seconds=options.stuck_after.total_seconds(),
        timeout_after_seconds=_seconds(options.timeout_after),
        run_expected_every_seconds=_seconds(options.run_expected_every),
        poll_interval_seconds=status.interval.total_seconds(),
        database_clock_offset_seconds=_seconds(snapshot.database_now - snapshot.read_at) if snapshot else None,
        waiting=facts.count(State.WAITING) if facts else None,
        started=facts.count(State.STARTED) if facts else None,
        stuck=len(facts.stuck) if facts else None,
        stuck_reasons=dict(Counter(facts.stuck.values())) if facts else None,
        overdue=len(facts.overdue) if facts else None,
        kinds=tuple(_kinds(facts)) if facts else (),
        hosts=tuple(_hosts(facts)) if facts else (),
        scopes=tuple(_scopes(snapshot.breakdown)) if snapshot else (),
        reports=tuple(_reports(snapshot.breakdown)) if snapshot else (),
        signals=_signals(snapshot) if snapshot else {},
    )


def group_attempts(view: QueueView, dimension: str) -> QueueView:
    """Return the view with its started jobs grouped by `site`, `report` or `host`, the most stuck first."""
    attempts: dict[str, list[AttemptView]] = defaultdict(list)
    for attempt in view.attempts:
        name = _name_in(attempt, dimension)
        if name is not None:
            attempts[name].append(attempt)
    waiting = _waiting_by_report(view) if dimension == "report" else {}
    attempts.update({name: [] for name, jobs in waiting.items() if jobs and name not in attempts})
    groups = [
        GroupView(
            name=name,
            waiting=waiting.get(name),
            started=len(started),
            stuck=sum(attempt.stuck_reason is not None for attempt in started),
            overdue=sum(attempt.is_overdue for attempt in started),
            oldest_started_age_seconds=max(
                (attempt.age_seconds for attempt in started if attempt.age_seconds is not None), default=None
            ),
        )
        for name, started in attempts.items()
    ]
    groups.sort(key=lambda group: (-group.stuck, -group.started, -(group.waiting or 0), group.name))
    return view.model_copy(update={"groups": tuple(groups)})


def _name_in(attempt: AttemptView, dimension: str) -> str | None:
    detail = attempt.detail
    match dimension:
        case "host":
            return attempt.host or NO_HOST
        case "site":
            return None if detail.get("site") is None else str(detail["site"])
        case _:
            name = _report_name(str(detail.get("plugin") or ""), str(detail.get("report") or ""))
            return name or WHOLE_SCOPES.get(str(detail.get("scope")))


def _waiting_by_report(view: QueueView) -> dict[str, int]:
    whole = {WHOLE_SCOPES[entry.scope]: entry.waiting for entry in view.scopes if entry.scope in WHOLE_SCOPES}
    return whole | {_report_name(entry.plugin, entry.report): entry.waiting for entry in view.reports}


def _report_name(plugin: str, report: str) -> str:
    return OTHER if plugin == report == OTHER else ".".join(part for part in (plugin, report) if part)


def describe_rebuilt(detail: Mapping[str, DetailValue]) -> str:
    """Say what a job of Matomo rebuilds; of other systems' jobs nothing."""
    segment = f"segment {str(detail['segment'])[:8]}…" if detail.get("segment") else ""
    site = f"site {detail['site']}" if "site" in detail else ""
    words = [site, detail.get("date1"), segment, detail.get("plugin"), detail.get("report")]
    return " ".join(str(word) for word in words if word)


def show_attempt(attempt: Attempt, reading: Reading) -> AttemptView:
    """Show one started job."""
    facts = reading.facts
    return AttemptView(
        queue=attempt.key.queue,
        job_id=attempt.job_id,
        kind=attempt.kind,
        host=attempt.host,
        pid=attempt.pid,
        pid_text=attempt.pid_text,
        age_seconds=_seconds(attempt.age),
        enqueued_age_seconds=_seconds(attempt.enqueued_age),
        heartbeat_age_seconds=_seconds(reading.history.silences.get(attempt.key)),
        stuck_reason=facts.stuck.get(attempt.key),
        is_overdue=attempt.key in facts.overdue,
        detail=dict(attempt.detail),
    )


def _oldest_first(reading: Reading) -> list[Attempt]:
    return sorted(
        reading.snapshot.started,
        key=lambda attempt: (attempt.has_start_time, -(attempt.age or timedelta(0)), attempt.job_id),
    )


def _kinds(facts: Facts) -> Iterable[KindView]:
    for kind, age in facts.oldest_waiting.items():
        yield KindView(
            kind=kind,
            waiting=facts.jobs[State.WAITING, kind],
            started=facts.jobs[State.STARTED, kind],
            oldest_waiting_age_seconds=_seconds(age),
        )


def _hosts(facts: Facts) -> Iterable[LoadView]:
    for host, load in facts.hosts.items():
        yield LoadView(
            host=host,
            started=load.started,
            workers=load.workers,
            max_jobs_per_worker=load.max_jobs_per_worker,
            stuck=sum(load.stuck.values()),
            overdue=load.overdue,
            oldest_started_age_seconds=_seconds(load.oldest_age),
        )


def _signals(snapshot: Snapshot) -> dict[str, float]:
    signals = {signal.name: signal.value for signal in snapshot.signals}
    return signals | ({"matomo_blocked_jobs": snapshot.breakdown.blocked_jobs} if snapshot.breakdown else {})


def _scopes(breakdown: Breakdown | None) -> Iterable[ScopeView]:
    jobs = {(entry.scope, entry.state): entry.jobs for entry in breakdown.scopes} if breakdown else {}
    for scope in dict.fromkeys(scope for scope, _ in jobs):
        waiting, started = jobs.get((scope, State.WAITING), 0), jobs.get((scope, State.STARTED), 0)
        yield ScopeView(scope=scope, waiting=waiting, started=started)


def _reports(breakdown: Breakdown | None) -> Iterable[ReportView]:
    jobs = {(entry.plugin, entry.report, entry.state): entry.jobs for entry in breakdown.reports} if breakdown else {}
    for plugin, report in dict.fromkeys((plugin, report) for plugin, report, _ in jobs):
        yield ReportView(
            plugin=plugin,
            report=report,
            waiting=jobs.get((plugin, report, State.WAITING), 0),
            started=jobs.get((plugin, report, State.STARTED), 0),
        )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
