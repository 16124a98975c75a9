"""Alerts, runbooks, tests, metrics and recording rules: each has its others, so that none drifts."""

import importlib.util
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click
import pytest

from exporter.catalogue import METRICS
from queuemedic.cli import main as program

from .linting import panels_of
from .matching import Reader
from .selectors import selectors_of
from .shipped import (
    ROOT,
    RULE_FILES,
    RUNBOOKS,
    TARGET_LABELS,
    TEST_FILES,
    Rule,
    published_labels,
    read_rules,
    read_series,
    read_test_groups,
)

RULES: Final = tuple(read_rules())
ALERTING: Final = tuple(rule for rule in RULES if rule.alert)
RECORDING: Final = tuple(rule for rule in RULES if rule.record)
DASHBOARDS: Final = tuple(json.loads(file.read_text()) for file in (ROOT / "dashboards").glob("*.json"))
SEVERITIES: Final = frozenset({"critical", "warning", "info"})
ANNOTATIONS: Final = frozenset({"summary", "description", "runbook_url", "dashboard_url"})
HEADINGS: Final = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
# They are about the program and not about a queue; the second is about which instance of it.
OF_THE_PROGRAM: Final = frozenset({"QueuemedicDown", "QueuemedicInstanceDown", "QueuemedicConfigurationRefused"})
OF_ONE_INSTANCE: Final = frozenset({"QueuemedicInstanceDown"})
OPEN_LABELS: Final = frozenset({"job", "host", "kind", "plugin", "report"})
TEMPLATE_LABEL: Final = re.compile(r"\$labels\.(\w+)")
DASHBOARD_URL: Final = re.compile(
    r"/d/(?P<uid>queuemedic-\w+)(?:\?var-(?P<variable>\w+)=\{\{ \$labels\.(?P=variable) \}\})?"
)
COMMAND: Final = re.compile(r"^(?:sudo -u queuemedic )?queuemedic .*$", re.MULTILINE)
LONG_OPTION: Final = re.compile(r"(?<=\s)--[a-z-]+")
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def names() -> dict[str, frozenset[str]]:
    """Every metric that a rule may use, with its labels: of the page, and recorded by earlier rules."""
    known = published_labels()
    for rule in RECORDING:
        known[rule.record] = Reader(known).read(rule.expr)
    return known


def read(rule: Rule) -> tuple[Reader, frozenset[str]]:
    """Return what a rule selects, and the labels of its result."""
    reader = Reader(names())
    return reader, reader.read(rule.expr) | rule.labels.keys()


def by_name(rule: Rule) -> str:
    """Name a test after its rule."""
    return rule.alert or rule.record


