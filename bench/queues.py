"""A thousand queues, each polled every 30 s: what the program takes of the processors, and whether any poll is late.

Each queue is a database of its own with Matomo's tables, all on one MariaDB, so they share the two polls that the
program sends to one server at a time. Beside it, after it, query-exporter with as many databases and the same four
queries of each. Both are scraped every 15 s, as Prometheus does; that is part of what they take.
"""

import gzip
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import make_url

from tests.lab.mariadb import MariaDb
from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

from .ground import TABLE, seeded
from .lines import Budget, Table
from .load import ASKS, Client
from .part import Scale
from .peers import query_exporter as nearest
from .peers.exporter import Exporter
from .peers.figures import PLAIN
from .program import NAME, matomo_queue, queuemedic
from .usage import processor_seconds, resident_mib, threads

QUEUES, QUICK_QUEUES = 1000, 10
EVERY_SECONDS, QUICK_SECONDS = 30, 2
SCRAPE_SECONDS, QUICK_SCRAPE_SECONDS = 15.0, 1.0
INTERVALS = 5
ROWS = 500
UP_SECONDS = 600.0
GZIPPED = b"content-encoding: gzip"
PROMISED = {
    "cores": ("< 1", "cores"),
    "intervals that the latest poll was late": ("≤ 1", "intervals that the latest poll was late"),
    "queues that are served whole": ("≥ 1000", "queues that are served whole"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How an exporter's page is read: the label that names a queue, and the series that says when it was polled."""

    queue: re.Pattern[str]
    polled: re.Pattern[str]


OURS = Reading(
    queue=re.compile(r'[{,]queue="(queue\d+)"'),
    polled=re.compile(r'^queuemedic_snapshot_timestamp_seconds{queue="(queue\d+)"} (\S+)', re.MULTILINE),
)
THEIRS = Reading(
    queue=re.compile(r'[{,]database="(queue\d+)"'),
    polled=re.compile(r'^query_timestamp{database="(queue\d+)",query="query_jobs"} (\S+)', re.MULTILINE),
)


def measure(scale: Scale) -> Table:
    """Watch both for some intervals, one after the other."""
    queues, every = (QUICK_QUEUES, QUICK_SECONDS) if scale.is_quick else (QUEUES, EVERY_SECONDS)
    scrape_every = QUICK_SCRAPE_SECONDS if scale.is_quick else SCRAPE_SECONDS
    table = Table()
    case = f"{queues:,} queues every {every} s, for {INTERVALS} intervals"
    with seeded(ROWS, one_started_in=50) as ground:
        urls = _make_databases(ground.server, ground.database, queues)
        makers: dict[str, tuple[Callable[[], AbstractContextManager[Exporter]], Reading]] = {
            NAME: (lambda: queuemedic(_sections(urls, every)), OURS),
            nearest.NAME: (lambda: nearest.over(urls, PLAIN, every_seconds=every), THEIRS),
        }
        found: dict[str, dict[str, list[float]]] = defaultdict(dict)
        for name, (make, reading) in makers.items():
            try:
                if name != NAME:
                    scale.want_peers()
                with make() as exporter:
                    for figure, value in _watch(exporter, reading, queues, every, scrape_every).items():
                        found[figure][name] = [value]
            except NotInstalled as missing:
                table.say(case, name, f"not measured: {missing}")
            except AssertionError as failure:
                table.say(case, name, f"did not come so far: {failure}"[:300])
    for figure, measured in found.items():
        limit, promise = PROMISED.get(figure, ("", ""))
        promised = {(NAME, ""): Budget(limit=limit, promise=f"1,000 queues every 30 s: {promise}")} if limit else {}
        table.add(case, figure, measured, against=(nearest.NAME,), budgets=scale.budgets(promised))
    return table


def watch_ours(number: int, *, every: int, scrape_every: float) -> Mapping[str, float]:
    """Watch Queuemedic with so many queues."""
    with seeded(ROWS, one_started_in=50) as ground:
        urls = _make_databases(ground.server, ground.database, number)
        with queuemedic(_sections(urls, every)) as exporter:
            return _watch(exporter, OURS, number, every, scrape_every)


def _sections(urls: Mapping[str, str], every: int) -> dict[str, dict[str, Any]]:
    return {name: matomo_queue(url, poll_every=f"{every}s", max_duty=1) for name, url in urls.items()}


def _make_databases(server: MariaDb, template: str, number: int) -> Mapping[str, str]:
    """Make copies of a database, and return the URL of each, of one account that may read them all."""
    names = [f"queue{index:04}" for index in range(number)]
    tables = [table for (table,) in server.sql("SHOW TABLES", database=template)]
    lines = ["SET autocommit = 1;"]
    for name in names:
        lines.append(f"CREATE DATABASE {name};")
        for table in tables:
            lines.append(f"CREATE TABLE {name}.{table} LIKE {table};")
            lines.append(f"INSERT INTO {name}.{table} SELECT * FROM {table};")
    server.script("\n".join(lines), template)
    url = make_url(server.account(template, [f"SELECT ON {TABLE}"]))
    server.sql(f"GRANT SELECT ON *.* TO {url.username}")
    return {name: url.set(database=name).render_as_string(hide_password=False) for name in names}


def _watch(exporter: Exporter, reading: Reading, queues: int, every: float, scrape_every: float) -> Mapping[str, float]:
    """Wait until all queues were polled, and then see for some intervals what they take and when they are polled."""
    client = Client(exporter.port)
    began = time.perf_counter()
    wait_until(
        lambda: len(reading.polled.findall(_page(client))) == queues,
        within=UP_SECONDS,
        what="all queues were polled",
        every_seconds=scrape_every,
    )
    up_seconds = time.perf_counter() - began
    polled_at: dict[str, set[float]] = defaultdict(set)
    page, took = "", []
    began, processor = time.perf_counter(), processor_seconds(exporter.pid)
    while (now := time.perf_counter()) < began + INTERVALS * every:
        page = _page(client)
        took.append(time.perf_counter() - now)
        for name, at in reading.polled.findall(page):
            polled_at[name].add(float(at))
        time.sleep(max(0.0, now + scrape_every - time.perf_counter()))
    seconds = time.perf_counter() - began
    client.close()
    gaps = [gap for times in polled_at.values() for gap in _gaps(sorted(times))]
    return {
        "cores": (processor_seconds(exporter.pid) - processor) / seconds,
        "intervals that the latest poll was late": max(gaps) / every - 1,
        "queues that are served whole": float(_whole(page, reading)),
        "s until all queues are on the page": up_seconds,
        "s of a scrape, at most": max(took),
        "MiB resident": resident_mib(exporter.pid),
        "threads": float(threads(exporter.pid)),
        "series": float(sum(1 for line in page.splitlines() if line[:1] not in ("#", ""))),
    }


def _gaps(times: Sequence[float]) -> Iterator[float]:
    return (later - earlier for earlier, later in pairwise(times))


def _page(client: Client) -> str:
    head, _, body = bytes(client.ask(ASKS["as Prometheus asks"])).partition(b"\r\n\r\n")
    return (gzip.decompress(body) if GZIPPED in head.lower() else body).decode()


def _whole(page: str, reading: Reading) -> int:
    """Count the queues that have all series which the most of them have."""
    series: dict[str, list[str]] = defaultdict(list)
    for line in page.splitlines():
        found = reading.queue.search(line)
        if found and not line.startswith("#"):
            series[found[1]].append(line.replace(found[0], "", 1).rpartition(" ")[0])
    kinds = Counter(frozenset(lines) for lines in series.values())
    usual = kinds.most_common(1)[0][0] if kinds else frozenset()
    return sum(number for kind, number in kinds.items() if kind >= usual)
