"""Every panel asks a real Prometheus, which scrapes the real program twice, and gets an answer where it should."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import installed
from tests.lab import queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import HOST
from tests.lab.prometheus import Prometheus
from tests.lab.queuemedic import Serving
from tests.lab.waiting import wait_until

from .busy_queues import BusyQueues
from .linting import MOST_LINES, panels_of

FOLDER: Final = Path(__file__).parents[2] / "dashboards"
NAMES: Final = ("fleet", "queue", "healing")
VALUES: Final = {
    "$__rate_interval": "30s",
    "$__range": "5m",
    "$queue": "analytics|pipelines",
    "$host": ".+",
}
BACK_SECONDS, STEP_SECONDS = 60, 5
WITHIN_SECONDS: Final = 120.0
EMPTY_HERE: Final = {"Alerts that fire"}
"""No rules are loaded."""

Answer = list[dict[str, Any]]


def everything() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each query with its panel and the name of its dashboard."""
    for name in NAMES:
        for panel in panels_of(json.loads((FOLDER / f"{name}.json").read_text())):
            for target in panel["targets"]:
                yield name, panel, target


def ask(prometheus: Prometheus, target: dict[str, Any]) -> Answer:
    """Ask as Grafana does: for now, or for all of a time; what is no number is no answer."""
    query = target["expr"]
    for variable, value in VALUES.items():
        query = query.replace(variable, value)
    path, params = "query", {"query": query}
    if not target["instant"]:
        now = time.time()
        span = {"start": str(now - BACK_SECONDS), "end": str(now), "step": str(STEP_SECONDS)}
        path, params = "query_range", {**params, **span}
    answer = httpx.get(f"{prometheus.url}/api/v1/{path}", params=params, timeout=20).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    found: Answer = answer["data"]["result"]
    return [series for series in found if any(not math.isnan(float(value)) for _, value in _samples(series))]


def _samples(series: dict[str, Any]) -> list[tuple[float, str]]:
    samples: list[tuple[float, str]] = [series["value"]] if "value" in series else series["values"]
    return samples


def most_lines(prometheus: Prometheus, panel: dict[str, Any]) -> int:
    """Count the lines of a graph at the time when there are most; other panels have none."""
    if panel["type"] != "timeseries":
        return 0
    answers = [ask(prometheus, target) for target in panel["targets"]]
    at = Counter(round(second) for answer in answers for series in answer for second, _ in _samples(series))
    return max(at.values(), default=0)


def value(prometheus: Prometheus, name: str, title: str) -> float:
    """Return what a panel of one number shows."""
    (target,) = [target for found, panel, target in everything() if (found, panel["title"]) == (name, title)]
    (series,) = ask(prometheus, target)
    return float(series["value"][1])


@pytest.mark.timeout(360)
def test_every_panel_of_every_dashboard_shows_what_is_there(mariadb: MariaDb, tmp_path: Path) -> None:
    """All from two instances that see the same; what is empty says so, and no graph has too many lines."""
    with mariadb.database() as database:
        queues = BusyQueues(mariadb, database, tmp_path)
        config = queuemedic.write_config(tmp_path, **queues.section())
        with queues.workers() as worker, queuemedic.serving(config, tmp_path) as served, installed():
            port = served.address.rpartition(":")[2]
            with Prometheus(f'127.0.0.1:{port}", "localhost:{port}') as prometheus:
                wait_until(lambda: len(prometheus.query("queuemedic_up == 1")) == 4, within=60, what="both are scraped")
                until_alive(served)
                worker.kill()
                left = until_shown(prometheus, queues)
                assert [(name, title) for name, title, _ in left if title not in EMPTY_HERE] == []
                assert value(prometheus, "fleet", "Queues") == 2
                assert value(prometheus, "fleet", "Silent hosts") == 0
                assert value(prometheus, "healing", "Put back") == pytest.approx(1, abs=0.5)
                lines = {panel["title"]: most_lines(prometheus, panel) for _, panel, _ in everything()}
                assert {title: number for title, number in lines.items() if number > MOST_LINES} == {}


def until_alive(served: Serving) -> None:
    """Wait until the worker that will be killed is known to live, with the one that goes on living."""
    labels = {"queue": "analytics", "host": HOST, "verdict": "alive", "reason": "running"}
    served.scrape_until("worker_verdicts", 2, within=60, **labels)


def until_shown(prometheus: Prometheus, queues: BusyQueues) -> list[tuple[str, str, str]]:
    """Let the queues work until every panel has shown something; return dashboard, title and query of the others."""
    left = {(name, panel["title"], target["expr"]): (panel, target) for name, panel, target in everything()}

    def is_all_shown() -> bool:
        queues.step()
        for key, (_, target) in list(left.items()):
            if ask(prometheus, target):
                del left[key]
        return {title for _, title, _ in left} <= EMPTY_HERE

    with suppress(AssertionError):
        wait_until(is_all_shown, within=WITHIN_SECONDS, what="all is shown", every_seconds=2.0)
    assert [key for key, (panel, _) in left.items() if "Empty" not in panel["description"]] == []
    return list(left)
