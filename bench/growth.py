"""How costs grow: with rows, started rows, hosts, series and queues, from the smallest of each to the largest.

Ratios are to the smallest size of the same table. Polls and rounds are made in this process, where what they allocate
can be seen (tracemalloc, in polls that are not timed); queues are watched in a process of their own. Tables of ten
million rows are measured with `--rows 10000000`: about 2 GB on the disk and as much memory.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from exporter.collector import QueueStatus, collect_queue
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.page import Format, Page
from exporter.poller import Polled, Poller
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from tests.lab.hosts import NotAllowed
from tests.lab.programs import NotInstalled

from . import hosts, queues
from .ground import Ground, seeded
from .lines import Table
from .part import Scale
from .peers.exporter import count_series
from .program import NAME
from .rounds import Figures, interleave, timed

LIBRARY = "prometheus_client renders all of it"
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
ONE_STARTED_IN = (3333, 100, 5)
STARTED_ROWS = 100_000
HOSTS = (1, 10, 50, 200)
SERIES = (100, 1_000, 10_000, 100_000)
PIDS = 5
QUEUES = (1, 10, 100)
QUEUE_SECONDS = 5
KB = 1000.0


def measure(scale: Scale) -> Table:
    """Measure each of the five."""
    table = Table()
    _rows(table, scale)
    _started(table, scale)
    _series(table, scale)
    _queues(table, scale)
    _hosts(table, scale)
    return table


def _rows(table: Table, scale: Scale) -> None:
    sizes = [size for size in ROWS if size <= scale.rows] or [scale.rows]
    measured: dict[str, dict[str, list[float]]] = {}
    with seeded(sizes[0]) as ground:
        last = sizes[0]
        for size in sizes:
            ground.seed(size - last, after=last)
            last = size
            _note(measured, f"{size:,} rows", _polls(ground, scale))
    _add(table, "rows of the table", measured)


def _started(table: Table, scale: Scale) -> None:
    measured: dict[str, dict[str, list[float]]] = {}
    rows = min(STARTED_ROWS, scale.rows)
    for one_in in ONE_STARTED_IN:
        with seeded(rows, one_started_in=one_in) as ground:
            _note(measured, f"{rows // one_in:,} started", _polls(ground, scale))
    _add(table, f"started rows of {rows:,}", measured)


def _polls(ground: Ground, scale: Scale) -> Mapping[str, Sequence[float]]:
    """Poll a queue in this process, all that a poll does but for healing; then again to see what it allocates."""
    url = ground.account()
    options = MatomoOptions.model_validate({"url": url, "breakdown_every": "1h", "poll_timeout": "10m", "max_duty": 1})
    queue = MatomoQueue(QueueName("bench"), options)
    poller = _poller(queue, options, Page())
    took: dict[str, float] = {}

    def poll() -> None:
        seconds, processor = time.perf_counter(), time.thread_time()
        if poller.poll() is not Polled.DONE or not poller.status.is_up:
            raise AssertionError(f"a poll failed: {poller.error}")
        took["ms of a poll"] = (time.perf_counter() - seconds) * 1000
        took["ms of our processor"] = (time.thread_time() - processor) * 1000

    def once() -> Figures:
        costs = ground.cost_of(poll, url)
        return {
            **took,
            "ms of the database's processor": costs["processor ms"],
            "rows read": costs["rows read"],
            "kB from the database": costs["bytes from the server"] / KB,
        }

    try:
        figures = {
            figure: values["poll"] for figure, values in interleave({"poll": once}, scale.rounds, warm_up=2).items()
        }
        tracemalloc.start()
        peaks = []
        for _ in range(2):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            poll()
            peaks.append((tracemalloc.get_traced_memory()[1] - before) / KB)
        tracemalloc.stop()
        return {**figures, "kB allocated at most": peaks}
    finally:
        queue.close()


def _series(table: Table, scale: Scale) -> None:
    """Render and assemble pages of many small queues: the client library's encoder renders all of it at each scrape."""
    for size in SERIES[: 2 if scale.is_quick else None]:
        page, families = Page(), []
        options = QueueOptions()
        pollers = [_poller(MemoryQueue(QueueName("queue0000")), options, page)]
        pollers[0].poll()
        each = count_series(page.get(Format.TEXT, False).decode())
        for number in range(1, max(1, round(size / each))):
            pollers.append(_poller(MemoryQueue(QueueName(f"queue{number:04}")), options, page))
            pollers[-1].poll()
        statuses = [poller.status for poller in pollers]
        families = [family for status in statuses for family in collect_queue(status)]
        registry = Registry(families)
        last = statuses[-1]

        def take_up(page: Page = page, last: QueueStatus = last) -> None:
            page.update(last.name, collect_queue(last))

        def scrape_changed(page: Page = page, poller: Poller = pollers[-1]) -> float:
            poller.poll()  # which counts itself, so that something has changed
            return timed(lambda: page.get(Format.TEXT, False))

        subjects: dict[str, Callable[[], float]] = {
            LIBRARY: lambda registry=registry: timed(lambda: generate_latest(registry)),  # type: ignore[misc]
            "the page takes up one queue": lambda take_up=take_up: timed(take_up),  # type: ignore[misc]
            "the first scrape after": scrape_changed,
            "a scrape of an unchanged page": lambda page=page: timed(lambda: page.get(Format.TEXT, False)),  # type: ignore[misc]
        }
        measured = interleave({name: _in_ms(action) for name, action in subjects.items()}, scale.rounds)
        for figure, by_subject in measured.items():
            table.add(
                f"{each * len(pollers):,} series of {len(pollers):,} small queues",
                figure,
                by_subject,
                against=(LIBRARY,),
            )


def _in_ms(action: Callable[[], float]) -> Callable[[], Figures]:
    return lambda: {"ms": action() * 1000}


def _queues(table: Table, scale: Scale) -> None:
    sizes = QUEUES[:1] if scale.is_quick else QUEUES
    measured: dict[str, dict[str, list[float]]] = {}
    for size in sizes:
        found = queues.watch_ours(size, every=QUEUE_SECONDS, scrape_every=QUEUE_SECONDS)
        _note(measured, f"queues: {size:,}", {figure: [value] for figure, value in found.items()})
    _add(table, f"queues, each every {QUEUE_SECONDS} s", measured)


def _hosts(table: Table, scale: Scale) -> None:
    sizes = HOSTS[:1] if scale.is_quick else HOSTS
    measured: dict[str, dict[str, list[float]]] = {}
    try:
        for size, found in hosts.rounds_of(sizes, scale.rounds, pids=PIDS):
            _note(measured, f"hosts: {size:,}", found)
    except (NotAllowed, NotInstalled) as reason:
        table.say("hosts", NAME, f"not measured: {reason}")
    _add(table, f"hosts with {PIDS} pids each", measured)


def _note(measured: dict[str, dict[str, list[float]]], subject: str, found: Mapping[str, Sequence[float]]) -> None:
    for figure, values in found.items():
        measured.setdefault(figure, {})[subject] = list(values)


def _add(table: Table, case: str, measured: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for figure, by_subject in measured.items():
        table.add(case, figure, by_subject, against=(next(iter(by_subject)),))


def _poller(queue: MatomoQueue | MemoryQueue, options: QueueOptions, page: Page) -> Poller:
    def publish(status: QueueStatus, valid_until: float) -> None:
        page.update(status.name, collect_queue(status), valid_until=valid_until)

    return Poller(queue, options, aliases={}, server_slots=ServerSlots(1), publish=publish)


class Registry(Collector):
    """Families that stay as they are, for the client library's encoder."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families
