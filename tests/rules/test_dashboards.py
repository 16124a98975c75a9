"""The dashboards are those of their builder, pass the linter's rules, and ask only for what the program publishes."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dashboards import build
from dashboards.queries import NoSuchSeries, age, now, rate
from exporter.catalogue import METRICS
from tests.unit.test_docs import LINK

from .linting import RULES, excluded, panels_of, queries_of
from .matching import Reader
from .selectors import selectors_of, without_variables
from .shipped import published_labels, read_rules

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "dashboards"
UIDS: Final = {"fleet": "queuemedic-fleet", "queue": "queuemedic-queue", "healing": "queuemedic-healing"}
OF_PROMETHEUS: Final = {"ALERTS": frozenset({"alertname", "alertstate", "severity", "queue", "host"})}
TO_DASHBOARD: Final = re.compile(r"^/d/([\w-]+)")
NOT_SHOWN: Final = {
    # Ages freeze with the exporter; panels take the timestamps beside them.
    "oldest_waiting_age_seconds",
    "oldest_started_age_seconds",
}
DASHBOARDS: Final = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in UIDS}

PUBLISHED_RULES: Final = frozenset(
    {
        "template-datasource-rule",
        "template-job-rule",
        "template-instance-rule",
        "template-label-promql-rule",
        "template-on-time-change-reload-rule",
        "panel-datasource-rule",
        "panel-title-description-rule",
        "panel-units-rule",
        "panel-no-targets-rule",
        "target-logql-rule",
        "target-logql-auto-rule",
        "target-promql-rule",
        "target-rate-interval-rule",
        "target-job-rule",
        "target-instance-rule",
        "target-counter-agg-rule",
        "uneditable-dashboard",
    }
)
RULES_FOR_LOKI: Final = frozenset({"target-logql-rule", "target-logql-auto-rule"})

Dashboard = dict[str, Any]
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def test_the_committed_files_are_those_of_the_builder() -> None:
    """As `make check` runs it."""
    checked = subprocess.run(
        [sys.executable, "dashboards/build.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_file_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without writing it; and what is written does not differ."""
    assert build.main([], folder=tmp_path) == 0
    assert build.main(["--check"], folder=tmp_path) == 0
    file = tmp_path / "queue.json"
    file.write_text("{}\n")
    assert build.main(["--check"], folder=tmp_path) == 1
    assert capsys.readouterr().out == "dashboards/queue.json differs from what dashboards/build.py makes; run it\n"
    assert file.read_text() == "{}\n"


def test_what_is_shipped_is_what_is_built() -> None:
    """No file is left of a dashboard that is gone; uids are what alerts and bookmarks know."""
    assert {file.name for file in FOLDER.glob("*.json")} == build.texts().keys()
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == UIDS
    assert [dashboard["schemaVersion"] for dashboard in DASHBOARDS.values()] == [39] * 3


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in excluded()])
@every_dashboard
def test_the_rules_of_the_linter_hold(dashboard: Dashboard, rule: str) -> None:
    """But for those that are excluded."""
    assert list(RULES[rule](dashboard)) == []


def test_no_rule_of_the_published_linter_is_forgotten() -> None:
    """Those of `NewRuleSet` in its lint/rules.go of 2026-06-18, but for the two that look at LogQL."""
    assert {rule for rule in RULES if not rule.startswith("our-")} == PUBLISHED_RULES - RULES_FOR_LOKI


def test_each_exclusion_is_needed_and_says_why() -> None:
    """One that is not is a rule given away."""
    for rule, reason in excluded().items():
        assert reason.endswith(".")
        assert any(list(RULES[rule](dashboard)) for dashboard in DASHBOARDS.values()), rule


def _first(dashboard: Dashboard) -> Any:
    return next(panels_of(dashboard))


def _ask(expression: str) -> Callable[[Dashboard], None]:
    def change(dashboard: Dashboard) -> None:
        graph = next(panel for panel in panels_of(dashboard) if panel["type"] == "timeseries")
        graph["targets"][0]["expr"] = expression

    return change


