"""The dashboard Healing: whether it works, what it knows of workers, what it refused and why, what it has put back."""

from typing import Final

from dashboards import troubles
from dashboards.kinds import graph, heatmap, stat, table
from dashboards.panels import (
    GREEN,
    GREY,
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
from dashboards.queries import (
    CHOSEN_HOSTS,
    HOUR,
    SHOWN,
    age,
    buckets,
    by_instance,
    grown,
    most,
    now,
    over,
    quantile,
    top,
    total,
)
from dashboards.variables import (
    ADDRESS_OF_RUNBOOKS,
    FLEET,
    HEALING,
    HOSTS,
    QUEUE,
    QUEUES,
    SOURCE,
    alerts,
    link_to,
    of_queue,
)

CHOSEN: Final = {"host": CHOSEN_HOSTS}
NO_LEDGER: Final = "Empty where nothing is healed or rehearsed"
PASS_AGE: Final = most(age("heal_pass_timestamp_seconds"), "queue")
HEALED: Final = most(grown("heals_total", SHOWN, outcome="reset"), "queue")

WORKS: Final = Row(
    title="Does it work?",
    panels=(
        stat(
            "Mode",
            "The mode in force; of several queues or instances, the one that does more, and a pause above all.",
            most(troubles.MODE),
            words=troubles.MODES,
        ).explained_by("HealingPaused"),
        stat(
            "Last pass",
            f"How long ago the last healing pass was completed, of the queue where it is longest. {NO_LEDGER}.",
            most(age("heal_pass_timestamp_seconds")),
            unit="s",
            steps=((GREEN, None), (ORANGE, 300), (RED, 900)),
        ).explained_by("HealingStopped"),
        stat(
            "Orphaned jobs",
            "Started jobs whose worker is proven dead and that are not yet put back.",
            total(now("orphaned_jobs")),
            steps=NONE_IS_GOOD,
        ).explained_by("JobOrphaned"),
        stat(
            "Nobody can judge",
            "Started jobs of whose workers nothing is known, but for those that are just to be asked about."
            " Empty while nothing is started, or all is judged.",
            total(now("worker_verdicts", verdict="unknown", reason=troubles.NOT_YET)),
            steps=NONE_IS_BEST,
        ).explained_by("JobUnjudged"),
        stat(
            "Put back",
            f"Jobs that were put back in the time shown. {NO_LEDGER}.",
            total(grown("heals_total", SHOWN, outcome="reset")),
        ),
        stat(
            "Failed",
            f"Resets that failed in the time shown. {NO_LEDGER}.",
            total(grown("heals_total", SHOWN, outcome="failed")),
            steps=((GREEN, None), (RED, 0.5)),
        ).explained_by("ResetFailed"),
        stat(
            "Breaker",
            f"Open while too many hosts look dead at once: suspect the observer. {NO_LEDGER}.",
            most(now("breaker_open")),
            words={0: ("closed", GREEN), 1: ("open", RED)},
        ).explained_by("BreakerOpen"),
        stat(
            "Quarantine",
            f"Orphaned jobs left alone because they kept killing their worker. {NO_LEDGER}.",
            total(now("quarantined_jobs")),
            steps=NONE_IS_GOOD,
        ).explained_by("JobQuarantined"),
        table(
            "Queues, the most orphaned first",
            "One line for each queue; what is empty is of a queue that is not healed.",
            {"queue": "Queue"},
            Column("Mode", troubles.MODE, words=troubles.MODES),
            Column("Orphaned", troubles.ORPHANED, steps=NONE_IS_GOOD),
            Column("Held back", total(now("blocked_heals"), "queue"), steps=NONE_IS_BEST),
            Column("Put back, time shown", HEALED),
            Column("Quarantined", most(now("quarantined_jobs"), "queue"), steps=NONE_IS_GOOD),
            Column("Breaker", most(now("breaker_open"), "queue"), words={0: ("closed", GREEN), 1: ("open", RED)}),
            Column("Last pass", PASS_AGE, unit="s", steps=((GREEN, None), (ORANGE, 300), (RED, 900))),
            sort_by="Orphaned",
            links={"Queue": of_queue()},
        ).sized(16),
        table(
            "Which instance heals",
            "Instances by whether they had the queue's lock in the last pass that wanted it; none did where nothing was"
            f" ever put back. {NO_LEDGER}.",
            {"queue": "Queue", "instance": "Instance"},
            Column("Had the lock", by_instance("healer_leader"), words={0: ("no", GREY), 1: ("yes", GREEN)}),
            sort_by="Had the lock",
        ).sized(8),
        alerts().sized(24, 6),
        graph(
            "Since the last pass",
            f"The five queues where it is longest. {NO_LEDGER}.",
            Line(top(5, PASS_AGE), "{{queue}}"),
            unit="s",
        ).sized(12),
        graph(
            "Queues whose lock an instance has",
            "One for each queue where something was ever put back; more than one of a queue at once is never right."
            f" {NO_LEDGER}.",
            Line(top(5, total(by_instance("healer_leader"), "queue")), "{{queue}}"),
        ).sized(12),
    ),
)

VERDICTS: Final = Row(
    title="What is known of workers",
    panels=(
        graph(
            "Verdicts",
            "Started jobs by what is known of their workers. Empty while nothing is started.",
            Line(total(now("worker_verdicts"), "verdict"), "{{verdict}}"),
            stacked=True,
        ),
        graph(
            "Dead or unknown, by reason",
            "The five most frequent reasons of verdicts other than alive. Empty while there are none.",
            Line(
                top(5, total(now("worker_verdicts", verdict="!=alive"), "verdict", "reason")), "{{verdict}} {{reason}}"
            ),
        ),
        table(
            "Now, by host",
            "Started jobs by what is known of their workers, and why. Empty while nothing is started.",
            {"queue": "Queue", "host": "Host", "verdict": "Verdict", "reason": "Reason"},
            Column("Jobs", total(now("worker_verdicts"), "queue", "host", "verdict", "reason")),
            sort_by="Jobs",
            links={"Queue": of_queue()},
        )
        .sized(8)
        .explained_by("HostWithoutLiveWorker"),
    ),
)

REFUSALS: Final = Row(
    title="What was refused",
    panels=(
        table(
            "Held back now, by reason",
            "Orphaned jobs that a guard keeps from being put back, and by which. What to do about each reason is in"
            f" docs/howto/heal.md. {NO_LEDGER}.",
            {"queue": "Queue", "reason": "Reason"},
            Column("Jobs", total(now("blocked_heals"), "queue", "reason"), steps=NONE_IS_BEST),
            sort_by="Jobs",
            links={"Queue": of_queue()},
        )
        .sized(8)
        .explained_by("HealingBlocked"),
        graph(
            "Held back, by reason",
            f"The five most frequent reasons. {NO_LEDGER}.",
            Line(top(5, total(now("blocked_heals"), "reason")), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Refused in the last hour, by reason",
            "Once for each attempt and reason: of orphaned jobs, and of stuck ones that nobody can judge. The five most"
            f" frequent. {NO_LEDGER}.",
            Line(top(5, total(grown("heal_refusals_total", HOUR), "reason")), "{{reason}}"),
        ),
    ),
)

RESETS: Final = Row(
    title="What was put back",
    panels=(
        graph(
            "Heals in the last hour, by outcome",
            "reset: put back; lost_race, gone: the row had changed meanwhile; failed: look at the log; dry_run: would"
            f" have been put back. Many have a cause: look for it. {NO_LEDGER}.",
            Line(total(grown("heals_total", HOUR), "outcome"), "{{outcome}}"),
        ).explained_by("ManyResets", "ResetFailed"),
        graph(
            "From first judged dead to put back",
            "What half, nine in ten and 99 of 100 resets did not exceed. Empty while nothing is put back.",
            Line(quantile(0.5, "heal_delay_seconds"), "half"),
            Line(quantile(0.9, "heal_delay_seconds"), "nine in ten"),
            Line(quantile(0.99, "heal_delay_seconds"), "99 of 100"),
            unit="s",
        ),
        heatmap(
            "Heal delay",
            f"How long it took from first judged dead to put back. {NO_LEDGER}.",
            buckets("heal_delay_seconds"),
        ),
    ),
)

NO_HOST: Final = "Empty where no host is asked"
MEMORY: Final = over(
    most(now("host_worker_memory_bytes", **CHOSEN), "host"), most(now("worker_memory_limit_bytes", **CHOSEN), "host")
)

PROBES: Final = Row(
    title="Hosts",
    panels=(
        table(
            "Hosts, the silent first",
            f"Every host that is asked, and what it last said. {NO_HOST}.",
            {"host": "Host"},
            Column("Answers", most(now("host_up", **CHOSEN), "host"), words={0: ("no", RED), 1: ("yes", GREEN)}),
            Column("Last answer", most(age("host_answer_timestamp_seconds", **CHOSEN), "host"), unit="s"),
            Column(
                "Failed probes, last hour",
                total(grown("probes_total", HOUR, outcome="!=ok", **CHOSEN), "host"),
                steps=((GREEN, None), (ORANGE, 0.5)),
            ),
            Column("Load", most(now("host_load_average", **CHOSEN), "host")),
            Column("Processors", most(now("host_processors", **CHOSEN), "host")),
            Column("Largest worker", most(now("host_worker_memory_bytes", **CHOSEN), "host"), unit="bytes"),
            Column("Of its limit", MEMORY, unit="percentunit", steps=UNDER_ONE),
            sort_by="Answers",
            ascending=True,
        ).explained_by("HostUnreachable", "WorkerMemoryHigh"),
        graph(
            "Hosts that answer, and silent ones",
            f"Of the hosts that are asked. {NO_HOST}.",
            Line(f"sum({most(now('host_up', **CHOSEN), 'host')})", "answer"),
            Line(f"sum(1 - {most(now('host_up', **CHOSEN), 'host')})", "silent"),
            stacked=True,
        ).sized(6),
        graph(
            "Why probes failed, last hour",
            "unreachable, timeout, host_key, refused or bad_answer; the five most frequent. The text is in the event"
            f" probe.failed and in queuemedic hosts check. {NO_HOST}.",
            Line(
                top(5, total(grown("probes_total", HOUR, outcome="!=ok", **CHOSEN), "host", "outcome")),
                "{{host}} {{outcome}}",
            ),
        )
        .sized(6)
        .explained_by("HostUnreachable"),
        graph(
            "How long probes take",
            f"What half, nine in ten and 99 of 100 probes did not exceed. {NO_HOST}.",
            Line(quantile(0.5, "probe_duration_seconds"), "half"),
            Line(quantile(0.9, "probe_duration_seconds"), "nine in ten"),
            Line(quantile(0.99, "probe_duration_seconds"), "99 of 100"),
            unit="s",
        ).sized(6),
        graph(
            "Since the last answer",
            f"The five hosts that have been silent longest. {NO_HOST}, and before a first answer.",
            Line(top(5, most(age("host_answer_timestamp_seconds", **CHOSEN), "host")), "{{host}}"),
            unit="s",
        )
        .sized(6)
        .explained_by("HostUnreachable"),
    ),
)

DASHBOARD: Final = Dashboard(
    uid=HEALING,
    title="Queuemedic / Healing",
    description="Whether healing works, what it knows of workers, what it refused and why, and what it has put back.",
    variables=(SOURCE, QUEUES, HOSTS, ADDRESS_OF_RUNBOOKS),
    links=(link_to(FLEET, "Fleet"), link_to(QUEUE, "Queue")),
    rows=(WORKS, VERDICTS, REFUSALS, RESETS, PROBES),
)
