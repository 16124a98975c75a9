"""Resident memory: with 1,000 and with 1,000,000 waiting rows, with and without healing, beside the peers.

One process each watches the whole time, while rows are added: what grows with them is seen. Memory is what the kernel
calls resident, after as many polls as the peers have made; the most that it ever was is told, too.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab.hosts import NotAllowed
from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

from .ground import Ground, seeded
from .healed import troubled
from .lines import Budget, Table
from .part import Scale
from .peers import justwatch as debian
from .peers import query_exporter as nearest
from .peers.exporter import Exporter
from .peers.figures import PLAIN
from .program import NAME, matomo_queue, queuemedic
from .usage import peak_mib, resident_mib

FEW = 1_000
POLL_SECONDS = 2
POLLS = 10
EVERY: dict[str, Any] = {"poll_every": f"{POLL_SECONDS}s", "max_duty": 1}
HEALING = f"{NAME}, healing"
RESIDENT, PEAK, GROWN = "MiB resident", "MiB resident at most", "MiB more than with 1,000 waiting rows"
GROWTH = {(NAME, ""): Budget(limit="≤ 5", promise="resident memory, 1,000 to 1,000,000 waiting rows: MiB more")}
SIZE = {
    (NAME, nearest.NAME): Budget(limit="≤ 1", promise="resident memory without healing, to query-exporter's"),
    (HEALING, ""): Budget(limit="≤ 100", promise="resident memory with healing: MiB"),
}


def measure(scale: Scale) -> Table:
    """Measure with few rows, and with many."""
    table = Table()
    polls = 2 if scale.is_quick else POLLS
    with seeded(FEW, one_started_in=100) as ground, ExitStack() as stack:
        watched: list[Watched] = []
        for name, (make, scans) in MAKERS.items():
            url = ground.account()
            try:
                if name not in (NAME, HEALING):
                    scale.want_peers()
                exporter = stack.enter_context(make(ground, url))
            except (NotInstalled, NotAllowed) as missing:
                table.say("", name, f"not measured: {missing}")
                continue
            watched.append(Watched(name=name, exporter=exporter, url=url, scans=scans))
        few = _after(ground, polls * FEW, watched)
        ground.seed(scale.rows - FEW, after=FEW, one_started_in=scale.rows * 10)
        many = _after(ground, polls * scale.rows, watched)
        for rows, found in ((FEW, few), (scale.rows, many)):
            budgets = scale.budgets(SIZE) if rows == scale.rows else None
            table.add(f"{rows:,} rows", RESIDENT, found, against=(nearest.NAME,), budgets=budgets)
        grown = {each.name: [many[each.name][0] - few[each.name][0]] for each in watched}
        table.add(f"{scale.rows:,} rows", GROWN, grown, budgets=scale.budgets(GROWTH))
        peaks = {each.name: [peak_mib(each.exporter.pid)] for each in watched}
        table.add(f"{scale.rows:,} rows", PEAK, peaks, against=(nearest.NAME,))
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An exporter, the account it reads with, and how often it reads the table for one poll."""

    name: str
    exporter: Exporter
    url: str
    scans: int


def _after(ground: Ground, rows: int, watched: list[Watched]) -> dict[str, list[float]]:
    """Wait until each exporter has read so many rows for each of its scans, and return the memory of each."""
    read = "rows read"
    before = {each.name: ground.costs(each.url)[read] for each in watched}

    def have_polled() -> bool:
        return all(ground.costs(each.url)[read] >= before[each.name] + rows * each.scans for each in watched)

    wait_until(have_polled, within=900, what=f"{rows} rows are read", every_seconds=0.5)
    return {each.name: [resident_mib(each.exporter.pid)] for each in watched}


@contextmanager
def _healing(ground: Ground, url: str) -> Iterator[Exporter]:
    with troubled(ground.server) as (section, hosts):
        queues = {"bench": matomo_queue(url, **EVERY), "healed": section}
        with queuemedic(queues, hosts=hosts) as exporter:
            yield exporter


MAKERS: Mapping[str, tuple[Callable[[Ground, str], AbstractContextManager[Exporter]], int]] = {
    NAME: (lambda _, url: queuemedic({"bench": matomo_queue(url, **EVERY)}), 1),
    HEALING: (_healing, 1),
    nearest.NAME: (lambda _, url: nearest.query_exporter(url, PLAIN, every_seconds=POLL_SECONDS), 4),
    debian.NAME: (lambda _, url: debian.justwatch(url, PLAIN, every_seconds=POLL_SECONDS), 4),
}
