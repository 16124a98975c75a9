"""The dashboard Fleet: all queues, red or green at a glance, the most troubled first."""

from typing import Final

from dashboards import troubles
from dashboards.kinds import graph, stat, table, timeline
from dashboards.panels import (
    BLUE,
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
from dashboards.queries import age, most, now, rate, top, total
from dashboards.variables import ADDRESS_OF_RUNBOOKS, FLEET, HEALING, QUEUE, QUEUES, SOURCE, alerts, link_to, of_queue

SHOWN: Final = 5

GLANCE: Final = (
    stat(
        "Queues",
        "How many queues are watched. Nothing here means that Prometheus does not reach Queuemedic.",
        f"count({troubles.UP})",
        steps=((BLUE, None),),
    ).explained_by("Down"),
    stat(
        "In trouble",
        "Queues with at least one trouble of the list below.",
        f"sum({troubles.NUMBER} > bool 0)",
        steps=NONE_IS_GOOD,
    ),
    stat(
        "Not read",
        "Queues whose last poll failed: what is known of them grows old, and leaves the page when it is stale.",
        f"sum(1 - {troubles.UP})",
        steps=NONE_IS_GOOD,
    ).explained_by("PollFailing"),
    stat(
        "Stale",
        "Queues whose last successful poll is older than stale_after: nothing is known of them.",
        f"sum({troubles.READ_SHARE} > bool 1)",
        steps=NONE_IS_GOOD,
    ).explained_by("DataStale"),
    stat(
        "Orphaned jobs",
        "Started jobs whose worker is proven dead and that are not yet put back.",
        total(troubles.ORPHANED),
        steps=NONE_IS_GOOD,
    ).explained_by("JobOrphaned"),
    stat(
        "Stuck jobs",
        "Started jobs that look stuck. Where their workers are alive they are slow, which is no alarm.",
        total(troubles.STUCK),
        steps=NONE_IS_BEST,
    ).explained_by("JobStuck"),
    stat(
        "Silent hosts",
        "Hosts that gave no usable answer in the last round; nobody can judge the workers there."
        " Empty where no host is asked.",
        f"sum(1 - {most(now('host_up'), 'host')})",
        steps=NONE_IS_GOOD,
    ).explained_by("HostUnreachable"),
    stat(
        "Configuration",
        "Whether the configuration in force is the last one that was loaded, on every instance.",
        f"min({now('config_reload_successful')})",
        words={0: ("refused", RED), 1: ("loaded", GREEN)},
    ).explained_by("ConfigurationRefused"),
)

WHAT: Final = table(
    "What is wrong",
    "Each trouble of each queue, with its figure: a number of jobs, a share of the limit, or 0 for a queue that is not"
    " read. Empty while all is well.",
    {"queue": "Queue", "trouble": "Trouble"},
    Column("Figure", troubles.EACH_TROUBLE, steps=((RED, None),)),
    sort_by="Queue",
    ascending=True,
    links={"Queue": of_queue()},
).sized(12)

EVERY: Final = table(
    "Queues, the most troubled first",
    "One line for each queue; its name leads to the dashboard Queue. A stale queue has no figures but the first."
    " Longest waiting is measured against run_expected_every and six hours, else timeout_after, else stuck_after.",
    {"queue": "Queue"},
    Column("Troubles", troubles.NUMBER, steps=NONE_IS_GOOD),
    Column("Read", troubles.UP, words={0: ("no", RED), 1: ("yes", GREEN)}),
    Column("Of stale_after", troubles.READ_SHARE, unit="percentunit", steps=UNDER_ONE),
    Column("Orphaned", troubles.ORPHANED, steps=NONE_IS_GOOD),
    Column("Stuck", troubles.STUCK, steps=NONE_IS_BEST),
    Column("Longest waiting", troubles.WAITING_AGE, unit="s"),
    Column("Of its limit", troubles.WAITING_SHARE, unit="percentunit", steps=UNDER_ONE),
    Column("Waiting", total(now("jobs", state="waiting"), "queue")),
    Column("Started", total(now("jobs", state="started"), "queue")),
    Column("Blocked", troubles.BLOCKED, steps=NONE_IS_GOOD),
    Column(
        "Timeouts",
        troubles.TIMEOUT_RATIO,
        unit="percentunit",
        steps=((GREEN, None), (RED, troubles.MAXIMUM_TIMEOUT_RATIO)),
    ),
    Column("Healing", troubles.MODE, words=troubles.MODES),
    sort_by="Troubles",
    links={"Queue": of_queue()},
).sized(24, 10)

BANDS: Final = timeline(
    "Troubles over time",
    "How many troubles each queue had; the twelve worst. Green is none.",
    top(12, troubles.NUMBER),
    legend="{{queue}}",
    steps=((GREEN, None), (ORANGE, 1), (RED, 2)),
).sized(24)

COMPARED: Final = (
    graph(
        "Longest waiting, of its limit",
        "The five queues whose oldest waiting job is closest to its limit, or beyond it. Empty while no job waits.",
        Line(top(SHOWN, troubles.WAITING_SHARE), "{{queue}}"),
        unit="percentunit",
        steps=((GREEN, None), (RED, 1)),
    ).explained_by("ReportsOutdated"),
    graph(
        "Waiting jobs",
        "The five longest queues.",
        Line(top(SHOWN, total(now("jobs", state="waiting"), "queue")), "{{queue}}"),
    ).explained_by("BacklogGrowing", "BacklogNotConverging"),
    graph(
        "Jobs ended per minute",
        "The five busiest queues; every way of leaving the queue counts.",
        Line(top(SHOWN, f"60 * {total(rate('jobs_ended_total'), 'queue')}"), "{{queue}}"),
        unit="cpm",
    ),
)

PROGRAM: Final = (
    table(
        "Versions that run",
        "Versions of Queuemedic and of Python. Two of either are an upgrade under way.",
        {"version": "Queuemedic", "python": "Python"},
        Column("Runs", most(now("build_info"), "version", "python")),
        sort_by="Queuemedic",
    )
    .sized(8, 6)
    .explained_by("Down", "InstanceDown"),
    graph(
        "Age of the configuration",
        "How long ago the configuration in force was loaded, by the instance that did so last.",
        Line(f"min({age('config_reload_timestamp_seconds')})", "loaded"),
        unit="s",
    ).sized(8, 6),
    graph(
        "Failed polls per minute",
        "The five queues and outcomes with most failed polls: timeout, unreachable, refused, bad_schema, failed.",
        Line(
            top(SHOWN, f"60 * {total(rate('polls_total', outcome='!=ok'), 'queue', 'outcome')}"),
            "{{queue}} {{outcome}}",
        ),
        unit="cpm",
    ).sized(8, 6),
)

DASHBOARD: Final = Dashboard(
    uid=FLEET,
    title="Queuemedic / Fleet",
    description="All queues, red or green at a glance, the most troubled first.",
    variables=(SOURCE, QUEUES, ADDRESS_OF_RUNBOOKS),
    links=(link_to(QUEUE, "Queue"), link_to(HEALING, "Healing")),
    rows=(
        Row(title="At a glance", panels=(*GLANCE, EVERY, WHAT, alerts().sized(12), BANDS)),
        Row(title="Compared", panels=COMPARED),
        Row(title="Queuemedic itself", panels=PROGRAM),
    ),
)
