"""Every metric of the program: name, type, labels, help, buckets, and whether it outlives a stale snapshot.

The order here is the order on the page. A metric is used through `METRICS`, never by a name written elsewhere a second
time, so that an unknown name is a KeyError in the first test that publishes it. Renaming anything here is breaking.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "queuemedic_"
DURATION_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
FAST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Type(StrEnum):
    """The metric types of the exposition format that are used here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric family. `name` is without prefix, and for a counter with `_total`; `labels` in the order of samples.

    `is_lasting`: stays on the page when the snapshot behind it is stale. Counters and histograms always do.
    """

    name: str
    type: Type
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    is_lasting: bool = False

    @property
    def full_name(self) -> str:
        """The name on the page, with prefix."""
        return PREFIX + self.name


def _gauge(name: str, labels: str, help_text: str, *, lasting: bool = False) -> Metric:
    return Metric(name=name, type=Type.GAUGE, labels=tuple(labels.split()), help=help_text, is_lasting=lasting)


def _counter(name: str, labels: str, help_text: str) -> Metric:
    return Metric(name=name, type=Type.COUNTER, labels=tuple(labels.split()), help=help_text, is_lasting=True)


def _histogram(name: str, labels: str, help_text: str, buckets: tuple[float, ...] = DURATION_BUCKETS) -> Metric:
    return Metric(
        name=name,
        type=Type.HISTOGRAM,
        labels=tuple(labels.split()),
        help=help_text,
        buckets=buckets,
        is_lasting=True,
    )


QUEUE_METRICS = (
    _gauge("up", "queue", "1 if the last poll of the queue succeeded, else 0.", lasting=True),
    _gauge(
        "queue_info",
        "queue system schema role",
        "Always 1; schema is the oldest release with the columns found, role what the server says of itself.",
        lasting=True,
    ),
    _gauge(
        "snapshot_timestamp_seconds",
        "queue",
        "When the queue was last read, on the exporter's clock.",
        lasting=True,
    ),
    _gauge(
        "database_clock_offset_seconds", "queue", "The database's clock minus the exporter's, at the last snapshot."
    ),
    _counter(
        "polls_total",
        "queue outcome",
        "Polls by outcome: ok, timeout, unreachable, refused, bad_schema or failed.",
    ),
    _histogram("poll_duration_seconds", "queue", "How long polls took, whatever their outcome.", FAST_BUCKETS),
    _gauge("poll_interval_seconds", "queue", "The interval in force between polls, back-off included.", lasting=True),
    _gauge(
        "limit_seconds",
        "queue limit",
        "The configured limits that the other metrics are measured against; rules compare with these.",
        lasting=True,
    ),
    _gauge(
        "labels_dropped",
        "queue label",
        "Values folded into 'other' because more were found than the configured maximum.",
    ),
    _gauge("jobs", "queue state kind", "Jobs in the table by state (waiting, started) and kind: the backlog."),
    _gauge(
        "scope_jobs",
        "queue state scope",
        "Matomo jobs by state and scope, from `name` and `report`; read every breakdown_every.",
    ),
    _gauge(
        "report_jobs",
        "queue state plugin report",
        "Matomo jobs that build one plugin or report, by `name` and `report`; read every breakdown_every.",
    ),
    _gauge(
        "oldest_waiting_age_seconds",
        "queue kind",
        "Age of the job that has waited longest, at the snapshot; Matomo: of periods already over; 0 if none waits.",
    ),
    _gauge(
        "oldest_waiting_timestamp_seconds",
        "queue kind",
        "When the job that has waited longest was enqueued, on the exporter's clock; absent if none waits.",
    ),
    _gauge(
        "oldest_started_age_seconds",
        "queue host",
        "Age of the attempt that was started longest ago, at the snapshot; 0 if none with a start time is started.",
    ),
    _gauge(
        "oldest_started_timestamp_seconds",
        "queue host",
        "When the attempt that is started longest began, on the exporter's clock; absent if none is started.",
    ),
    _gauge(
        "oldest_worker_timestamp_seconds",
        "queue host",
        "Start of the longest-running worker, seen over all the jobs it held; at the earliest its oldest attempt at the first poll.",
    ),
    _gauge(
        "stuck_jobs",
        "queue host reason",
        "Started jobs that look stuck, each under its first reason: no_start_time, never_initialised, heartbeat_lost, over_age.",
    ),
    _gauge("overdue_jobs", "queue host", "Jobs started longer ago than timeout_after."),
    _gauge("host_started_jobs", "queue host", "Started jobs by the host that their rows record."),
    _gauge("host_workers", "queue host", "Different process ids that the started rows of a host record."),
    _gauge("max_jobs_per_worker", "queue host", "Most started jobs that one process id of a host holds at once."),
    _counter(
        "jobs_enqueued_total",
        "queue kind",
        "Jobs that came into the table, counted between polls by their ids.",
    ),
    _counter(
        "jobs_ended_total",
        "queue kind",
        "Jobs that left the table or the queue, in whatever way: done, failed, deleted.",
    ),
    _counter(
        "attempts_started_total",
        "queue kind",
        "Attempts first seen at a poll; those that began and ended between two polls are not seen.",
    ),
    _counter(
        "attempts_ended_total",
        "queue kind outcome",
        "Attempts seen at one poll and over at the next: gone, returned, restarted or healed; shorter ones are not seen.",
    ),
    _counter(
        "attempts_timed_out_total",
        "queue kind",
        "Attempts seen to cross timeout_after, once each; those first seen beyond it do not count.",
    ),
    _histogram(
        "attempt_duration_seconds",
        "queue kind",
        "How long attempts took that are gone: an upper bound, to the poll that missed them; shorter ones than a poll interval are not seen. Meltano: all runs that succeeded, exactly.",
    ),
    _histogram(
        "waiting_duration_seconds", "queue kind", "From enqueued to the poll at which an attempt was first seen."
    ),
    _gauge(
        "timeout_ratio",
        "queue",
        "Timeout rate, 0 to 1: attempts that crossed timeout_after within timeout_window or are still over it, by jobs ended within it plus those still over; absent below 10.",
    ),
    _gauge(
        "initialisation_ratio",
        "queue",
        "Meltano: runs that got a first heartbeat by runs started within timeout_window, 0 to 1; absent where none was started.",
    ),
    _gauge(
        "heartbeat_age_seconds",
        "queue kind",
        "Longest time without a new heartbeat among started jobs that had one; systems with heartbeats only.",
    ),
    _gauge(
        "matomo_archiving_started_timestamp_seconds",
        "queue",
        "Option LastFullArchivingStartTime, on Matomo's clock: the last core:archive that began, refused ones included.",
    ),
    _gauge(
        "matomo_archiving_completed_timestamp_seconds",
        "queue",
        "Option LastCompletedFullArchiving, on Matomo's clock; runs refused for concurrency set it too.",
    ),
    _gauge(
        "matomo_last_invalidation_timestamp_seconds",
        "queue",
        "Option CronArchive.lastInvalidationTime, on Matomo's clock: the last time a run looked for new work of a site.",
    ),
    _gauge(
        "matomo_pending_invalidations",
        "queue",
        "Options report_to_invalidate_*: late visits remembered but not yet in the table.",
    ),
    _gauge(
        "matomo_sites_left",
        "queue",
        "Sites still to visit in the shared run, from option SharedSiteIdsToArchive_AllWebsites.",
    ),
    _gauge(
        "matomo_rearchive_list_bytes",
        "queue",
        "Length of option ReArchiveList: re-archiving that will become jobs at the next run.",
    ),
    _gauge(
        "matomo_blocked_jobs",
        "queue",
        "Waiting jobs that Matomo leaves alone because an overdue started one of their site overlaps them; read every breakdown_every.",
    ),
    _gauge(
        "matomo_maintenance_mode",
        "queue",
        "1 if Matomo's configuration has maintenance_mode on; only with matomo_config.",
    ),
    _histogram(
        "matomo_archive_duration_seconds",
        "queue kind",
        "Durations from archiving_metrics (Matomo 5.7 or later), of archives that were finished since the exporter began.",
    ),
    _gauge("meltano_last_success_timestamp_seconds", "queue kind", "When a run of the job last succeeded."),
    _gauge(
        "meltano_last_duration_seconds",
        "queue kind",
        "How long the last successful run of the job took; where others failed, their end is not known.",
    ),
    _counter(
        "meltano_runs_total",
        "queue kind outcome",
        "Runs that ended since the exporter began: success, fail, or other for a state that Meltano itself never writes.",
    ),
    _gauge(
        "worker_verdicts",
        "queue host verdict reason",
        "Judged attempts: alive, dead or unknown, and why; present values only.",
    ),
    _gauge("orphaned_jobs", "queue host", "Started jobs whose worker is proven dead, not yet reset."),
    _gauge("healing_mode", "queue mode", "1 for the mode in force: disabled, dry_run, reset or paused.", lasting=True),
    _counter("heals_total", "queue outcome", "Heals by outcome, once for each attempt and outcome; dry runs too."),
    _counter(
        "heal_refusals_total",
        "queue reason",
        "Heals refused by a guard, once for each attempt and reason: of orphaned jobs, and of stuck ones that nobody can judge.",
    ),
    _gauge("blocked_heals", "queue reason", "Orphaned jobs that a guard keeps from being reset now."),
    _gauge(
        "quarantined_jobs", "queue", "Orphaned jobs left alone because they kept killing their worker.", lasting=True
    ),
    _gauge(
        "breaker_open", "queue", "1 while healing is stopped because too many hosts look dead at once.", lasting=True
    ),
    _histogram("heal_delay_seconds", "queue", "From first judged dead to reset."),
    _gauge("heal_pass_timestamp_seconds", "queue", "When the last healing pass was completed.", lasting=True),
    _gauge(
        "healer_leader",
        "queue",
        "1 if this instance had the queue's lock in the last pass that wanted it; 0 where none did yet.",
        lasting=True,
    ),
)

PROGRAM_METRICS = (
    _gauge("host_up", "host", "1 if the host gave a usable answer in the last round, else 0.", lasting=True),
    _gauge("host_answer_timestamp_seconds", "host", "When the host last gave a usable answer.", lasting=True),
    _gauge("host_load_average", "host", "Load average of one minute, as the host last answered.", lasting=True),
    _gauge("host_processors", "host", "Processors of the host, as it last answered.", lasting=True),
    _gauge(
        "host_worker_memory_bytes", "host", "Resident memory of the largest worker or child on the host.", lasting=True
    ),
    _gauge("worker_memory_limit_bytes", "host", "The configured memory limit of a worker on the host.", lasting=True),
    _counter("probes_total", "host outcome", "Probes of a host by outcome."),
    _histogram("probe_duration_seconds", "host", "How long probes of a host took.", FAST_BUCKETS),
    _gauge("build_info", "version python", "Always 1; the versions that run.", lasting=True),
    _gauge(
        "config_reload_successful",
        "",
        "1 if the configuration in force is the last one that was loaded, else 0.",
        lasting=True,
    ),
    _gauge("config_reload_timestamp_seconds", "", "When the configuration in force was loaded.", lasting=True),
)

METRICS = {metric.name: metric for metric in (*QUEUE_METRICS, *PROGRAM_METRICS)}
