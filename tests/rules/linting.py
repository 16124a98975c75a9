"""The rules of Grafana's dashboard-linter (of 2026-06), which cannot be installed everywhere, and some of our own.

A rule takes a dashboard as JSON and yields faults. What is excluded, and why, stands in dashboards/.lint, which is the
linter's own form. Its two rules for Loki (target-logql-rule, target-logql-auto-rule) have nothing to look at, which
our-prometheus-only holds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.collector import RUN_OUTCOMES
from exporter.facts import StuckReason
from exporter.jobs import State
from exporter.queues.matomo.names import SCOPES
from exporter.tracker import Ending
from healers.reasons import Liveness
from healers.tallying import COUNTED_OUTCOMES

from .selectors import Call, selectors_of
from .shipped import published_labels

EXCLUSIONS: Final = Path(__file__).parents[2] / "dashboards" / ".lint"
SOURCES: Final = ("$datasource", "${datasource}")
UNITS: Final = frozenset({"none", "short", "percentunit", "bytes", "s", "cpm"})
"""Those of Grafana's that are used."""
QUERY_FUNCTIONS: Final = ("label_names", "label_values", "metrics", "query_result")
GROWTH: Final = frozenset({"rate", "irate", "increase"})
LABELS: Final = published_labels()
INSTANCES: Final = Call(name="max", grouping="without", labels=("instance", "pod"))
ABOUT_INSTANCES: Final = frozenset({"queuemedic_healer_leader"})
"""Metrics whose panels are about instances: which of them heals."""
SPANS: Final = ("$__rate_interval", "$__range", "1h")
"""What increase may look at: the interval, the time shown, and the last hour, for what happens seldom."""
MOST_LINES: Final = 5
VALUES_OF: Final = {
    ("queuemedic_jobs", "state"): len(State),
    ("queuemedic_scope_jobs", "scope"): len(SCOPES),
    ("queuemedic_stuck_jobs", "reason"): len(StuckReason),
    ("queuemedic_worker_verdicts", "verdict"): len(Liveness),
    ("queuemedic_attempts_ended_total", "outcome"): len(Ending),
    ("queuemedic_meltano_runs_total", "outcome"): len(RUN_OUTCOMES) + 1,
    ("queuemedic_heals_total", "outcome"): len(COUNTED_OUTCOMES),
}
"""How many values there are of labels that graphs may show whole."""
OUTERMOST: Final = ("topk", "sum", "max", "min")

Dashboard = dict[str, Any]
Rule = Callable[[Dashboard], Iterator[str]]


