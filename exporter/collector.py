"""Turn a queue's status into metric families, in the client library's own types.

Every known value of a label is published, with 0 where there is nothing; hosts only while they are in the table.
A timestamp of nothing is absent. What goes when the snapshot is stale is the page's business, by `Metric.is_lasting`.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client import Metric as Family
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from .catalogue import METRICS, Type
from .facts import Facts
from .histogram import Histogram
from .jobs import Snapshot, WorkerSigns
from .options import QueueOptions
from .tracker import History

RUN_OUTCOMES = ("success", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known after a successful poll; published whole, by swapping one reference.

    `read_seconds`: this machine's boot clock when the database said what time it is.
    """

    snapshot: Snapshot
    read_seconds: float
    facts: Facts
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """Everything about one queue that is published. `reading` is None until the first poll succeeds."""

    name: str
    system: str
    signs: WorkerSigns
    options: QueueOptions
    is_up: bool
    polls: Mapping[str, int]
    poll_durations: Histogram
    interval: timedelta
    stale_after: timedelta
    history: History
    reading: Reading | None


class Families:
    """Builds families; each sample's labels are given in the catalogue's order, after those that all samples share."""

    def __init__(self, *shared_labels: str) -> None:
        self._shared_labels = shared_labels
        self._numbers: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        self._histograms: dict[str, HistogramMetricFamily] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """Add a sample to a gauge or counter."""
        if name not in self._numbers:
            metric = METRICS[name]
            make = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
            self._numbers[name] = make(metric.full_name, metric.help, labels=metric.labels)
        self._numbers[name].add_metric((*self._shared_labels, *labels), value)

    def set_date(self, name: str, at: datetime | None, *labels: str) -> None:
        """Add a timestamp, if there is one."""
        if at is not None:
            self.set(name, at.timestamp(), *labels)

    def set_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Add a histogram."""
        if name not in self._histograms:
            metric = METRICS[name]
            self._histograms[name] = HistogramMetricFamily(metric.full_name, metric.help, labels=metric.labels)
        pairs = histogram.cumulative()
        self._histograms[name].add_metric((*self._shared_labels, *labels), pairs, histogram.sum_seconds)

    def __iter__(self) -> Iterator[Family]:
        yield from self._numbers.values()
        yield from self._histograms.values()


def collect_queue(status: QueueStatus) -> Iterable[Family]:
    """Return the families of one queue."""
    families = Families(status.name)
    _collect_polls(families, status)
    _collect_history(families, status)
    if status.reading:
        _collect_snapshot(families, status.reading.snapshot, status.reading.facts, status)
        _collect_hosts(families, status.reading.facts, status.reading.snapshot)
        _collect_matomo(families, status.reading.snapshot)
        _collect_meltano(families, status.reading.snapshot, status.reading.facts)
    return families


def collect_program(version: str, *, configured_at: datetime, is_configured: bool) -> Iterable[Family]:
    """Return what the program says of itself."""
    families = Families()
    families.set("build_info", 1, version, platform.python_version())
    families.set("config_reload_successful", is_configured)
    families.set_date("config_reload_timestamp_seconds", configured_at)
    return families


def _collect_polls(families: Families, status: QueueStatus) -> None:
    families.set("up", status.is_up)
    for outcome, number in status.polls.items():
        families.set("polls_total", number, outcome)
    families.set_histogram("poll_duration_seconds", status.poll_durations)
    families.set("poll_interval_seconds", status.interval.total_seconds())
    options = status.options
    limits = {
        "stuck_after": options.stuck_after,
        "timeout_after": options.timeout_after,
        "worker_timeout_after": options.worker_timeout_after,
        "stale_after": status.stale_after,
        "run_expected_every": options.run_expected_every,
    }
    for limit, span in limits.items():
        if span is not None:
            families.set("limit_seconds", span.total_seconds(), limit)


def _collect_history(families: Families, status: QueueStatus) -> None:
    history = status.history
    counters = {
        "jobs_enqueued_total": history.enqueued,
        "jobs_ended_total": history.ended,
        "attempts_started_total": history.attempts_started,
        "attempts_timed_out_total": history.timed_out,
    }
    for name, by_kind in counters.items():
        for kind, number in by_kind.items():
            families.set(name, number, kind)
    for (kind, ending), number in history.attempts_ended.items():
        families.set("attempts_ended_total", number, kind, ending)
    is_meltano = status.system == "meltano"
    histograms = {
        # Where the rows of ended jobs stay, they know better than we do.
        "attempt_duration_seconds": history.finished_durations if is_meltano else history.attempt_durations,
        "waiting_duration_seconds": history.waiting_durations,
    }
    if is_meltano:
        runs = {(kind, outcome): 0 for kind in history.enqueued for outcome in RUN_OUTCOMES}
        for (kind, outcome), number in {**runs, **history.finished}.items():
            families.set("meltano_runs_total", number, kind, outcome)
    if status.reading and status.reading.snapshot.cursor.last_finished_id is not None:
        histograms["matomo_archive_duration_seconds"] = history.finished_durations
    for name, durations in histograms.items():
        for kind, histogram in durations.items():
            families.set_histogram(name, histogram, kind)


def _collect_snapshot(families: Families, snapshot: Snapshot, facts: Facts, status: QueueStatus) -> None:
    families.set("queue_info", 1, status.system, snapshot.schema, snapshot.role)
    families.set_date("snapshot_timestamp_seconds", snapshot.read_at)
    families.set("database_clock_offset_seconds", (snapshot.database_now - snapshot.read_at).total_seconds())
    for label, number in facts.labels_dropped.items():
        families.set("labels_dropped", number, label)
    for (state, kind), number in facts.jobs.items():
        families.set("jobs", number, state, kind)
    for kind, age in facts.oldest_waiting.items():
        families.set("oldest_waiting_age_seconds", age.total_seconds() if age else 0, kind)
        families.set_date("oldest_waiting_timestamp_seconds", None if age is None else snapshot.read_at - age, kind)
    if facts.timeout_ratio is not None:
        families.set("timeout_ratio", facts.timeout_ratio)
    if facts.initialisation_ratio is not None:
        families.set("initialisation_ratio", facts.initialisation_ratio)
    if status.signs.has_heartbeats:
        for kind in status.history.enqueued:
            age = facts.heartbeat_age.get(kind)
            families.set("heartbeat_age_seconds", age.total_seconds() if age else 0, kind)


def _collect_hosts(families: Families, facts: Facts, snapshot: Snapshot) -> None:
    for host, load in facts.hosts.items():
        oldest = load.oldest_age
        families.set("oldest_started_age_seconds", oldest.total_seconds() if oldest else 0, host)
        families.set_date(
            "oldest_started_timestamp_seconds", None if oldest is None else snapshot.read_at - oldest, host
        )
        families.set_date("oldest_worker_timestamp_seconds", load.oldest_worker_at, host)
        for reason, number in load.stuck.items():
            families.set("stuck_jobs", number, host, reason)
        families.set("overdue_jobs", load.overdue, host)
        families.set("host_started_jobs", load.started, host)
        families.set("host_workers", load.workers, host)
        families.set("max_jobs_per_worker", load.max_jobs_per_worker, host)


def _collect_matomo(families: Families, snapshot: Snapshot) -> None:
    for signal in snapshot.signals:
        families.set(signal.name, signal.value)
    if snapshot.breakdown:
        for scope in snapshot.breakdown.scopes:
            families.set("scope_jobs", scope.jobs, scope.state, scope.scope)
        for report in snapshot.breakdown.reports:
            families.set("report_jobs", report.jobs, report.state, report.plugin, report.report)
        families.set("matomo_blocked_jobs", snapshot.breakdown.blocked_jobs)


def _collect_meltano(families: Families, snapshot: Snapshot, facts: Facts) -> None:
    for kind, success in facts.last_success.items():
        families.set_date("meltano_last_success_timestamp_seconds", snapshot.read_at - success.age, kind)
        if success.duration is not None:
            families.set("meltano_last_duration_seconds", success.duration.total_seconds(), kind)
