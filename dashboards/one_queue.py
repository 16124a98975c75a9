"""The dashboard Queue: the story of a queue, from whether it is read to what is stuck and why.

It is meant for one queue; of several, counts are added up, and of ages and ratios the worst is shown.
"""

from typing import Final

from dashboards import troubles
from dashboards.kinds import graph, heatmap, stat, table
from dashboards.panels import (
    GREEN,
    NONE_IS_BEST,
    NONE_IS_GOOD,
    ORANGE,
    RED,
    UNDER_ONE,
    Column,
    Dashboard,
    Line,
    Row,
)
from dashboards.queries import CHOSEN_HOSTS, age, buckets, grown, least, most, now, over, quantile, rate, top, total
from dashboards.systems import MATOMO, MELTANO
from dashboards.variables import (
    ADDRESS_OF_RUNBOOKS,
    FLEET,
    HEALING,
    HOSTS_OF_QUEUE,
    QUEUE,
    QUEUES,
    SOURCE,
    alerts,
    link_to,
)

SHARES: Final = {"half": 0.5, "nine in ten": 0.9, "99 of 100": 0.99}


def limit(name: str) -> Line:
    """Draw a limit; of several queues the smallest."""
    return Line(least(now("limit_seconds", limit=name)), name, is_limit=True)


def quantiles(name: str) -> tuple[Line, ...]:
    """Draw what half, nine in ten and 99 of 100 observations did not exceed."""
    return tuple(Line(quantile(share, name), words) for words, share in SHARES.items())


READ: Final = Row(
    title="Is it read?",
    panels=(
        stat(
            "Read",
            "Whether the last poll succeeded. If not, what follows grows old, and is gone after stale_after.",
            least(now("up")),
            words={0: ("no", RED), 1: ("yes", GREEN)},
        ).explained_by("PollFailing"),
        stat(
            "Age, of stale_after",
            "How long ago the queue was last read, by the age at which its figures leave the page.",
            most(troubles.READ_SHARE),
            unit="percentunit",
            steps=UNDER_ONE,
        ).explained_by("DataStale"),
        stat("Waiting", "Jobs that wait: the backlog.", total(now("jobs", state="waiting"))),
        stat("Started", "Jobs that a worker has taken.", total(now("jobs", state="started"))),
        stat(
            "Stuck",
            "Started jobs that look stuck; whether their workers live is below.",
            total(now("stuck_jobs")),
            steps=NONE_IS_BEST,
        ).explained_by("JobStuck"),
        stat(
            "Orphaned",
            "Started jobs whose worker is proven dead and that are not yet put back.",
            total(now("orphaned_jobs")),
            steps=NONE_IS_GOOD,
        ).explained_by("JobOrphaned"),
        stat(
            "Timeouts",
            "Attempts that crossed timeout_after, of the jobs ended within timeout_window. Empty below ten, and"
            " without timeout_after.",
            most(now("timeout_ratio")),
            unit="percentunit",
            steps=((GREEN, None), (RED, troubles.MAXIMUM_TIMEOUT_RATIO)),
        ).explained_by("TimeoutRateHigh"),
        stat(
            "Healing",
            "The mode in force; of several queues or instances, the one that does more, and a pause above all.",
            most(troubles.MODE),
            words=troubles.MODES,
        ),
        table(
            "What it is",
            "The system, the oldest release with the columns found, and what the server says of itself; how often it is"
            " read, the database's clock minus Queuemedic's, and label values folded into 'other'.",
            {"queue": "Queue", "system": "System", "schema": "Schema", "role": "Server"},
            Column("Found", most(now("queue_info"), "queue", "system", "schema", "role")),
            Column("Poll every", most(now("poll_interval_seconds"), "queue"), unit="s"),
            Column("Clock offset", most(now("database_clock_offset_seconds"), "queue"), unit="s"),
            Column("Folded", total(now("labels_dropped"), "queue"), steps=NONE_IS_BEST),
            sort_by="Queue",
            ascending=True,
        ).sized(12),
        graph(
            "Polls per minute",
            "By outcome, the five most frequent; anything but ok is a failed poll, whose text is in the event"
            " poll.failed and in queuemedic check.",
            Line(top(5, f"60 * {total(rate('polls_total'), 'outcome')}"), "{{outcome}}"),
            unit="cpm",
        ).sized(6),
        graph(
            "How long polls take",
            "What half and nine in ten polls did not exceed, beside the interval in force: slow polls come less often.",
            Line(quantile(0.5, "poll_duration_seconds"), "half"),
            Line(quantile(0.9, "poll_duration_seconds"), "nine in ten"),
            Line(most(now("poll_interval_seconds")), "interval"),
            unit="s",
        ).sized(6),
        alerts().sized(24, 6),
    ),
)

