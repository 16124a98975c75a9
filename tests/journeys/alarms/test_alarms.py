"""Every alert end to end: a real cause, the message that it fires, and after the cause is removed that it is over.

An hour takes ten seconds (`scale`). `make test` has those whose time is not in days; all of them:
`pytest -m long tests/journeys/alarms`.
"""

import html
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import installed, lab_hosts
from tests.lab.hosts import Hosts
from tests.lab.webhook import Notification
from tests.rules.shipped import RUNBOOKS, read_rules

from .catalogue import SCENARIOS
from .scenario import Scenario
from .watch import Watch

ALL: Final = tuple(scenario for found in SCENARIOS.values() for scenario in found)
RULES: Final = {rule.alert: rule for rule in read_rules() if rule.alert}
PREPARED_AT_ONCE: Final = 8
MISSING: Final = ("<no value>", "{{", "%!", "NaN", "+Inf")
"""What a template leaves where there is nothing to show."""


@pytest.fixture
def machines() -> Iterator[Hosts]:
    """Hosts to be asked over SSH; skips where such cannot be made."""
    with lab_hosts() as made:
        yield made


def test_every_alert_has_a_scenario() -> None:
    """In the module of its subject."""
    expected: dict[str, set[str]] = defaultdict(set)
    for rule in RULES.values():
        expected[rule.subject].add(rule.alert)
    found = {subject: {f"Queuemedic{one.__name__}" for one in classes} for subject, classes in SCENARIOS.items()}
    assert found == expected


@pytest.mark.timeout(900)
def test_alerts_of_hours_are_told_and_told_to_be_over(machines: Hosts, tmp_path: Path) -> None:
    """All whose time is not in days."""
    with played([scenario for scenario in ALL if not scenario.is_long], machines, tmp_path) as (watch, scenarios):
        assert_person_was_told(watch, scenarios)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_alerts_are_told_and_told_to_be_over(machines: Hosts, tmp_path: Path) -> None:
    """Days too; and nothing else is told, which takes a machine that is not late: ten seconds are an hour."""
    with played(ALL, machines, tmp_path) as (watch, scenarios):
        assert_person_was_told(watch, scenarios)
        assert_nothing_else_was_told(watch.webhook.notifications, scenarios)


@contextmanager
def played(
    classes: Sequence[type[Scenario]], machines: Hosts, folder: Path
) -> Iterator[tuple[Watch, Sequence[Scenario]]]:
    """Play scenarios side by side, and assert what was told of each."""
    with installed(), Watch(machines, folder) as watch, ExitStack() as undo:
        scenarios = [each(watch, undo) for each in classes]
        with ThreadPoolExecutor(PREPARED_AT_ONCE) as threads:
            list(threads.map(lambda one: one.prepare(), scenarios))
        watch.run()
        with ThreadPoolExecutor(len(scenarios)) as threads:
            results = {one: threads.submit(one.play, RULES[one.alert].labels["severity"]) for one in scenarios}
        faults = [f"{one.alert}: {fault}" for one in scenarios if (fault := results[one].exception())]
        assert not faults, "\n".join([*faults, watch.serving.log[-5000:]])
        for scenario, future in results.items():
            for told in future.result():
                assert_it_reads_well(told)
                scenario.assert_links(told)
        assert "Traceback" not in watch.serving.log
        yield watch, scenarios


def assert_it_reads_well(told: Notification) -> None:
    """Assert that a text is whole, and that the runbook it leads to is there."""
    texts = [told.annotations["summary"], told.annotations["description"]]
    assert all(text and not any(part in text for part in MISSING) for text in texts), texts
    assert (RUNBOOKS / f"{told.alert}.md").is_file()


def assert_nothing_else_was_told(told: Sequence[Notification], scenarios: Sequence[Scenario]) -> None:
    """Assert that of each queue only its alert was told, and those that the same cause may raise."""
    allowed = {one.queue: {one.alert, *one.also} for one in scenarios}
    without_queue = {one.alert for one in scenarios if "queue" not in one.expected()}
    unexpected = {
        (one.labels.get("queue", ""), one.alert)
        for one in told
        if one.is_firing and one.alert not in allowed.get(one.labels.get("queue", ""), without_queue)
    }
    assert unexpected == set()


def assert_person_was_told(watch: Watch, scenarios: Sequence[Scenario]) -> None:
    """Assert that mail came of all that is critical or a warning, and of nothing else."""
    texts = []
    for message in watch.mailbox.messages:
        body = message.get_body()
        assert body is not None
        assert message["To"] == "oncall@example.org"
        texts.append(html.unescape(body.get_content()))
    for scenario in scenarios:
        is_mailed = any(f"alertname = {scenario.alert}" in text for text in texts)
        assert is_mailed is (RULES[scenario.alert].labels["severity"] != "info"), scenario.alert