WITHIN = "max without (instance, pod) "
BROKEN: Final[list[tuple[str, Callable[[Dashboard], None]]]] = [
    ("template-datasource-rule", lambda dashboard: dashboard["templating"]["list"].pop(0)),
    ("template-datasource-rule", lambda dashboard: dashboard["templating"]["list"][0].update(label="Prometheus")),
    ("template-label-promql-rule", lambda dashboard: _variable(dashboard).update(query="label_values(up, queue)")),
    ("template-label-promql-rule", lambda dashboard: _variable(dashboard).update(datasource={"uid": "abc"})),
    ("template-on-time-change-reload-rule", lambda dashboard: _variable(dashboard).update(refresh=1)),
    ("panel-datasource-rule", lambda dashboard: _first(dashboard).update(datasource={"uid": "abc"})),
    ("panel-datasource-rule", lambda dashboard: _first(dashboard)["targets"][0].update(datasource={"uid": "abc"})),
    ("panel-title-description-rule", lambda dashboard: _first(dashboard).update(description="")),
    ("panel-units-rule", lambda dashboard: _first(dashboard)["fieldConfig"]["defaults"].update(unit="jobs")),
    ("panel-no-targets-rule", lambda dashboard: _first(dashboard).update(targets=[])),
    ("target-promql-rule", _ask("sum(queuemedic_up")),
    ("target-promql-rule", _ask("time()")),
    ("target-rate-interval-rule", _ask(f"sum({WITHIN}(rate(queuemedic_polls_total[5m])))")),
    ("target-rate-interval-rule", _ask(f"sum({WITHIN}(increase(queuemedic_polls_total[2h])))")),
    ("target-counter-agg-rule", _ask(f"sum({WITHIN}(queuemedic_polls_total))")),
    ("target-counter-agg-rule", _ask(f"sum({WITHIN}(rate(queuemedic_up[$__rate_interval])))")),
    ("uneditable-dashboard", lambda dashboard: dashboard.update(editable=True)),
    ("our-instances", _ask('sum(queuemedic_up{queue=~"$queue"})')),
    ("our-instances", _ask('sum(rate(queuemedic_polls_total{queue=~"$queue"}[$__rate_interval]))')),
    ("our-chosen-queues", _ask(f"sum({WITHIN}(queuemedic_up))")),
    ("our-lines", _ask(f'sum by (kind) ({WITHIN}(queuemedic_jobs{{queue=~"$queue"}}))')),
    ("our-lines", _ask(f'topk(6, {WITHIN}(queuemedic_up{{queue=~"$queue"}}))')),
    ("our-lines", _ask(f'{WITHIN}(queuemedic_up{{queue=~"$queue"}})')),
    ("our-grid", lambda dashboard: _first(dashboard).update(id=1)),
    ("our-grid", lambda dashboard: _first(dashboard)["gridPos"].update(w=4)),
    ("our-grid", lambda dashboard: _first(dashboard)["gridPos"].update(x=22)),
    ("our-prometheus-only", lambda dashboard: _first(dashboard)["targets"][0]["datasource"].update(type="loki")),
]


def _variable(dashboard: Dashboard) -> Any:
    return next(variable for variable in dashboard["templating"]["list"] if variable["type"] == "query")


@pytest.mark.parametrize(("rule", "change"), BROKEN)
def test_each_rule_finds_what_it_is_there_for(rule: str, change: Callable[[Dashboard], None]) -> None:
    """A rule that finds nothing would hold of everything."""
    dashboard = copy.deepcopy(DASHBOARDS["queue"])
    change(dashboard)
    assert list(RULES[rule](dashboard)) != []


def test_no_rule_is_left_untried() -> None:
    """Those that are excluded find something as it is."""
    assert {rule for rule, _ in BROKEN} | excluded().keys() == RULES.keys()