BACKLOG: Final = Row(
    title="Backlog and freshness",
    panels=(
        graph(
            "Jobs by state",
            "Jobs in the table. Waiting jobs with none started are normal between two runs of cron.",
            Line(total(now("jobs"), "state"), "{{state}}"),
            stacked=True,
        ).explained_by("BacklogGrowing", "BacklogNotConverging"),
        graph(
            "Waiting jobs by kind",
            "The five most frequent kinds of waiting jobs.",
            Line(top(5, total(now("jobs", state="waiting"), "kind")), "{{kind}}"),
        ),
        graph(
            "Oldest waiting job by kind",
            "How long it has waited, of the four kinds that wait longest, and the interval at which runs are expected."
            " Matomo: of periods that are over. Empty while no job waits.",
            Line(top(4, most(age("oldest_waiting_timestamp_seconds"), "kind")), "{{kind}}"),
            limit("run_expected_every"),
            unit="s",
        ).explained_by("NothingStarted", "RunMissed", "ReportsOutdated"),
    ),
)

THROUGHPUT: Final = Row(
    title="Throughput",
    panels=(
        graph(
            "Arrivals against completions, per minute",
            "Jobs that came in and jobs that left, in whatever way. Arrivals above completions for long is a backlog"
            " that does not converge.",
            Line(f"60 * {total(rate('jobs_enqueued_total'))}", "came in"),
            Line(f"60 * {total(rate('jobs_ended_total'))}", "ended"),
            unit="cpm",
        )
        .sized(6)
        .explained_by("BacklogNotConverging", "NothingEnding"),
        graph(
            "Attempts per minute",
            "Attempts that were seen at a poll: those first seen, and those that were over at the next, by how."
            " Shorter ones than a poll interval are not seen.",
            Line(f"60 * {total(rate('attempts_started_total'))}", "started"),
            Line(f"60 * {total(rate('attempts_ended_total'), 'outcome')}", "{{outcome}}"),
            unit="cpm",
        )
        .sized(6)
        .explained_by("NothingEnding"),
        graph(
            "Timeout ratio",
            "Attempts that crossed timeout_after within timeout_window or are still over it, of jobs ended; the line is"
            " 20 %. Empty below ten jobs in the window, and without timeout_after.",
            Line(most(now("timeout_ratio")), "timeout ratio"),
            unit="percentunit",
            steps=((GREEN, None), (RED, troubles.MAXIMUM_TIMEOUT_RATIO)),
            maximum=1,
        )
        .sized(6)
        .explained_by("TimeoutRateHigh"),
        graph(
            "Timed out in the last hour",
            "Attempts seen to cross timeout_after, the five most frequent kinds, and jobs over it now.",
            Line(top(4, total(grown("attempts_timed_out_total", "1h"), "kind")), "{{kind}}"),
            Line(total(now("overdue_jobs")), "over it now"),
        ).sized(6),
    ),
)

DURATIONS: Final = Row(
    title="Durations",
    panels=(
        heatmap(
            "How long attempts took",
            "Attempts that are gone, to the poll that missed them; Meltano: runs that succeeded, exactly."
            " Empty until one has ended.",
            buckets("attempt_duration_seconds"),
        ),
        graph(
            "How long attempts took, quantiles",
            "What half, nine in ten and 99 of 100 attempts did not exceed, interpolated within buckets."
            " Empty while none ends.",
            *quantiles("attempt_duration_seconds"),
            limit("timeout_after"),
            unit="s",
        ).explained_by("JobRunsLong"),
        graph(
            "How long jobs waited, quantiles",
            "From enqueued to the poll at which an attempt was first seen. Empty while none is started; Meltano's runs"
            " do not wait.",
            *quantiles("waiting_duration_seconds"),
            limit("run_expected_every"),
            unit="s",
        ),
    ),
)

LOADED: Final = {"host": CHOSEN_HOSTS}
LOAD: Final = over(most(now("host_load_average", **LOADED), "host"), most(now("host_processors", **LOADED), "host"))
MEMORY: Final = over(
    most(now("host_worker_memory_bytes", **LOADED), "host"), most(now("worker_memory_limit_bytes", **LOADED), "host")
)

