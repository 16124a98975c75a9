"""A ledger that hangs keeps jobs from being put back, and nothing else: polls, rounds and scrapes are as before."""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from tests.lab.mariadb import MariaDb
from tests.lab.proxy import Mode, Proxy
from tests.lab.queuemedic import Serving, serving, write_config
from tests.lab.waiting import wait_until

from .test_heal import HEALING, Worker, hire, see
from .test_hosts import HOST, make_queue, rows, start_job

__all__ = ["hire"]

SEEN_SECONDS = 60.0
SLOW_SECONDS = 5.0
POLLS, POLLS_SECONDS = 8, 30.0
"""A poll a second, on a busy machine; one that waited for the ledger would take as long as the ledger may."""


def polls(served: Serving) -> float:
    """Return how many polls have succeeded."""
    return served.scrape().value("polls_total", queue="q", outcome="ok") or 0


def watch_until(served: Serving, number: float) -> float:
    """Scrape until so many polls have succeeded; return how long the slowest scrape took."""
    took = []

    def has_polled() -> bool:
        began = time.monotonic()
        page = served.scrape()
        took.append(time.monotonic() - began)
        assert page.value("up", queue="q") == page.value("host_up", host=HOST) == 1
        return polls(served) >= number

    wait_until(has_polled, within=POLLS_SECONDS, what=f"{number} polls, and all is up")
    return max(took)


def test_watching_goes_on_beside_a_ledger_that_hangs(
    mariadb: MariaDb, tmp_path: Path, hire: Callable[[], Worker]
) -> None:
    """A worker dies meanwhile, which is told at once; its job waits for the ledger."""
    file, worker = tmp_path / "jobs.db", hire()
    queue = {**make_queue(file), "healing": {**HEALING, "mode": "reset"}}
    hosts = {HOST: {"via": "local", "pid_namespace": "own", "ask_every": "1s"}}
    start_job(file, worker.pid)
    before = rows(file)
    with mariadb.database() as name, Proxy(mariadb.port) as proxy:
        ledger = make_url(mariadb.root_url(name)).set(port=proxy.port).render_as_string(hide_password=False)
        with serving(write_config(tmp_path, {"q": queue}, hosts=hosts, ledger=ledger), tmp_path) as served:
            see(served, "alive", "running")
            wait_until(
                lambda: mariadb.sql("SELECT 1 FROM queuemedic_sightings", database=name),
                within=SEEN_SECONDS,
                what="it is kept whose worker it is",
            )
            proxy.mode = Mode.BLACK_HOLE
            worker.kill()
            worker.wait()
            see(served, "dead", "no_process")
            assert watch_until(served, polls(served) + POLLS) < SLOW_SECONDS
            wait_until(lambda: "ledger.failed" in served.log, within=SEEN_SECONDS, what="the ledger is given up")
            assert rows(file) == before
            proxy.mode = Mode.FORWARD
            proxy.cut()
            served.scrape_until("heals_total", 1, within=SEEN_SECONDS, queue="q", outcome="reset")
            assert "Traceback" not in served.log
            assert served.stop() == 0
