"""Prometheus' own tool checks and tests the rules: as written, with more instances, and on the program's own page.

The files under alerts/tests say for each alert when it fires, with which labels and texts, when it ends, and what comes
close and is none. Here each is run as it is; then with other instances, which must change nothing; and the page of an
idle queue, as the program publishes it, must raise nothing for more than a day.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
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

from .instances import FIRST, has_one_instance, with_other_instances
from .shipped import RULE_FILES, TEST_FILES, read_rules, read_test_groups

TARGET: Final = f'{FIRST},job="queuemedic"'
EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
STEP_SECONDS: Final = 300
HOURS: Final = 30
STEPS: Final = HOURS * 3600 // STEP_SECONDS
VERDICTS: Final = 'queuemedic_worker_verdicts{queue="analytics",host="web1"'
# One hour of a queue whose run takes ten minutes, in steps of five: what it begins with is there until it is done.
HOURLY: Final = {
    'queuemedic_jobs{queue="analytics",state="waiting",kind="day"}': "40 20 0 4 8 12 16 20 24 28 32 36",
    'queuemedic_jobs{queue="analytics",state="waiting",kind="week"}': "9 9 5 5 5 5 5 5 5 6 7 8",
    'queuemedic_jobs{queue="analytics",state="started",kind="day"}': "3 3 0 0 0 0 0 0 0 0 0 0",
    'queuemedic_host_started_jobs{queue="analytics",host="web1"}': "3 3 _ _ _ _ _ _ _ _ _ _",
    'queuemedic_max_jobs_per_worker{queue="analytics",host="web1"}': "3 3 _ _ _ _ _ _ _ _ _ _",
    f'{VERDICTS},verdict="alive",reason="running"}}': "2 2 _ _ _ _ _ _ _ _ _ _",
    f'{VERDICTS},verdict="unknown",reason="not_asked"}}': "1 1 _ _ _ _ _ _ _ _ _ _",
}


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
def test_other_instances_change_nothing(file: Path, tmp_path: Path) -> None:
    """One that sees what the first sees, and one that sees nothing yet: the same alerts, once, with the same values."""
    groups = [with_other_instances(group) for group in read_test_groups(file) if has_one_instance(group)]
    assert groups
    tests = yaml.safe_load(file.read_text())
    rules = [file.parent / rules for rules in tests["rule_files"]]
    code, said = run_groups(groups, rules, tmp_path, every=tests["evaluation_interval"])
    assert code == 0, said


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


def as_series(families: Iterable[Family], changed: Mapping[str, str] = EMPTY) -> Iterator[dict[str, str]]:
    """Write a page as promtool's series: every value stays as it is, and every time of something done goes on.

    `changed`: the values of series, by the text that promtool's tests know them by without `TARGET`.
    """
    goes_on = f"0+{STEP_SECONDS}x{STEPS}"
    yield {"series": f"up{{{TARGET}}}", "values": f"1x{STEPS}"}
    found = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            is_time = sample.name.endswith("_timestamp_seconds")
            found[f"{sample.name}{{{labels}}}"] = goes_on if is_time else f"{float(sample.value)}x{STEPS}"
    for series, values in {**found, **changed}.items():
        yield {"series": series.replace("}", f",{TARGET}}}").replace("{,", "{"), "values": values}


def expect_none(series: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """Return a group of tests in which no alert at all may fire."""
    times = ("2h", "9h55m", "20h20m", "26h40m", "29h50m")
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


def test_hourly_cron_raises_nothing(tmp_path: Path) -> None:
    """A run each hour, which leaves the week that contains today; that one looks as old as the watch itself."""
    changed = {series: " ".join([hour] * HOURS) for series, hour in HOURLY.items()}
    for kind in ("enqueued", "ended"):
        counted = (44 * hour + (40 if kind == "ended" and step > 1 else 4 * step) for hour, step in _steps())
        changed[f'queuemedic_jobs_{kind}_total{{queue="analytics",kind="day"}}'] = " ".join(map(str, counted))
    oldest = 'queuemedic_oldest_waiting_timestamp_seconds{queue="analytics",kind="%s"}'
    changed[oldest % "day"] = " ".join(str(3600 * hour - 1800) if step != 2 else "_" for hour, step in _steps())
    changed[oldest % "week"] = f"0x{STEPS}"
    group = expect_none(as_series(an_idle_page(), changed))
    code, said = run_groups([group, with_other_instances(group)], RULE_FILES, tmp_path, every="5m")
    assert code == 0, said


def _steps() -> Iterator[tuple[int, int]]:
    return ((hour, step) for hour in range(HOURS) for step in range(3600 // STEP_SECONDS))


def test_what_an_idle_queue_raises_would_be_seen(tmp_path: Path) -> None:
    """The same page with one thing wrong fails the test above."""
    code, said = run_groups([expect_none(as_series(an_idle_page(is_up=False)))], RULE_FILES, tmp_path, every="5m")
    assert code == 1
    assert "QueuemedicPollFailing" in said
