"""Make the views of a queue from its status; pure."""

from collections.abc import Iterable
from datetime import timedelta

from .collector import QueueStatus, Reading
from .facts import Facts
from .jobs import Attempt, Breakdown, Snapshot, State
from .views import AttemptView, KindView, LoadView, QueueView, ReportView, ScopeView


def show_queue(status: QueueStatus, error: str | None) -> QueueView:
    """Show one queue as it stands."""
    reading = status.reading
    if reading is None:
        return QueueView(
            queue=status.name,
            system=status.system,
            up=False,
            error=error,
            schema_version=None,
            role=None,
            read_at=None,
            database_clock_offset_seconds=None,
            waiting=None,
            started=None,
            stuck=None,
            overdue=None,
            kinds=(),
            hosts=(),
            attempts=(),
            scopes=(),
            reports=(),
            signals={},
        )
    snapshot, facts = reading.snapshot, reading.facts
    return QueueView(
        queue=status.name,
        system=status.system,
        up=status.is_up,
        error=error,
        schema_version=snapshot.schema,
        role=snapshot.role,
        read_at=snapshot.read_at,
        database_clock_offset_seconds=(snapshot.database_now - snapshot.read_at).total_seconds(),
        waiting=sum(number for (state, _), number in facts.jobs.items() if state is State.WAITING),
        started=sum(number for (state, _), number in facts.jobs.items() if state is State.STARTED),
        stuck=len(facts.stuck),
        overdue=len(facts.overdue),
        kinds=tuple(_kinds(facts)),
        hosts=tuple(_hosts(facts)),
        attempts=tuple(show_attempt(attempt, facts) for attempt in _oldest_first(reading)),
        scopes=tuple(_scopes(snapshot.breakdown)),
        reports=tuple(_reports(snapshot.breakdown)),
        signals=_signals(snapshot),
    )


def show_attempt(attempt: Attempt, facts: Facts) -> AttemptView:
    """Show one started job."""
    return AttemptView(
        queue=attempt.key.queue,
        job_id=attempt.job_id,
        kind=attempt.kind,
        host=attempt.host,
        pid=attempt.pid,
        pid_text=attempt.pid_text,
        age_seconds=_seconds(attempt.age),
        enqueued_age_seconds=_seconds(attempt.enqueued_age),
        heartbeat_age_seconds=_seconds(attempt.heartbeat_age),
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
