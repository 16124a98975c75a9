"""More of everything than anybody has: it stays within memory and deadlines, true, and says what it left out."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.benches import SELECT
from tests.faults.test_silent_hosts import drops_everybody
from tests.lab import matomo
from tests.lab.hosts import make_key
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Page, Serving, serving, write_config
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

from .test_heal import HEALING, Worker, hire
from .test_hosts import make_queue as make_recording_queue
from .test_hosts import start_job

__all__ = ["hire"]

pytestmark = pytest.mark.timeout(240)

SCRAPERS, SCRAPES, DEAF = 200, 5, 40
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
QUEUES = 20
MORE_MIB = 48
STARTED, READ = 100_000, 20_000
HOSTS, HERE = 500, socket.gethostname()
SLOWEST_SCRAPE_SECONDS = 5.0
"""On a busy machine; what hangs takes ten."""


def resident_mib(served: Serving) -> float:
    """Return how much memory it has in use."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def polls(page: Page) -> float:
    """Return how many polls have succeeded."""
    return page.total("polls_total", outcome="ok")


async def scrape(port: int, times: int) -> list[bytes]:
    """Scrape over one connection, one after the other; return what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    bodies = []
    try:
        for _ in range(times):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
            bodies.append(await reader.readexactly(length))
    finally:
        writer.close()
    return bodies


async def scrape_together(port: int) -> list[list[bytes]]:
    """Let all scrapers scrape at once."""
    return await asyncio.gather(*(scrape(port, SCRAPES) for _ in range(SCRAPERS)))


def test_two_hundred_scrapers_beside_some_that_never_read(tmp_path: Path) -> None:
    """Each gets whole pages, polls go on, and memory and threads are bounded."""
    queues = {f"q{number}": make_queue(tmp_path / f"q{number}.db", poll_every="1s") for number in range(QUEUES)}
    with serving(write_config(tmp_path, queues), tmp_path) as served, ExitStack() as stack:
        wait_until(lambda: served.scrape().total("up") == QUEUES, within=60, what="all are up")
        port = int(served.address.rpartition(":")[2])
        asyncio.run(scrape(port, SCRAPES))
        memory, threads, before = resident_mib(served), served.threads(), polls(served.scrape())
        for _ in range(DEAF):
            deaf = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
            deaf.setblocking(False)
            deaf.send(REQUEST * 100)
        for bodies in asyncio.run(scrape_together(port)):
            for body in bodies:
                page = Page(body.decode(), is_openmetrics=False) if body is bodies[-1] else None
                assert body.startswith(b"# HELP ")
                assert body.endswith(b"\n")
                assert page is None or page.total("up") == QUEUES
        wait_until(lambda: polls(served.scrape()) >= before + 2 * QUEUES, within=60, what="polls go on")
        assert resident_mib(served) < memory + MORE_MIB
        assert served.threads() <= threads + 8
        assert "Traceback" not in served.log
        assert served.stop() == 0


@pytest.fixture
def watched(private_mariadb: Callable[..., MariaDb], tmp_path: Path) -> "Flooded":
    """A queue of Matomo's on a server of its own, which is seeded by the test."""
    server = private_mariadb(options=["--innodb-buffer-pool-size=1G", "--innodb-flush-log-at-trx-commit=2"])
    server.sql("CREATE DATABASE matomo")
    matomo.create_tables(server, "matomo")
    return Flooded(server, tmp_path)


