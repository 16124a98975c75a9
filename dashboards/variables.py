"""What all dashboards share: their variables, the links between them, and the alerts that fire."""

from typing import Final

from dashboards.kinds import table
from dashboards.panels import DATASOURCE, ORANGE, Column, Json, Panel
from dashboards.queries import firing

FLEET, QUEUE, HEALING = "queuemedic-fleet", "queuemedic-queue", "queuemedic-healing"
RUNBOOKS: Final = "docs/runbooks/"
ON_TIME_RANGE_CHANGE: Final = 2
HIDDEN: Final = 2
BY_NATURE: Final = 7

SOURCE: Final[Json] = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "hide": 0,
    "includeAll": False,
    "multi": False,
    "options": [],
    "refresh": 1,
    "regex": "",
}
ADDRESS_OF_RUNBOOKS: Final[Json] = {
    "name": "runbooks",
    "label": "Runbooks",
    "type": "constant",
    "query": RUNBOOKS,
    "current": {"selected": True, "text": RUNBOOKS, "value": RUNBOOKS},
    "hide": HIDDEN,
    "skipUrlSync": True,
}


def values_of(label: str, metric: str, *, title: str, all_are: str | None = None) -> Json:
    """Return a variable of all values of a label; without `all_are`, all are those that were found."""
    return {
        "name": label,
        "label": title,
        "type": "query",
        "datasource": DATASOURCE,
        "query": f"label_values({metric}, {label})",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "includeAll": True,
        **({"allValue": all_are} if all_are else {}),
        "multi": True,
        "options": [],
        "refresh": ON_TIME_RANGE_CHANGE,
        "regex": "",
        "sort": BY_NATURE,
    }


QUEUES: Final = values_of("queue", "queuemedic_up", title="Queue", all_are=".+")
HOSTS_OF_QUEUE: Final = values_of("host", 'queuemedic_host_started_jobs{queue=~"$queue"}', title="Host")
HOSTS: Final = values_of("host", "queuemedic_host_up", title="Host", all_are=".+")


def link_to(uid: str, title: str) -> Json:
    """Link a dashboard to another, with the time and the variables as they are."""
    return {
        "title": title,
        "type": "link",
        "url": f"/d/{uid}",
        "icon": "dashboard",
        "includeVars": True,
        "keepTime": True,
        "asDropdown": False,
        "targetBlank": False,
        "tags": [],
        "tooltip": "",
    }


def of_queue(uid: str = QUEUE) -> Json:
    """Link the name of a queue in a table to what is known of it."""
    url = f"/d/{uid}?var-queue=${{__value.raw:percentencode}}&${{datasource:queryparam}}&${{__url_time_range}}"
    return {"title": "Show ${__value.raw}", "url": url, "targetBlank": False}


def alerts() -> Panel:
    """List what fires, each with its runbook."""
    return table(
        "Alerts that fire",
        "Queuemedic's alerts as Prometheus sees them; the name leads to the runbook. Empty while none fires, and where"
        " the rules of alerts/ are not loaded.",
        {"alertname": "Alert", "severity": "Severity", "queue": "Queue", "host": "Host"},
        Column("Fires", firing("alertname", "severity", "queue", "host"), steps=((ORANGE, None),)),
        sort_by="Severity",
        ascending=True,
        links={
            "Alert": {"title": "Runbook", "url": "${runbooks}${__value.raw}.md", "targetBlank": True},
            "Queue": of_queue(),
        },
    )
