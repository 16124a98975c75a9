"""A Prometheus server of the test's own that scrapes each second, and Prometheus' own check of a page."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx

from .programs import program
from .server import Server

JOB = "queuemedic"
CONFIG = """\
global:
  scrape_interval: {every}s
  scrape_timeout: {every}s
  evaluation_interval: 1s
rule_files: {rules}
alerting: {alerting}
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: ["{target}"]
{client}{others}"""
OTHER = """\
  - job_name: {job}
    static_configs:
      - targets: {targets}
"""
NONE: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})
RESEND_SECONDS: Final = 3
"""After how long an alert is said anew; after four times as long Alertmanager holds it for over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A scraped address, as Prometheus sees it: `up`, `down` or, before the first scrape, `unknown`."""

    url: str
    health: str
    last_error: str


class Prometheus(Server):
    """A server that scrapes `target`, an address such as 127.0.0.1:9847.

    It takes 5 s to its first scrape (how often its discovery looks), until then it has no targets: wait for it.
    """

    def __init__(
        self,
        target: str,
        *,
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
        others: Mapping[str, Sequence[str]] = NONE,
        every_seconds: int = 1,
        **client: object,
    ) -> None:
        """`client` has further keys of the scrape configuration, such as `scheme`, `tls_config`, `basic_auth`.

        `rules` are evaluated each second, and alerts told to the `alertmanager` at an address. `others` are further
        jobs by name, with the addresses of each. `every_seconds`: how often it scrapes, and how long that may take.
        """
        self._target = target
        self._client = client
        self._rules, self._alertmanager, self._others = rules, alertmanager, others
        self._every_seconds = every_seconds
        super().__init__()

    def _command(self) -> list[str]:
        return [
            program("prometheus", package="prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data_folder}",
            f"--web.listen-address={self.host}:{self.port}",
            f"--rules.alert.resend-delay={RESEND_SECONDS}s",
            "--log.level=warn",
        ]

    def _prepare(self) -> None:
        client = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in self._client.items())
        others = "".join(OTHER.format(job=job, targets=json.dumps([*them])) for job, them in self._others.items())
        managers = [{"static_configs": [{"targets": [self._alertmanager]}]}] if self._alertmanager else []
        config = CONFIG.format(
            every=self._every_seconds,
            job=JOB,
            target=self._target,
            client=client,
            others=others,
            rules=json.dumps([str(file) for file in self._rules]),
            alerting=json.dumps({"alertmanagers": managers}),
        )
        (self.folder / "prometheus.yml").write_text(config)

    def _answers(self) -> bool:
        return httpx.get(f"{self.url}/-/ready").is_success

    @property
    def url(self) -> str:
        """The server's own address."""
        return f"http://{self.host}:{self.port}"

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Return the samples of an instant query as labels (`__name__` among them) and value."""
        answer = self._ask("query", query=promql)
        if answer["resultType"] == "scalar":
            return [({}, float(answer["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in answer["result"]]

    def targets(self) -> list[Target]:
        """Return what it scrapes and how that goes."""
        return [
            Target(url=target["scrapeUrl"], health=target["health"], last_error=target["lastError"])
            for target in self._ask("targets", state="active")["activeTargets"]
        ]

    def alerts(self) -> list[tuple[dict[str, str], str]]:
        """Return the labels of each alert that is on, and whether it is `pending` or `firing`."""
        return [(alert["labels"], alert["state"]) for alert in self._ask("alerts")["alerts"]]

    def _ask(self, path: str, **params: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=params)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]


def promtool_check_metrics(text: str) -> tuple[int, str]:
    """Return exit code and output of `promtool check metrics` for a page: 0 and nothing if all is well."""
    checked = subprocess.run(
        [program("promtool", package="prometheus"), "check", "metrics"],
        input=text,
        check=False,
        capture_output=True,
        text=True,
    )
    return checked.returncode, checked.stdout + checked.stderr
