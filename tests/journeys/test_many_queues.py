"""Two hundred queues of which twelve freeze: nobody else is late, scrapes are as quick, and all of it comes back."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.benches import SELECT
from tests.lab import matomo, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.proxy import Mode, Proxy
from tests.lab.queuemedic import Serving
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

QUEUES, FROZEN = 200, 12
POLL_EVERY, POLL_TIMEOUT = 4, 3
OPTIONS: dict[str, Any] = {
    "poll_every": f"{POLL_EVERY}s",
    "poll_timeout": f"{POLL_TIMEOUT}s",
    "stale_after": "1m",
    "max_duty": 1,
}
LATEST = 2 * POLL_EVERY
POOL_THREADS = 4  # those of the queues that fail stay, once there were any
MOST_THREADS = 2 * (16 + 4) + 8  # a poll has a second thread, its deadline; and the few that the program always has
FROZEN_FOR = 5 * POLL_EVERY
UP_AGAIN_SECONDS = 90  # on a busy machine statements run out of time, and each that does doubles the wait for the next


class Many:
    """Queues on SQLite, a few of Matomo's on MariaDB, and twelve that are reached through proxies."""

    def __init__(self, folder: Path, server: MariaDb, proxies: list[Proxy]) -> None:
        url = server.account("matomo", [SELECT])
        self.proxies = proxies
        self.frozen = [f"frozen{number}" for number in range(FROZEN)]
        queues: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(self.frozen):
            port = proxies[number % len(proxies)].port
            queues[name] = {"system": "matomo", "url": url.replace(f":{server.port}/", f":{port}/"), **OPTIONS}
        queues["straight"] = {"system": "matomo", "url": url, **OPTIONS}
        for number in range(QUEUES - len(queues)):
            queues[f"q{number}"] = make_queue(folder / f"q{number}.db", **OPTIONS)
        self.names = set(queues)
        self.config = queuemedic.write_config(folder, queues)

    def up(self, served: Serving) -> set[str]:
        """Name the queues that are up."""
        return {name for name, is_up in served.scrape().values("up", "queue").items() if is_up}

    def are_up(self, served: Serving) -> bool:
        """Whether all queues are up; AssertionError says which are not."""
        down = self.names - self.up(served)
        assert not down, down
        return True

    def watch(self, served: Serving, seconds: float) -> tuple[float, float, int]:
        """Scrape for a while: how old a snapshot of the others ever was, the slowest scrapes, the most threads."""
        latest, threads, took = 0.0, 0, []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.monotonic()
            text = served.get("/metrics").text
            took.append(time.monotonic() - began)
            page, now = queuemedic.Page(text, is_openmetrics=False), time.time()
            ages = {name: now - at for name, at in page.values("snapshot_timestamp_seconds", "queue").items()}
            latest = max(latest, *(age for name, age in ages.items() if name not in self.frozen))
            threads = max(threads, served.threads())
        return latest, sorted(took)[int(len(took) * 0.99)], threads


@pytest.fixture(params=[FROZEN, 1], ids=["a server each", "one server"])
def many(request: pytest.FixtureRequest, private_mariadb: Callable[..., MariaDb], tmp_path: Path) -> Iterator[Many]:
    """Twelve on as many addresses, where the limit of two polls a server does not help; or all on one."""
    server = private_mariadb()
    server.sql("CREATE DATABASE matomo")
    matomo.create_tables(server, "matomo")
    with ExitStack() as stack:
        yield Many(tmp_path, server, [stack.enter_context(Proxy(server.port)) for _ in range(request.param)])


@pytest.mark.timeout(300)
def test_frozen_queues_are_nobody_elses_trouble(many: Many, tmp_path: Path) -> None:
    """No poll is late, no scrape slow, no thread or file too many; and afterwards all is as before."""
    with queuemedic.serving(many.config, tmp_path) as served:
        wait_until(lambda: many.are_up(served), within=UP_AGAIN_SECONDS, what="all are up")
        threads, descriptors = served.threads(), served.descriptors()
        for proxy in many.proxies:
            proxy.mode = Mode.BLACK_HOLE
        latest, scrape_meanwhile, most_threads = many.watch(served, FROZEN_FOR)
        assert many.up(served) == many.names - set(many.frozen)
        assert latest < POLL_EVERY + LATEST
        assert scrape_meanwhile < POLL_TIMEOUT / 2  # none waits for a queue that is frozen
        assert most_threads <= MOST_THREADS
        assert served.descriptors() <= descriptors + 2 * FROZEN
        for proxy in many.proxies:
            proxy.mode = Mode.FORWARD
            proxy.cut()
        wait_until(lambda: many.are_up(served), within=UP_AGAIN_SECONDS, what="all are up again")
        wait_until(lambda: served.threads() <= threads + POOL_THREADS, within=30, what="threads are back")
        wait_until(lambda: served.descriptors() <= descriptors + 2, within=30, what="descriptors are back")
        print(f"{latest=:.1f} {scrape_meanwhile=:.4f} {threads=} {most_threads=} {descriptors=}")
        assert "Traceback" not in served.log
