"""A Prometheus server of the test's own that scrapes one address each second, and Prometheus' own check of a page."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

import httpx

from .programs import program
from .server import Server

JOB = "queuemedic"
CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: ["{target}"]
{client}"""


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

    def __init__(self, target: str, **client: object) -> None:
        """`client` has further keys of the scrape configuration, such as `scheme`, `tls_config`, `basic_auth`."""
        self._target = target
        self._client = client
        super().__init__()

    def _command(self) -> list[str]:
        return [
            program("prometheus", package="prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data_folder}",
            f"--web.listen-address={self.host}:{self.port}",
            "--log.level=warn",
        ]

    def _prepare(self) -> None:
        client = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in self._client.items())
        (self.folder / "prometheus.yml").write_text(CONFIG.format(job=JOB, target=self._target, client=client))

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