HOSTS: Final = Row(
    title="Hosts",
    panels=(
        table(
            "Hosts, the most loaded first",
            "What rows say of each host, and what the host says of itself where it is asked; 'none' is of rows that"
            " record no host. Empty where no row was ever started.",
            {"host": "Host"},
            Column("Started", total(now("host_started_jobs", **LOADED), "host")),
            Column("Workers", total(now("host_workers", **LOADED), "host")),
            Column("Most per worker", most(now("max_jobs_per_worker", **LOADED), "host")),
            Column("Oldest started", most(age("oldest_started_timestamp_seconds", **LOADED), "host"), unit="s"),
            Column("Longest-running worker", most(age("oldest_worker_timestamp_seconds", **LOADED), "host"), unit="s"),
            Column("Overdue", total(now("overdue_jobs", **LOADED), "host"), steps=NONE_IS_BEST),
            Column("Stuck", total(now("stuck_jobs", **LOADED), "host"), steps=NONE_IS_BEST),
            Column("Orphaned", total(now("orphaned_jobs", **LOADED), "host"), steps=NONE_IS_GOOD),
            Column("Load per processor", LOAD, unit="percentunit", steps=((GREEN, None), (ORANGE, 1), (RED, 2))),
            Column("Memory of its limit", MEMORY, unit="percentunit", steps=UNDER_ONE),
            Column("Answers", most(now("host_up", **LOADED), "host"), words={0: ("no", RED), 1: ("yes", GREEN)}),
            sort_by="Started",
        ),
        graph(
            "Started jobs by host",
            "The five hosts with most. One host far above the others is an imbalance.",
            Line(top(5, total(now("host_started_jobs", **LOADED), "host")), "{{host}}"),
        ).explained_by("HostImbalance"),
        graph(
            "Workers by host",
            "Different process ids that started rows record; the five hosts with most.",
            Line(top(5, total(now("host_workers", **LOADED), "host")), "{{host}}"),
        ),
        graph(
            "Most jobs of one worker",
            "Matomo's archiver holds three at most, unless it is told otherwise; the five hosts with most.",
            Line(top(5, most(now("max_jobs_per_worker", **LOADED), "host")), "{{host}}"),
        ).explained_by("WorkerHoldsTooManyJobs"),
        graph(
            "Load per processor",
            "Load average of one minute by processor, of all hosts that are asked and chosen; the five highest."
            " Empty where none is asked.",
            Line(top(5, LOAD), "{{host}}"),
            unit="percentunit",
            steps=((GREEN, None), (RED, 1)),
        ).explained_by("HostWithoutLiveWorker"),
        graph(
            "Memory of the largest worker, of its limit",
            "Resident memory of the largest worker or child, by the configured limit; the five highest. Empty where no"
            " limit is configured, and before a worker was seen.",
            Line(top(5, MEMORY), "{{host}}"),
            unit="percentunit",
            steps=((GREEN, None), (ORANGE, 0.8), (RED, 1)),
        ).explained_by("WorkerMemoryHigh"),
        graph(
            "Oldest started job by host",
            "How long ago its attempt began, of the three oldest, beside stuck_after and timeout_after."
            " Empty while nothing is started.",
            Line(top(3, most(age("oldest_started_timestamp_seconds", **LOADED), "host")), "{{host}}"),
            limit("stuck_after"),
            limit("timeout_after"),
            unit="s",
        ).explained_by("JobRunsLong"),
        graph(
            "Longest-running worker by host",
            "How long one run of an archiver has lasted, over all the jobs it held; the four longest."
            " Empty while nothing is started.",
            Line(top(4, most(age("oldest_worker_timestamp_seconds", **LOADED), "host")), "{{host}}"),
            limit("worker_timeout_after"),
            unit="s",
        ).explained_by("WorkerRunsTooLong"),
    ),
)

STUCK: Final = Row(
    title="Stuck and orphaned",
    panels=(
        graph(
            "Stuck jobs by reason",
            "Each under its first reason: no start time, never initialised, heartbeat lost, over age.",
            Line(total(now("stuck_jobs"), "reason"), "{{reason}}"),
            stacked=True,
        ).explained_by("JobStuck", "JobRunsLong", "JobWithoutStartTime", "NeverInitialised", "HeartbeatLost"),
        graph(
            "Orphaned jobs by host",
            "Jobs whose worker is proven dead, not yet put back; the five hosts with most.",
            Line(top(5, total(now("orphaned_jobs"), "host")), "{{host}}"),
        ).explained_by("JobOrphaned"),
        graph(
            "Verdicts",
            "Started jobs by what is known of their workers. Empty while nothing is started.",
            Line(total(now("worker_verdicts"), "verdict"), "{{verdict}}"),
            stacked=True,
        ),
        table(
            "Why",
            "Started jobs by what is known of their workers, and why; unknown ones are put back only by a person."
            " Empty while nothing is started.",
            {"host": "Host", "verdict": "Verdict", "reason": "Reason"},
            Column("Jobs", total(now("worker_verdicts"), "host", "verdict", "reason")),
            sort_by="Jobs",
        )
        .sized(24, 7)
        .explained_by("JobUnjudged"),
    ),
)

DASHBOARD: Final = Dashboard(
    uid=QUEUE,
    title="Queuemedic / Queue",
    description="The story of a queue. Of several, counts are added up, and of ages and ratios the worst is shown.",
    variables=(SOURCE, QUEUES, HOSTS_OF_QUEUE, ADDRESS_OF_RUNBOOKS),
    links=(link_to(FLEET, "Fleet"), link_to(HEALING, "Healing")),
    rows=(READ, BACKLOG, THROUGHPUT, DURATIONS, HOSTS, STUCK, MATOMO, MELTANO),
)
