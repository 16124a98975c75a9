"""Prometheus' own tool checks and tests the rules: as written, with a second instance, and on the program's own page.

The files under alerts/tests say for each alert when it fires, with which labels and texts, when it ends, and what comes
close and is none. Here each is run as it is; then with every series a second time from another instance, which must
change nothing; and the page of an idle queue, as the program publishes it, must raise nothing for more than a day.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import Metric as Family

from exporter.collector import QueueStatus, Reading, collect_program, collect_queue
from exporter.facts import derive_facts
from exporter.histogram import Histogram
from exporter.jobs import Kind, Signal
from exporter.options import QueueOptions
from exporter.poller import OUTCOMES
from exporter.queues.matomo import MatomoOptions
from exporter.queues.matomo.names import KINDS
from exporter.queues.matomo.queue import SIGNS
from exporter.tracker import History, track
from healers.beliefs import QueueBeliefs
from healers.metrics import HostStatus, collect_heals, collect_hosts, collect_verdicts
from healers.rounds import Watched
from healers.tallying import HealStatus
from tests.builders import NOON, a_snapshot, a_waiting
from tests.conftest import installed
from tests.lab.programs import program

from .shipped import RULE_FILES, TEST_FILES, read_rules, read_series, read_test_groups

FIRST: Final = 'instance="a:9847"'
SECOND: Final = 'instance="b:9847"'
# What an instance does itself adds up: here the second one does nothing.
OF_EACH_INSTANCE: Final = "queuemedic_heals_total"
STEP_SECONDS: Final = 300
STEPS: Final = 30 * 3600 // STEP_SECONDS


def promtool(*arguments: object) -> tuple[int, str]:
    """Run promtool; exit code and all that it prints."""
    with installed():
        command = [program("promtool", package="prometheus"), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def run_groups(
    groups: Iterable[Mapping[str, Any]], rules: Iterable[Path], folder: Path, *, every: str
) -> tuple[int, str]:
    """Run groups of tests against rules, which are evaluated so often."""
    tests = {"rule_files": [*map(str, rules)], "evaluation_interval": every, "tests": list(groups)}
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    return promtool("test", "rules", folder / "tests.yml")


def test_the_rules_are_valid_and_lint_clean() -> None:
    """All of promtool's lints."""
    code, said = promtool("check", "rules", "--lint=all", *RULE_FILES)
    assert (code, "FAILED" in said) == (0, False), said


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_tests_say(file: Path) -> None:
    """As anybody runs them: `promtool test rules`."""
    code, said = promtool("test", "rules", file)
    assert code == 0, said


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_a_second_instance_changes_nothing(file: Path, tmp_path: Path) -> None:
    """It sees what the first sees: the same alerts, once, with the same values."""
    groups = [_double(group) for group in read_test_groups(file) if SECOND not in str(group["input_series"])]
    assert groups
    tests = yaml.safe_load(file.read_text())
    rules = [file.parent / rules for rules in tests["rule_files"]]
    code, said = run_groups(groups, rules, tmp_path, every=tests["evaluation_interval"])
    assert code == 0, said


def _double(group: Mapping[str, Any]) -> dict[str, Any]:
    twins = [
        {**series, "series": series["series"].replace(FIRST, SECOND)}
        for series in group["input_series"]
        if FIRST in series["series"] and read_series(series["series"])[0] != OF_EACH_INSTANCE
    ]
    return {**group, "input_series": [*group["input_series"], *twins]}


def an_idle_page(*, is_up: bool = True, is_healed: bool = True) -> Iterator[Family]:
    """Yield what the program publishes of a Matomo with nothing to do and of a host that answers."""
    options: QueueOptions = MatomoOptions(url="mysql://q:x@db01/matomo")
    signals = tuple(
        Signal(name=f"matomo_{name}", value=value)
        for name, value in (
            ("archiving_started_timestamp_seconds", 0.0),
            ("archiving_completed_timestamp_seconds", 0.0),
            ("last_invalidation_timestamp_seconds", 0.0),
            ("pending_invalidations", 0.0),
            ("sites_left", 0.0),
            ("rearchive_list_bytes", 6.0),
            ("maintenance_mode", 0.0),
        )
    )
    snapshot = a_snapshot(waiting=[a_waiting(kind=kind) for kind in KINDS], signals=signals)
    history = track(History.begin(map(Kind, KINDS), options, aliases={}), snapshot, options)
    facts = derive_facts(snapshot, history, options, SIGNS)
    status = QueueStatus(
        name="analytics",
        system="matomo",
        signs=SIGNS,
        options=options,
        is_up=is_up,
        polls=dict.fromkeys(OUTCOMES, 0),
        poll_durations=Histogram(),
        interval=timedelta(seconds=15),
        stale_after=timedelta(minutes=5),
        history=history,
        reading=Reading(snapshot=snapshot, read_seconds=0.0, facts=facts, history=history),
    )
    yield from collect_queue(status)
    watched = Watched(started=(), signs=SIGNS, read_seconds=0.0)
    yield from collect_verdicts("analytics", QueueBeliefs(watched=watched), history)
    if is_healed:
        yield from collect_heals(HealStatus(queue="analytics", mode="reset", passed_at=NOON))
    host = HostStatus(
        name="web1",
        is_up=True,
        answered_at=NOON,
        load_average=0.5,
        processors=4,
        worker_memory_bytes=None,
        memory_limit_bytes=268435456,
    )
    yield from collect_hosts([host])
    yield from collect_program("0.1.0", configured_at=NOON, is_configured=True)


def as_series(families: Iterable[Family]) -> Iterator[dict[str, str]]:
    """Write a page as promtool's series: every value stays as it is, and every time of something done goes on."""
    goes_on = f"0+{STEP_SECONDS}x{STEPS}"
    yield {"series": f'up{{{FIRST},job="queuemedic"}}', "values": f"1x{STEPS}"}
    for family in families:
        for sample in family.samples:
            labels = "".join(f'{name}="{value}",' for name, value in sample.labels.items())
            values = goes_on if sample.name.endswith("_timestamp_seconds") else f"{float(sample.value)}x{STEPS}"
            yield {"series": f'{sample.name}{{{labels}{FIRST},job="queuemedic"}}', "values": values}


def expect_none(series: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """Return a group of tests in which no alert at all may fire."""
    times = ("2h", "26h", "30h")
    alerts = [rule.alert for rule in read_rules() if rule.alert]
    checks = [{"eval_time": time, "alertname": alert} for time in times for alert in alerts]
    return {"interval": f"{STEP_SECONDS}s", "input_series": list(series), "alert_rule_test": checks}


@pytest.mark.parametrize("is_healed", [True, False])
def test_an_idle_queue_raises_nothing(is_healed: bool, tmp_path: Path) -> None:
    """The page as the program makes it, for more than a day."""
    code, said = run_groups(
        [expect_none(as_series(an_idle_page(is_healed=is_healed)))], RULE_FILES, tmp_path, every="5m"
    )
    assert code == 0, said


def test_what_an_idle_queue_raises_would_be_seen(tmp_path: Path) -> None:
    """The same page with one thing wrong fails the test above."""
    code, said = run_groups([expect_none(as_series(an_idle_page(is_up=False)))], RULE_FILES, tmp_path, every="5m")
    assert code == 1
    assert "QueuemedicPollFailing" in said
