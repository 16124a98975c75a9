"""The example for Alertmanager: it is valid, it tells the right people, and what explains an alert silences it."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
import yaml

from exporter import clock
from tests.conftest import installed
from tests.lab.programs import program
from tests.lab.server import Server

from .shipped import ALERTS, read_rules

CONFIG: Final = ALERTS / "alertmanager.yml"
PACKAGE: Final = "prometheus-alertmanager"
KNOWN: Final = {rule.alert: rule.labels["severity"] for rule in read_rules() if rule.alert}


class Alertmanager(Server):
    """A server with the configuration that is shipped; it has nobody to tell, and says so in its log only."""

    def _command(self) -> list[str]:
        return [
            program(PACKAGE, package=PACKAGE),
            f"--config.file={CONFIG}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
            "--cluster.listen-address=",
        ]

    def _prepare(self) -> None:
        """Nothing has to be there."""

    def _answers(self) -> bool:
        return httpx.get(f"{self.url}/-/ready").is_success

    @property
    def url(self) -> str:
        """The server's own address."""
        return f"http://{self.host}:{self.port}"

    def take(self, *alerts: Mapping[str, str]) -> None:
        """Take alerts that fire for an hour."""
        ends = (clock.now() + timedelta(hours=1)).isoformat()
        body = [{"labels": {**alert, "severity": KNOWN[alert["alertname"]]}, "endsAt": ends} for alert in alerts]
        httpx.post(f"{self.url}/api/v2/alerts", json=body).raise_for_status()

    def silenced(self, **labels: str) -> set[str]:
        """Return which of the alerts with these labels are silenced by another one."""
        filters = [f'{name}="{value}"' for name, value in labels.items()]
        found = httpx.get(f"{self.url}/api/v2/alerts", params={"filter": filters}).json()
        return {alert["labels"]["alertname"] for alert in found if alert["status"]["inhibitedBy"]}


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Alertmanager]:
    """One for all tests of this file: each has a queue of its own."""
    with installed(), Alertmanager() as server:
        yield server


def amtool(*arguments: str) -> str:
    """Run amtool, which has to succeed; what it prints."""
    with installed():
        command = [program("amtool", package=PACKAGE), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_is_valid() -> None:
    """To Alertmanager itself."""
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("alert", "receivers"),
    [
        ({"alertname": "QueuemedicNothingStarted", "severity": "critical", "queue": "q"}, "webhook,person"),
        ({"alertname": "QueuemedicJobStuck", "severity": "warning", "queue": "q"}, "webhook,person"),
        ({"alertname": "QueuemedicJobRunsLong", "severity": "info", "queue": "q"}, "webhook,nobody"),
        ({"alertname": "Other", "severity": "info"}, "person"),
    ],
    ids=lambda value: value["alertname"] if isinstance(value, dict) else value,
)
def test_who_is_told(alert: Mapping[str, str], receivers: str) -> None:
    """The webhook of all, a person of what is not only for the dashboard."""
    labels = [f"{name}={value}" for name, value in alert.items()]
    said = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels)
    assert said.strip() == receivers


def test_alerts_come_together_by_queue() -> None:
    """One message for all that is wrong with a queue."""
    assert _config()["route"]["group_by"] == ["queue"]


def test_every_alert_that_is_named_exists() -> None:
    """A misspelt name silences nothing, and no tool minds."""
    named = set(re.findall(r"Queuemedic[A-Z]\w+", CONFIG.read_text()))
    assert named <= KNOWN.keys() | {"QueuemedicHealing", "QueuemedicBacklog", "QueuemedicNothing"}


def test_without_the_program_only_that_is_said(alertmanager: Alertmanager) -> None:
    """Of the same job; another installation is heard."""
    mine, other = {"job": "down"}, {"job": "down-elsewhere", "queue": "q"}
    alertmanager.take(
        {"alertname": "QueuemedicDown", **mine},
        {"alertname": "QueuemedicBacklogGrowing", "queue": "q", **mine},
        {"alertname": "QueuemedicHostUnreachable", "host": "web1", **mine},
        {"alertname": "QueuemedicBacklogGrowing", **other},
    )
    assert alertmanager.silenced(job="down") == {"QueuemedicBacklogGrowing", "QueuemedicHostUnreachable"}
    assert alertmanager.silenced(job="down-elsewhere") == set()


@pytest.mark.parametrize(
    ("source", "silences", "leaves"),
    [
        (
            "QueuemedicPollFailing",
            {"QueuemedicDataStale", "QueuemedicTimeoutRateHigh", "QueuemedicJobStuck"},
            set(),
        ),
        ("QueuemedicDataStale", {"QueuemedicHealingStopped", "QueuemedicBacklogGrowing"}, {"QueuemedicJobStuck"}),
        (
            "QueuemedicJobOrphaned",
            {"QueuemedicJobStuck", "QueuemedicJobsBlocked", "QueuemedicHeartbeatLost"},
            {"QueuemedicJobRunsLong", "QueuemedicManyResets"},
        ),
        ("QueuemedicJobUnjudged", {"QueuemedicJobStuck"}, {"QueuemedicJobsBlocked"}),
        (
            "QueuemedicNothingEnding",
            {"QueuemedicBacklogGrowing", "QueuemedicReportsOutdated"},
            {"QueuemedicJobStuck", "QueuemedicWorkerRunsTooLong"},
        ),
        ("QueuemedicBreakerOpen", {"QueuemedicHealingBlocked", "QueuemedicJobOrphaned"}, {"QueuemedicJobRunsLong"}),
    ],
)
def test_what_explains_an_alert_silences_it(
    source: str, silences: set[str], leaves: set[str], alertmanager: Alertmanager
) -> None:
    """Of the same queue and host, and no other."""
    labels = {"job": "queuemedic", "host": "web1"}
    for queue, names in ((source, [source, *silences, *leaves]), (f"not-{source}", [*silences, *leaves])):
        alertmanager.take(*({"alertname": name, "queue": queue, **labels} for name in names))
    assert alertmanager.silenced(queue=source) == silences
    assert alertmanager.silenced(queue=f"not-{source}") == set()


def test_a_silent_host_explains_what_nobody_can_judge(alertmanager: Alertmanager) -> None:
    """On that host, whatever the queue."""
    alertmanager.take(
        {"alertname": "QueuemedicHostUnreachable", "job": "q", "host": "silent"},
        {"alertname": "QueuemedicJobUnjudged", "job": "q", "host": "silent", "queue": "a"},
        {"alertname": "QueuemedicJobUnjudged", "job": "q", "host": "talking", "queue": "b"},
    )
    assert alertmanager.silenced(host="silent") == {"QueuemedicJobUnjudged"}
    assert alertmanager.silenced(host="talking") == set()


def _config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return config
