"""Rows of the dashboard Queue that are about one system: Matomo, Meltano; folded, for most queues are neither."""

from typing import Final

from dashboards.kinds import graph, stat, table
from dashboards.panels import GREEN, NONE_IS_GOOD, ORANGE, RED, Column, Line, Row
from dashboards.queries import age, grown, least, most, now, quantile, top, total

NOT_MATOMO: Final = "Empty for other systems than Matomo"
NOT_MELTANO: Final = "Empty for other systems than Meltano"
MOST_RUNS: Final = 0.9

MATOMO: Final = Row(
    title="Matomo",
    is_folded=True,
    panels=(
        stat(
            "Maintenance mode",
            "In maintenance mode each run of core:archive ends at once, with exit code 0."
            f" {NOT_MATOMO}, and without matomo_config.",
            most(now("matomo_maintenance_mode")),
            words={0: ("off", GREEN), 1: ("on", ORANGE)},
        ),
        stat(
            "Blocked jobs",
            "Waiting jobs that Matomo leaves alone because an overdue started one of their site overlaps them."
            f" {NOT_MATOMO}.",
            total(now("matomo_blocked_jobs")),
            steps=NONE_IS_GOOD,
        ).explained_by("JobsBlocked"),
        stat(
            "Sites left",
            f"Sites still to visit in the shared run. {NOT_MATOMO}, and without the view of options.",
            total(now("matomo_sites_left")),
        ),
        stat(
            "Pending invalidations",
            f"Late visits remembered but not yet in the table. {NOT_MATOMO}, and without the view of options.",
            total(now("matomo_pending_invalidations")),
        ).explained_by("InvalidationsMissing"),
        stat(
            "Re-archiving to come",
            "Length of the list of re-archiving that becomes jobs at the next run: a long one announces a flood."
            f" {NOT_MATOMO}, and without the view of options.",
            total(now("matomo_rearchive_list_bytes")),
            unit="bytes",
        ).explained_by("RearchivingQueued", "RearchivingFlood"),
        stat(
            "Archiving began",
            f"How long ago the last core:archive began, refused ones included. {NOT_MATOMO}, and without the view of"
            " options.",
            most(age("matomo_archiving_started_timestamp_seconds")),
            unit="s",
        ),
        stat(
            "Archiving completed",
            f"How long ago a run last ended; runs that were refused count, too. {NOT_MATOMO}, and without the view of"
            " options.",
            most(age("matomo_archiving_completed_timestamp_seconds")),
            unit="s",
            steps=((GREEN, None), (RED, 86400)),
        ).explained_by("ArchivingNotCompleted", "ArchivingOnlySeemsCompleted"),
        stat(
            "Looked for new work",
            f"How long ago a run last looked for new work of a site. {NOT_MATOMO}, and without the view of options.",
            most(age("matomo_last_invalidation_timestamp_seconds")),
            unit="s",
        ).explained_by("InvalidationsMissing"),
        graph(
            "Blocked jobs over time",
            f"Jobs held back: they go on once the overdue one that overlaps them is put back or done. {NOT_MATOMO}.",
            Line(total(now("matomo_blocked_jobs")), "blocked"),
        ).explained_by("JobsBlocked"),
        graph(
            "Waiting jobs by scope",
            f"Archives of all visits, of segments, of a plugin, of one report. {NOT_MATOMO}.",
            Line(total(now("scope_jobs", state="waiting"), "scope"), "{{scope}}"),
            stacked=True,
        ),
        graph(
            "Late visits and sites left",
            f"Work that is not in the table yet. {NOT_MATOMO}, and without the view of options.",
            Line(total(now("matomo_pending_invalidations")), "pending invalidations"),
            Line(total(now("matomo_sites_left")), "sites left"),
        ),
        table(
            "Reports, the most frequent first",
            "Jobs that build one plugin or report; a burst of one is a plugin switched on, or a report"
            f" invalidated by hand. {NOT_MATOMO}, and while no such job is there.",
            {"plugin": "Plugin", "report": "Report", "state": "State"},
            Column("Jobs", top(20, f"{total(now('report_jobs'), 'plugin', 'report', 'state')} > 0")),
            sort_by="Jobs",
        )
        .sized(12)
        .explained_by("ReportBurst"),
        graph(
            "How long archives took",
            f"From Matomo's own archiving_metrics. {NOT_MATOMO}, before Matomo 5.7, and while none is finished.",
            Line(quantile(0.5, "matomo_archive_duration_seconds"), "half"),
            Line(quantile(0.9, "matomo_archive_duration_seconds"), "nine in ten"),
            Line(quantile(0.99, "matomo_archive_duration_seconds"), "99 of 100"),
            unit="s",
        ).sized(12),
    ),
)

MELTANO: Final = Row(
    title="Meltano",
    is_folded=True,
    panels=(
        table(
            "Jobs, the longest without success first",
            f"One line for each state ID. {NOT_MELTANO}, and before the first run.",
            {"kind": "Job"},
            Column("Last success", most(age("meltano_last_success_timestamp_seconds"), "kind"), unit="s"),
            Column("Took", most(now("meltano_last_duration_seconds"), "kind"), unit="s"),
            Column("Running", total(now("jobs", state="started"), "kind")),
            Column("Since a heartbeat", most(now("heartbeat_age_seconds"), "kind"), unit="s"),
            Column("Ended well, last hour", total(grown("meltano_runs_total", "1h", outcome="success"), "kind")),
            Column(
                "Failed, last hour",
                total(grown("meltano_runs_total", "1h", outcome="fail"), "kind"),
                steps=((GREEN, None), (ORANGE, 0.5)),
            ),
            sort_by="Last success",
        ),
        graph(
            "Since the last success",
            f"The five jobs that have gone longest without one. {NOT_MELTANO}, and before the first success.",
            Line(top(5, most(age("meltano_last_success_timestamp_seconds"), "kind")), "{{kind}}"),
            unit="s",
        )
        .sized(8)
        .explained_by("RunMissed"),
        graph(
            "Duration of the last successful run",
            f"The five longest. {NOT_MELTANO}, and before the first success.",
            Line(top(5, most(now("meltano_last_duration_seconds"), "kind")), "{{kind}}"),
            unit="s",
        ).sized(8),
        graph(
            "Runs that ended in the last hour",
            f"By outcome; 'other' is a state that Meltano itself never writes. {NOT_MELTANO}.",
            Line(total(grown("meltano_runs_total", "1h"), "outcome"), "{{outcome}}"),
        ).sized(8),
        graph(
            "Since the last heartbeat",
            "Longest time without a new heartbeat among running jobs that had one; the four longest, and stuck_after."
            f" {NOT_MELTANO}, and for tables without heartbeats.",
            Line(top(4, most(now("heartbeat_age_seconds"), "kind")), "{{kind}}"),
            Line(least(now("limit_seconds", limit="stuck_after")), "stuck_after", is_limit=True),
            unit="s",
        )
        .sized(12)
        .explained_by("HeartbeatLost"),
        graph(
            "Initialisation ratio",
            "Runs that got a first heartbeat, of those started within timeout_window."
            f" {NOT_MELTANO}, and while no run was started within it.",
            Line(least(now("initialisation_ratio")), "initialised"),
            unit="percentunit",
            steps=((RED, None), (GREEN, MOST_RUNS)),
            maximum=1,
        )
        .sized(12)
        .explained_by("InitialisationRatioLow", "NeverInitialised"),
    ),
)