def panels_of(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield all panels but headings, also those of folded rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries_of(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Yield each expression, with its panel's title."""
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def excluded() -> dict[str, str]:
    """Return the rules that do not hold, and why."""
    return {rule: entry["reason"] for rule, entry in yaml.safe_load(EXCLUSIONS.read_text())["exclusions"].items()}


def _template_datasource(dashboard: Dashboard) -> Iterator[str]:
    found = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"]
    named = [(variable["name"], variable["label"], variable["query"]) for variable in found]
    if named != [("datasource", "Data source", "prometheus")]:
        yield f"data sources are {named}"


def _template(name: str) -> Rule:
    def rule(dashboard: Dashboard) -> Iterator[str]:
        if not any(variable["name"] == name for variable in dashboard["templating"]["list"]):
            yield f"no variable {name}"

    return rule


def _target(name: str) -> Rule:
    def rule(dashboard: Dashboard) -> Iterator[str]:
        for title, expression in queries_of(dashboard):
            for selector in selectors_of(expression):
                if (name, "=~", f"${name}") not in selector.matchers:
                    yield f"{title}: {selector.metric} is not of ${name}"

    return rule


def _template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for variable in _query_variables(dashboard):
        function, _, rest = variable["query"].partition("(")
        selector, _, label = rest.removesuffix(")").rpartition(", ")
        if function not in QUERY_FUNCTIONS or variable["datasource"]["uid"] not in SOURCES:
            yield f"{variable['name']}: {variable['query']}"
        for found in selectors_of(selector):
            if not {label, *(name for name, _, _ in found.matchers)} <= LABELS.get(found.metric, frozenset()):
                yield f"{variable['name']}: {found.metric} has no {label}"


def _template_on_time_change_reload(dashboard: Dashboard) -> Iterator[str]:
    for variable in _query_variables(dashboard):
        if variable["refresh"] != 2:
            yield f"{variable['name']} is not read again when the time changes"


def _query_variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield from (variable for variable in dashboard["templating"]["list"] if variable["type"] == "query")


def _panel_datasource(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels_of(dashboard):
        for asking in (panel, *panel["targets"]):
            if asking["datasource"]["uid"] not in SOURCES:
                yield f"{panel['title']} asks {asking['datasource']}"


def _panel_title_description(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels_of(dashboard):
        if not panel["title"] or not panel["description"]:
            yield f"panel {panel['id']} has no title or no description"


def _panel_units(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels_of(dashboard):
        units = [panel["fieldConfig"]["defaults"].get("unit")]
        for override in panel["fieldConfig"]["overrides"]:
            units += [one["value"] for one in override["properties"] if one["id"] == "unit"]
        if not UNITS.issuperset(units):
            yield f"{panel['title']} has units {units}"


def _panel_no_targets(dashboard: Dashboard) -> Iterator[str]:
    yield from (panel["title"] for panel in panels_of(dashboard) if not panel["targets"])


def _target_promql(dashboard: Dashboard) -> Iterator[str]:
    for title, expression in queries_of(dashboard):
        try:
            found = selectors_of(expression)
        except ValueError as fault:
            yield f"{title}: {fault}"
        else:
            if not found:
                yield f"{title} asks nothing"


def _target_rate_interval(dashboard: Dashboard) -> Iterator[str]:
    for title, expression in queries_of(dashboard):
        for selector in selectors_of(expression):
            if selector.span:
                allowed = SPANS if selector.calls[0].name == "increase" else SPANS[:1]
                if selector.span not in allowed:
                    yield f"{title}: {selector.calls[0].name} of {selector.metric} over {selector.span}"


def _target_counter_agg(dashboard: Dashboard) -> Iterator[str]:
    for title, expression in queries_of(dashboard):
        for selector in selectors_of(expression):
            is_counter = selector.metric.endswith(("_total", "_bucket", "_count", "_sum"))
            is_growth = bool(selector.span) and selector.calls[0].name in GROWTH
            if is_counter != is_growth:
                yield f"{title}: {selector.metric} in {selector.calls[:1]}"


def _uneditable(dashboard: Dashboard) -> Iterator[str]:
    if dashboard["editable"]:
        yield "it can be edited"


def _instances(dashboard: Dashboard) -> Iterator[str]:
    """Ours: whatever reads a metric takes the largest of all instances first, so that none is counted twice."""
    for title, expression in queries_of(dashboard):
        for selector in selectors_of(expression):
            calls = [call for call in selector.calls if call.name not in GROWTH]
            if calls[:1] != [INSTANCES] and selector.metric not in ABOUT_INSTANCES:
                yield f"{title}: {selector.metric} is first in {calls[:1]}"


def _chosen_queues(dashboard: Dashboard) -> Iterator[str]:
    """Ours: every metric that has a queue is of the chosen ones."""
    for title, expression in queries_of(dashboard):
        for selector in selectors_of(expression):
            has_queue = "queue" in LABELS.get(selector.metric, ())
            if has_queue and ("queue", "=~", "$queue") not in selector.matchers:
                yield f"{title}: {selector.metric} is of all queues"


def _lines(dashboard: Dashboard) -> Iterator[str]:
    """Ours: a graph has five lines at most, by the outermost call of each query."""
    for panel in panels_of(dashboard):
        if panel["type"] == "timeseries":
            lines = sum(_lines_of(target["expr"]) for target in panel["targets"])
            if lines > MOST_LINES:
                yield f"{panel['title']} can have {lines} lines"


def _lines_of(expression: str) -> int:
    if expression.startswith("topk("):
        return int(expression.removeprefix("topk(").partition(",")[0])
    first = selectors_of(expression)[0]
    labels = [set(call.labels) for call in first.calls if call.name in OUTERMOST and call.grouping != "without"]
    count = 1
    for label in (labels[-1] if labels else {"instance"}) - {"le"}:
        count *= VALUES_OF.get((first.metric, label), MOST_LINES + 1)
    return count


def _grid(dashboard: Dashboard) -> Iterator[str]:
    """Ours: ids are unique, and nothing lies outside of the 24 columns or on something else."""
    everything = [*dashboard["panels"], *(panel for row in dashboard["panels"] for panel in row.get("panels", []))]
    if len({panel["id"] for panel in everything}) != len(everything):
        yield "an id is given twice"
    for together in (dashboard["panels"], *(row["panels"] for row in dashboard["panels"] if row.get("panels"))):
        taken: dict[tuple[int, int], str] = {}
        for panel in together:
            place = panel["gridPos"]
            if place["x"] + place["w"] > 24:
                yield f"{panel['title']} is too wide"
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    if taken.setdefault((x, y), panel["title"]) != panel["title"]:
                        yield f"{panel['title']} lies on {taken[x, y]}"


def _prometheus_only(dashboard: Dashboard) -> Iterator[str]:
    """Ours: nothing is asked of Loki, so the linter's rules for LogQL have no query to look at."""
    for panel in panels_of(dashboard):
        for asking in (panel, *panel["targets"]):
            if asking["datasource"].get("type") != "prometheus":
                yield f"{panel['title']} asks {asking['datasource']}"


RULES: Final[dict[str, Rule]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_on_time_change_reload,
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
    "target-promql-rule": _target_promql,
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target("job"),
    "target-instance-rule": _target("instance"),
    "target-counter-agg-rule": _target_counter_agg,
    "uneditable-dashboard": _uneditable,
    "our-instances": _instances,
    "our-chosen-queues": _chosen_queues,
    "our-lines": _lines,
    "our-grid": _grid,
    "our-prometheus-only": _prometheus_only,
}