@every_dashboard
def test_every_metric_and_label_that_is_asked_for_exists(dashboard: Dashboard) -> None:
    """In the catalogue, and every pair of vectors can match; ALERTS is Prometheus' own."""
    for _, expression in queries_of(dashboard):
        Reader({**published_labels(), **OF_PROMETHEUS}).read(without_variables(expression))


@every_dashboard
def test_every_variable_that_is_used_is_there(dashboard: Dashboard) -> None:
    """And every one that is there is used."""
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    assert {name for name in used if not name.startswith("__")} == names


def test_every_metric_is_shown_somewhere() -> None:
    """What nobody looks at need not be published, or is missing here."""
    shown = set()
    for dashboard in DASHBOARDS.values():
        for _, expression in queries_of(dashboard):
            shown |= {re.sub("^queuemedic_|_bucket$", "", one.metric) for one in selectors_of(expression)}
    assert METRICS.keys() - shown == NOT_SHOWN


@every_dashboard
def test_links_lead_to_dashboards_that_exist(dashboard: Dashboard) -> None:
    """Links of the dashboard, and those in tables; each dashboard links to the other two."""
    urls = [link["url"] for link in dashboard["links"]]
    assert {found[1] for url in urls if (found := TO_DASHBOARD.match(url))} == set(UIDS.values()) - {dashboard["uid"]}
    for panel in panels_of(dashboard):
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                urls += [link["url"] for link in one["value"]] if one["id"] == "links" else []
    uids = {found[1] for url in urls if (found := TO_DASHBOARD.match(url))}
    assert uids <= set(UIDS.values())
    assert all(TO_DASHBOARD.match(url) or url.startswith("${runbooks}") for url in urls)


@every_dashboard
def test_a_link_in_a_table_is_on_a_column_of_it(dashboard: Dashboard) -> None:
    """Units, colours and links are by the names of columns, and so is the order."""
    for panel in panels_of(dashboard):
        if panel["type"] == "table":
            organized = next(one for one in panel["transformations"] if one["id"] == "organize")
            columns = set(organized["options"]["renameByName"].values())
            named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            named |= {one["displayName"] for one in panel["options"]["sortBy"]}
            assert named <= columns, panel["title"]


def test_panels_and_alerts_know_each_other() -> None:
    """Every runbook that a panel links to is an alert's, and every alert has a panel that links to its runbook."""
    alerts = {rule.alert for rule in read_rules() if rule.alert}
    linked = {
        link["url"].removeprefix("${runbooks}").removesuffix(".md")
        for dashboard in DASHBOARDS.values()
        for panel in panels_of(dashboard)
        for link in panel["links"]
    }
    assert linked == alerts


def test_an_unknown_series_cannot_be_asked_for() -> None:
    """The builder refuses it, before any test looks."""
    with pytest.raises(KeyError):
        now("job")
    with pytest.raises(NoSuchSeries, match="jobs has no label host"):
        now("jobs", host="web02")
    with pytest.raises(NoSuchSeries, match="polls_total is a counter, not a gauge"):
        now("polls_total")
    with pytest.raises(NoSuchSeries, match="up is a gauge, not a counter"):
        rate("up")
    with pytest.raises(NoSuchSeries, match="up is no timestamp"):
        age("up")


def test_the_provisioning_files_name_what_is_there() -> None:
    """Grafana's own form, one provider, one Prometheus."""
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources.yml").read_text())
    providers = yaml.safe_load((FOLDER / "provisioning" / "dashboards.yml").read_text())
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in providers["providers"]] == ["file"]


def test_the_readme_names_every_dashboard_and_its_links_lead_somewhere() -> None:
    """By file and uid."""
    text = (FOLDER / "README.md").read_text()
    for name, uid in UIDS.items():
        assert f"`{name}.json`" in text
        assert f"`{uid}`" in text
    assert [link for link in LINK.findall(text) if "://" not in link and not (FOLDER / link).exists()] == []