def generate() -> ModuleType:
    """docs/generate.py, which is in no package and lists the values of labels."""
    spec = importlib.util.spec_from_file_location("generate", RUNBOOKS.parent / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MEASURED: Final = {rule.record: set(read(rule)[0].selected) for rule in RECORDING}
"""What each recorded metric is made of."""


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_every_metric_and_label_exists(rule: Rule) -> None:
    """In the program's own catalogue, or in an earlier recording rule; and every pair of vectors can match."""
    read(rule)


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_several_instances_double_nothing(rule: Rule) -> None:
    """Each series of the program is aggregated over instances, and only one alert says which."""
    reader, labels = read(rule)
    if rule.alert in OF_ONE_INSTANCE:
        return
    assert [name for name in reader.unaggregated if name != "up"] == []
    assert labels.isdisjoint({"instance", "pod"})


@pytest.mark.parametrize("rule", ALERTING, ids=by_name)
def test_an_alert_has_its_labels_and_annotations(rule: Rule) -> None:
    """Queue or host survive, and annotations name labels that are there; the summary is the same for all of them."""
    _, labels = read(rule)
    assert rule.labels.keys() == {"severity"}
    assert rule.labels["severity"] in SEVERITIES
    assert rule.annotations.keys() == ANNOTATIONS
    assert rule.alert in OF_THE_PROGRAM or labels & {"queue", "host"}
    used = {name for text in rule.annotations.values() for name in TEMPLATE_LABEL.findall(text)}
    assert used <= labels
    assert "{{" not in rule.annotations["summary"]
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["runbook_url"] == f"docs/runbooks/{rule.alert}.md"


@pytest.mark.parametrize("rule", ALERTING, ids=by_name)
def test_the_dashboard_of_an_alert_is_there(rule: Rule) -> None:
    """With the variable that the link sets, to a label of the alert."""
    found = DASHBOARD_URL.fullmatch(rule.annotations["dashboard_url"])
    assert found
    variables = {board["uid"]: {entry["name"] for entry in board["templating"]["list"]} for board in DASHBOARDS}
    assert {found["variable"]} - {None} <= variables[found["uid"]]


@pytest.mark.parametrize("rule", ALERTING, ids=by_name)
def test_the_dashboard_of_an_alert_shows_what_it_is_about(rule: Rule) -> None:
    """A panel there links to its runbook, and one that does asks for a metric that the alert rests on.

    An instance that is down publishes nothing; what the others publish of themselves is queuemedic_build_info.
    """
    rests_on = {name for selected in read(rule)[0].selected for name in MEASURED.get(selected, [selected])}
    wanted = {"queuemedic_build_info" if name == "up" else name for name in rests_on}
    found = DASHBOARD_URL.fullmatch(rule.annotations["dashboard_url"])
    assert found
    [board] = [board for board in DASHBOARDS if board["uid"] == found["uid"]]
    linking = [panel for panel in panels_of(board) if _links_to(panel, rule.annotations["runbook_url"])]
    shown = {one.metric for panel in linking for query in panel["targets"] for one in selectors_of(query["expr"])}
    assert linking
    assert shown & wanted


def _links_to(panel: Any, runbook: str) -> bool:
    return any(link["url"] == f"${{runbooks}}{Path(runbook).name}" for link in panel["links"])


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_every_value_that_is_matched_exists(rule: Rule) -> None:
    """A misspelt reason matches nothing, and no linter minds."""
    reader, _ = read(rule)
    values = {label: set(re.findall(r"[\w-]+", text)) for label, text in generate().LABELS.items()}
    values["mode"] |= {"paused"}
    for matched in reader.matched:
        if matched.label not in OPEN_LABELS:
            wanted = matched.value.split("|") if matched.is_regex else [matched.value]
            assert set(wanted) <= values[matched.label], matched


def test_names_are_given_once_and_begin_alike() -> None:
    """Alerts as mixins name them; recording rules with level, metric and operation."""
    assert [name for name, number in Counter(map(by_name, RULES)).items() if number > 1] == []
    assert [rule.alert for rule in ALERTING if not re.fullmatch(r"Queuemedic([A-Z][a-z]+)+", rule.alert)] == []
    levels = re.compile(r"queue(_host)?:(queuemedic_\w+):(sum|max|rate\d+[mh])")
    assert [rule.record for rule in RECORDING if not levels.fullmatch(rule.record)] == []
    assert {rule.subject for rule in RECORDING} == {"recording"}


def test_every_recording_rule_is_used() -> None:
    """By an alert."""
    used = {name for rule in ALERTING for name in read(rule)[0].selected}
    assert {rule.record for rule in RECORDING} - used == set()


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """Of the same name."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule.alert for rule in ALERTING}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_says_what_and_what_to_do(page: Path) -> None:
    """Its name, the alert's own summary, then four headings with something under each; a sentence a line."""
    text = page.read_text()
    (rule,) = (rule for rule in ALERTING if rule.alert == page.stem)
    assert text.startswith(f"# {page.stem}\n\n{rule.annotations['summary']}\n")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == HEADINGS
    assert [part for part in re.split(r"^## .*$", text, flags=re.MULTILINE) if not part.strip()] == []
    prose = FENCE.sub("", text)
    assert [line for line in prose.splitlines() if re.search(r"[a-z)`][.?!] [A-Z]", line)] == []


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_every_command_and_metric_in_a_runbook_exists(page: Path) -> None:
    """Of Queuemedic's own commands each has the options that are written; and metrics are in the catalogue."""
    text = page.read_text()
    fenced = "\n".join(block for language, block in FENCE.findall(text) if language == "sh")
    for line in [*COMMAND.findall(fenced), *re.findall(r"`(queuemedic [^`]+)`", text)]:
        _check_command(line.removeprefix("sudo -u queuemedic "))
    named = set(re.findall(r"\b(queuemedic_[a-z_]+)", text)) - {"queuemedic_signals"}
    assert named <= {metric.full_name for metric in METRICS.values()}


def _check_command(line: str) -> None:
    words = line.split()[1:]
    command: click.Command = program
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, line
        command, words = found, words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    assert set(LONG_OPTION.findall(line)) <= options, line


def test_every_alert_is_tested_where_its_rule_is() -> None:
    """Firing and not firing, in files of promtool's tests that begin as the file of rules is called."""
    subjects = {file.stem.partition("_")[0] for file in TEST_FILES}
    assert subjects == {file.stem for file in RULE_FILES} - {"recording"}
    for subject in subjects:
        files = [file for file in TEST_FILES if file.stem.partition("_")[0] == subject]
        groups = [group for file in files for group in read_test_groups(file)]
        checks = [check for group in groups for check in group["alert_rule_test"]]
        fires = {check["alertname"] for check in checks if check.get("exp_alerts")}
        quiet = {check["alertname"] for check in checks if not check.get("exp_alerts")}
        assert fires >= {rule.alert for rule in ALERTING if rule.subject == subject}
        assert quiet >= {rule.alert for rule in ALERTING if rule.subject == subject}


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_series_of_the_tests_are_those_of_the_program(file: Path) -> None:
    """With exactly the labels that the catalogue gives them: a rule that is tested on others proves nothing."""
    published = published_labels()
    for group in read_test_groups(file):
        for series in group["input_series"]:
            name, labels = read_series(series["series"])
            assert labels.keys() - TARGET_LABELS == published[name], series["series"]