class Flooded:
    """A queue of Matomo's, and what plain SQL says of it."""

    def __init__(self, server: MariaDb, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.url = server.account("matomo", [SELECT])

    def add(self, rows: int, *, started: bool) -> None:
        """Add rows of a few sites and hosts; the oldest start is that of the last row."""
        values = "NOW() - INTERVAL (60 + seq) SECOND, 1, CONCAT('web', seq % 9), 4000 + seq % 9"
        self.server.sql(
            "INSERT INTO matomo_archive_invalidations"
            " (name, idsite, date1, date2, period, ts_invalidated, ts_started, status, processing_host, process_id)"
            " SELECT CONCAT('done', MD5(seq % 50)), seq % 1000 + 1, '2026-01-01', '2026-01-01', 1 + seq % 4,"
            f" NOW() - INTERVAL 1 DAY, {values if started else 'NULL, 0, NULL, NULL'} FROM seq_1_to_{rows}",
            database="matomo",
        )

    def configure(self, **changes: Any) -> Path:
        """Write the configuration."""
        queue = {"system": "matomo", "url": self.url, "poll_every": "2s", "max_duty": 1, **changes}
        return write_config(self.folder, {"site": queue})

    def assert_true(self, page: Page) -> None:
        """Compare what is published with plain SQL."""
        found = self.server.sql(
            "SELECT status, period, COUNT(*) FROM matomo_archive_invalidations GROUP BY status, period",
            database="matomo",
        )
        kinds = {1: "day", 2: "week", 3: "month", 4: "year"}
        for status, period, number in found:
            state = "started" if status else "waiting"
            assert page.value("jobs", queue="site", state=state, kind=kinds[period]) == number


def test_a_hundred_thousand_started_rows(watched: Flooded) -> None:
    """All are counted, the oldest are read, and how many were left out is said; scrapes stay quick."""
    watched.add(STARTED, started=True)
    with serving(watched.configure(), watched.folder) as served:
        page = served.scrape_until("up", 1, within=60, queue="site")
        watched.assert_true(page)
        assert re.search(rf"attempts\.left_out +jobs={STARTED - READ} ", served.log)
        assert page.value("host_started_jobs", queue="site", host="other") == STARTED - READ
        assert page.total("host_started_jobs", queue="site") == STARTED
        slowest, memory, until = 0.0, 0.0, polls(page) + 3

        def has_polled() -> bool:
            nonlocal slowest, memory
            began = time.monotonic()
            latest = served.scrape()
            slowest, memory = max(slowest, time.monotonic() - began), max(memory, resident_mib(served))
            return polls(latest) >= until

        wait_until(has_polled, within=120, what="three more polls")
        print(f"{slowest=:.2f} s {memory=:.0f} MiB")
        assert slowest < SLOWEST_SCRAPE_SECONDS
        assert memory < 300
        assert "Traceback" not in served.log
        assert served.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ten_million_rows(watched: Flooded) -> None:
    """Polls take longer than their interval, and so come less often; memory is that of a small queue."""
    with serving(watched.configure(max_duty=0.5), watched.folder) as served:
        served.scrape_until("up", 1, within=60, queue="site")
        memory = resident_mib(served)
        for _ in range(10):
            watched.add(1_000_000, started=False)
        wait_until(
            lambda: served.scrape().total("jobs", queue="site", state="waiting") == 10_000_000,
            within=300,
            what="all are counted",
        )
        page = served.scrape()
        watched.assert_true(page)
        assert page.value("up", queue="site") == 1
        took = page.value("poll_duration_seconds_sum", queue="site")
        print(f"{took=} {memory=:.0f} MiB before, {resident_mib(served):.0f} MiB after")
        assert resident_mib(served) < memory + 5
        assert served.stop() == 0


def test_five_hundred_hosts_of_which_most_are_down(hire: Callable[[], Worker], tmp_path: Path) -> None:
    """A worker on one that is there is judged and its job put back as if the others were not there."""
    key, known_hosts, file, worker = tmp_path / "key", tmp_path / "known_hosts", tmp_path / "jobs.db", hire()
    public_key = make_key(key)
    with drops_everybody() as port:
        known_hosts.write_text(f"[127.0.0.1]:{port} {public_key}\n")
        ssh = {"via": "ssh", "address": "127.0.0.1", "port": port, "user": "q"}
        off = {**ssh, "key_file": str(key), "known_hosts": str(known_hosts), "ask_every": "2s", "timeout": "3s"}
        hosts = {f"off{number}": off for number in range(HOSTS - 1)}
        hosts[HERE] = {"via": "local", "pid_namespace": "own", "ask_every": "2s"}
        queue = {**make_recording_queue(file), "healing": {**HEALING, "mode": "reset"}}
        start_job(file, worker.pid)
        config = write_config(tmp_path, {"q": queue}, hosts=hosts, ledger=f"sqlite:///{tmp_path}/ledger.db")
        with serving(config, tmp_path) as served:
            alive = {"host": HERE, "verdict": "alive", "reason": "running"}
            served.scrape_until("worker_verdicts", 1, within=90, queue="q", **alive)
            worker.kill()
            worker.wait()
            page = served.scrape_until("heals_total", 1, within=60, queue="q", outcome="reset")
            assert page.total("host_up") == 1
            assert len(page.values("host_up", "host")) == HOSTS
            print(f"{served.threads()=} {resident_mib(served)=:.0f} MiB")
            assert served.threads() < 250
            assert resident_mib(served) < 200
            assert "Traceback" not in served.log
            assert served.stop() == 0
