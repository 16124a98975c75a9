"""How long a scrape takes, beside the peers with as many series, while all of them poll and Queuemedic heals.

Pages of about 150, 3,000 and 10,000 series. The smallest is that of one queue whose jobs are put back all the time; the
others have as many queues of Matomo beside it as it takes, on one server, polled every 5 s. query-exporter and Debian's
exporter read as many series as that from the same table every 5 s; the client library's own server polls nothing.
Each is measured in turn while the others are stopped (SIGSTOP), by the load of `bench.load`: at most 100 scrapes a
second over one kept connection, half of them for text, half as Prometheus asks. Speeds are ratios of medians.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from statistics import median, quantiles
from typing import Any

from tests.lab.hosts import NotAllowed
from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

from .ground import Ground, seeded
from .healed import troubled
from .lines import Budget, Table
from .part import Scale
from .peers import justwatch as debian
from .peers import library
from .peers import query_exporter as nearest
from .peers.exporter import Exporter, count_series
from .peers.figures import many
from .program import NAME, matomo_queue, queuemedic
from .rounds import Figures, interleave

ROWS = 20_000
POLL_SECONDS = 5
LOAD_SECONDS = 4.0
SETTLE_SECONDS = 1.5
UP_SECONDS = 120.0
SIZES = {150: ("≤ 0.5", "≥ 4"), 3_000: ("≤ 2", "≥ 10"), 10_000: ("≤ 2", "")}
P50, P99 = "ms of a scrape, median", "ms of a scrape, 99th percentile"


def measure(scale: Scale) -> Table:
    """Measure each size of page."""
    table = Table()
    sizes = [150, 300] if scale.is_quick else [*SIZES]
    with seeded(ROWS, sites=ROWS, one_started_in=500) as ground, ExitStack() as stack:
        try:
            section, hosts = stack.enter_context(troubled(ground.server))
            sections = {"healed": section}
        except (NotAllowed, NotInstalled) as reason:
            table.say("", NAME, f"polled, but healed nothing meanwhile: {reason}")
            sections, hosts = _queues(ground, 1), {}
        each = _series_of_a_queue(ground, sections, hosts)
        for size in sizes:
            queues = max(0, round((size - each["program"]) / each["queue"]))
            _measure_size(table, ground, scale, size, _queues(ground, queues) | sections, hosts)
    return table


def _measure_size(
    table: Table, ground: Ground, scale: Scale, size: int, queues: Mapping[str, Any], hosts: Mapping[str, Any]
) -> None:
    with ExitStack() as stack:
        exporters: dict[str, Exporter] = {NAME: stack.enter_context(queuemedic(queues, hosts=hosts))}
        series = _settle(exporters[NAME], len(queues))
        case = f"about {size:,} series ({series:,}, of {len(queues)} queues)"
        makers: dict[str, Callable[[], Exporter]] = {
            nearest.NAME: lambda: nearest.query_exporter(ground.account(), [many(series)], every_seconds=POLL_SECONDS),
            debian.NAME: lambda: debian.justwatch(ground.account(), [many(series)], every_seconds=POLL_SECONDS),
            library.NAME: lambda: library.library(series),
        }
        for name, make in makers.items():
            try:
                scale.want_peers()
                exporters[name] = stack.enter_context(make())
                wait_until(
                    lambda name=name: count_series(exporters[name].scrape()) >= series,  # type: ignore[misc]
                    within=UP_SECONDS,
                    what=f"{name} has all series",
                )
            except NotInstalled as missing:
                table.say(case, name, f"not measured: {missing}")
        for exporter in exporters.values():
            exporter.freeze()
        seconds = 0.5 if scale.is_quick else LOAD_SECONDS
        subjects = {name: _load(exporter, seconds) for name, exporter in exporters.items()}
        measured = interleave(subjects, scale.rounds)
        limits = SIZES.get(size, ("", ""))
        for figure, by_subject in measured.items():
            table.add(
                case, figure, by_subject, against=(NAME,), budgets=scale.budgets(_promises(figure, size, *limits))
            )
        exporters[NAME].thaw()
        healed = re.findall(r'heals_total{outcome="reset".*} (.*)', exporters[NAME].scrape())
        table.say(case, NAME, f"{sum(map(float, healed)):.0f} rows were put back meanwhile")


def _promises(figure: str, size: int, slowest: str, speed: str) -> dict[tuple[str, str], Budget]:
    about = f"scrape of about {size:,} series, {figure.partition(': ')[0]}"
    if P99 in figure:
        return {(NAME, ""): Budget(limit="≤ 10", promise=f"{about}: 99th percentile, ms")}
    if P50 not in figure:
        return {}
    promised = {(NAME, ""): Budget(limit=slowest, promise=f"{about}: median, ms")}
    if speed:
        promised[nearest.NAME, NAME] = Budget(limit=speed, promise=f"{about}: query-exporter's median to ours")
    return promised


def _load(exporter: Exporter, seconds: float) -> Callable[[], Figures]:
    command = [sys.executable, "-m", "bench.load", str(exporter.port)]

    def run() -> Figures:
        exporter.thaw()
        try:
            for length in (SETTLE_SECONDS, seconds):
                loaded = subprocess.run([*command, str(length)], check=True, capture_output=True, text=True)
        finally:
            exporter.freeze()
        found = json.loads(loaded.stdout)
        figures = {}
        for ask, took in found["took"].items():
            figures[f"{ask}: {P50}"] = median(took)
            figures[f"{ask}: {P99}"] = quantiles(took, n=100)[98]
            figures[f"{ask}: kB"] = found["sizes"][ask] / 1000
        return figures

    return run


def _queues(ground: Ground, number: int) -> dict[str, Any]:
    url = ground.account()
    every = {"poll_every": f"{POLL_SECONDS}s", "max_duty": 1}
    return {f"queue{index:03}": matomo_queue(url, **every) for index in range(number)}


def _series_of_a_queue(ground: Ground, sections: dict[str, Any], hosts: Mapping[str, Any]) -> dict[str, int]:
    """Count what one queue brings to the page, and what is there without any but the healed one."""
    found = []
    for number in (0, 1):
        queues = _queues(ground, number) | sections
        with queuemedic(queues, hosts=hosts) as exporter:
            found.append(_settle(exporter, len(queues)))
    return {"queue": found[1] - found[0], "program": found[0]}


def _settle(exporter: Exporter, queues: int) -> int:
    """Wait until all queues are up and have been healed once, and return the number of series."""

    def is_up() -> bool:
        return exporter.scrape().count("queuemedic_snapshot_timestamp_seconds{") >= queues

    wait_until(is_up, within=UP_SECONDS, what="all queues are up")
    return count_series(exporter.scrape())
