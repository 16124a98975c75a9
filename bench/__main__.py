"""Measure a poll and a scrape on a real MariaDB: `python -m bench [rows]`.

Each figure is the median of interleaved rounds, beside what it has to be compared with: the bare aggregate that any
exporter of this table has to run, and a scrape of the same page rendered anew by the client library.
Writes bench/results.csv and prints the same as a table.
"""

import csv
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from rich.console import Console
from rich.table import Table

from exporter.collector import QueueStatus, collect_queue
from exporter.jobs import Cursor, QueueName
from exporter.page import Format, Page
from exporter.poller import Poller
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.slots import ServerSlots
from tests.contracts.benches import SELECT
from tests.contracts.meltano_bench import MeltanoBench, SqliteDatabase
from tests.lab import matomo, run
from tests.lab.mariadb import MariaDb

ROUNDS = 9
BARE = "SELECT status, period, COUNT(*) FROM matomo_archive_invalidations GROUP BY status, period"
SEED = """
INSERT INTO matomo_archive_invalidations (name, idsite, date1, date2, period, ts_invalidated, ts_started, status,
  report, processing_host, process_id)
SELECT IF(seq % 3 = 0, 'done', CONCAT('done', MD5(seq % 50), IF(seq % 7 = 0, '.Actions', ''))), seq % 1000 + 1,
  '2026-01-01' + INTERVAL (seq % 320) DAY, '2026-01-01' + INTERVAL (seq % 320) DAY, 1 + seq % 4,
  UTC_TIMESTAMP() - INTERVAL (seq % 90000) SECOND, IF(seq % 3333 = 0, NOW() - INTERVAL seq % 7000 SECOND, NULL),
  seq % 3333 = 0, IF(seq % 7 = 0, CONCAT('Actions_', seq % 30), NULL), IF(seq % 3333 = 0, 'web1', NULL),
  IF(seq % 3333 = 0, 4000 + seq % 9, NULL)
FROM seq_1_to_{rows}
"""


def main(rows: int) -> None:
    """Run every measurement."""
    lab = run.begin()
    try:
        measure(rows)
    finally:
        run.end(lab)


def measure(rows: int) -> None:
    """Measure on a server of our own."""
    with MariaDb(options=["--innodb-buffer-pool-size=512M"]) as server, server.database() as database:
        matomo.create_tables(server, database)
        server.sql(SEED.format(rows=rows), database=database)
        server.sql("ANALYZE TABLE matomo_archive_invalidations", database=database)
        url = server.account(database, [SELECT])
        queue = MatomoQueue(QueueName("bench"), MatomoOptions.model_validate({"url": url, "breakdown_every": "1h"}))
        results = [*measure_poll(queue, server, database), *measure_scrape(queue), *measure_payloads()]
        queue.close()
    show(rows, results)


def measure_poll(queue: MatomoQueue, server: MariaDb, database: str) -> list[tuple[str, float, float]]:
    """Time a poll, and the breakdown, beside the bare aggregate over a connection that is already open."""
    cursors: list[Cursor] = [queue.read(None).cursor]

    def poll() -> None:
        cursors[0] = queue.read(cursors[0]).cursor

    def poll_with_breakdown() -> None:
        queue._breakdown_due = 0.0
        poll()

    with server.connect(database) as connection, connection.cursor() as cursor:

        def bare() -> None:
            cursor.execute(BARE)
            cursor.fetchall()

        poll_s, bare_s, breakdown_s = medians(poll, bare, poll_with_breakdown)
    return [("poll", poll_s, bare_s), ("poll with breakdown", breakdown_s, bare_s)]


def measure_scrape(queue: MatomoQueue) -> list[tuple[str, float, float]]:
    """Time the page that is kept beside the same families rendered anew."""
    page = Page()
    statuses: list[QueueStatus] = []

    def publish(status: QueueStatus, valid_until: float) -> None:
        statuses.append(status)
        page.update(status.name, collect_queue(status), valid_until=valid_until)

    options = MatomoOptions.model_validate({"url": "mysql://localhost/x"})
    Poller(queue, options, aliases={}, server_slots=ServerSlots(1), publish=publish).poll()
    families = list(collect_queue(statuses[-1]))

    class Registry(Collector):
        def collect(self) -> list[object]:  # type: ignore[override]
            return list(families)

    kept, rendered = medians(lambda: page.get(Format.TEXT, False), lambda: generate_latest(Registry()), repeat=200)
    return [("scrape of an unchanged page", kept, rendered)]


def measure_payloads() -> list[tuple[str, float, float]]:
    """Time a poll of Meltano's runs with payloads of 20 MB beside one of as many runs without, and a naive one."""
    with TemporaryDirectory() as folder, ExitStack() as undo:
        polls: list[Callable[[], object]] = []
        for size in (20_000_000, 0):
            database = SqliteDatabase(Path(folder) / f"{size}.db")
            bench = MeltanoBench(database)
            for _ in range(25):
                bench.add(state="SUCCESS", started="2m", ended="1m", payload="x" * size)
            bench.add()
            queue = bench.queue()
            undo.callback(queue.close)
            polls.append(partial(queue.read, queue.read(None).cursor))
        large = SqliteDatabase(Path(folder) / "20000000.db")
        heartbeats = "SELECT job_name, MAX(last_heartbeat_at) FROM runs GROUP BY job_name"
        with_payloads, without, naive = medians(*polls, lambda: large.sql(heartbeats))
    return [("Meltano, 25 payloads of 20 MB", with_payloads, without), ("last heartbeat of every run", naive, without)]


def medians(*actions: Callable[[], object], repeat: int = 1) -> list[float]:
    """Time the actions in turn and return the median of each, in seconds."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for times, action in zip(taken, actions, strict=True):
            began = time.perf_counter()
            for _ in range(repeat):
                action()
            times.append((time.perf_counter() - began) / repeat)
    return [statistics.median(times) for times in taken]


def show(rows: int, results: list[tuple[str, float, float]]) -> None:
    """Print and keep the results."""
    table = Table("what", "milliseconds", "compared with", "ratio", title=f"{rows:,} rows, median of {ROUNDS} rounds")
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "rows", "seconds", "reference_seconds", "ratio"])
        for what, seconds, reference in results:
            table.add_row(what, f"{seconds * 1000:.3f}", f"{reference * 1000:.3f}", f"{seconds / reference:.2f}")
            writer.writerow([what, rows, f"{seconds:.6f}", f"{reference:.6f}", f"{seconds / reference:.3f}"])
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
