"""A day of polls, one after the other: churn, databases that restart, and the program that restarts.

A day at the default interval is 5760 polls of each queue. `make long` runs them all, the ordinary tests a part. What
really came and went is known, so each counter is compared with it, not only with the past.
"""

import gc
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.page import Format
from exporter.poller import Polled
from queuemedic.app import App
from queuemedic.config import Config, QueueSection
from tests.conftest import installed
from tests.contracts.benches import Bench, MariaDbBench, MatomoBench, PostgresBench, SqliteBench, TableBench
from tests.contracts.meltano_bench import MeltanoBench, PostgresDatabase, SqliteDatabase
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.queuemedic import Page
from tests.lab.server import Server

DAY = 5760
MOST_STARTED = 4
WARM_AFTER = 50
LIMIT = timedelta(seconds=2)
COUNTERS = (
    "jobs_enqueued_total",
    "jobs_ended_total",
    "attempts_started_total",
    "attempts_ended_total",
    "attempts_timed_out_total",
    "attempt_duration_seconds_count",
    "waiting_duration_seconds_count",
    "meltano_runs_total",
)


class Hands(Protocol):
    """What works on a queue: takes a job in, starts it, ends it, puts it back."""

    def enqueue(self) -> str: ...
    def start(self, job: str) -> None: ...
    def finish(self, job: str) -> None: ...
    def release(self, job: str) -> None: ...


class BenchHands:
    """Work on a table from which a job goes when it is done."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def enqueue(self) -> str:
        """Take a job in."""
        return self._bench.enqueue()[0]

    def start(self, job: str) -> None:
        """Start it, some of them long ago."""
        self._bench.start(job, ago="1h" if int(job) % 10 == 0 else "1s")

    def finish(self, job: str) -> None:
        """Delete it."""
        self._bench.finish(job)

    def release(self, job: str) -> None:
        """Put it back."""
        self._bench.release(job)


class MeltanoHands:
    """Run Meltano's jobs: they are started as they come in, and nobody puts one back."""

    def __init__(self, bench: MeltanoBench) -> None:
        self._bench = bench

    def enqueue(self) -> str:
        """Begin a run."""
        return self._bench.add(started="1h", heartbeat="0s")

    def start(self, job: str) -> None:
        """Write a heartbeat."""
        self._bench.beat(job)

    def finish(self, job: str) -> None:
        """End it, with success or not."""
        self._bench.end(job, "FAIL" if int(job) % 3 == 0 else "SUCCESS")

    def release(self, job: str) -> None:
        """Write a heartbeat."""
        self._bench.beat(job)


@dataclass(kw_only=True)
class Watched:
    """One queue, what is in it, and what has come and gone since the program began to watch it."""

    system: str
    options: QueueOptions
    hands: Hands
    server: Server | None = None
    waiting: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    came: int = 0
    went: int = 0

    @property
    def counted(self) -> dict[str, int]:
        """How many jobs are in which state; a run of Meltano's never waits."""
        if self.system == "meltano":
            return {"waiting": 0, "started": len(self.waiting) + len(self.started)}
        return {"waiting": len(self.waiting), "started": len(self.started)}

    def churn(self, chance: random.Random) -> None:
        """Let a little happen."""
        for _ in range(chance.randint(0, 2)):
            self.waiting.append(self.hands.enqueue())
            self.came += 1
        for job in list(self.started):
            luck = chance.random()
            if luck < 0.4:
                self.hands.finish(job)
                self.went += 1
            elif luck < 0.45:
                self.hands.release(job)
                self.waiting.append(job)
            else:
                continue
            self.started.remove(job)
        while self.waiting and len(self.started) < MOST_STARTED:
            job = self.waiting.pop(0)
            self.hands.start(job)
            self.started.append(job)


class Program:
    """The program over the queues; it knows nothing of what was before it began, so its first poll counts nothing."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = {QueueName(f"q{number}"): queue for number, queue in enumerate(watched)}
        for queue in watched:
            queue.came = queue.went = 0
        sections = {
            name: QueueSection(system=queue.system, options=queue.options) for name, queue in self._watched.items()
        }
        self._app = App(Config(queues=sections))
        self._last: dict[str, float] = {}
        self.poll()
        page = self.page()
        assert {name: page.total(name) for name in COUNTERS} == dict.fromkeys(COUNTERS, 0)

    def poll(self) -> None:
        """Poll every queue."""
        for poller in self._app.pollers:
            assert poller.poll() is Polled.DONE

    def page(self) -> Page:
        """Return the page; no counter on it is lower than before."""
        page = Page(self._app.get_page(Format.TEXT, False).decode(), is_openmetrics=False)
        counters = {name: page.total(name) for name in COUNTERS}
        assert all(counters[name] >= self._last.get(name, 0) for name in COUNTERS)
        self._last = counters
        return page

    def compare(self) -> None:
        """Hold what is published against what happened."""
        page = self.page()
        for name, queue in self._watched.items():
            assert page.value("up", queue=name) == 1, [poller.error for poller in self._app.pollers]
            seen = {state: page.total("jobs", queue=name, state=state) for state in ("waiting", "started")}
            assert seen == queue.counted, name
            assert page.total("jobs_enqueued_total", queue=name) == queue.came, name
            assert page.total("jobs_ended_total", queue=name) == queue.went, name

    def end(self) -> None:
        """Stop."""
        assert self._app.close(within_seconds=5)


@pytest.fixture
def watched(tmp_path: Path, private_mariadb: Callable[..., MariaDb]) -> Iterator[list[Watched]]:
    """A queue of each kind, on servers that can be stopped."""
    quick = {"poll_every": timedelta(seconds=1), "max_duty": 1.0, "timeout_after": LIMIT, "max_started": 100}
    with ExitStack() as undo:
        mariadb = private_mariadb()
        with installed():
            postgres = undo.enter_context(Postgres())
        matomo_tables, mariadb_jobs = (undo.enter_context(mariadb.database()) for _ in range(2))
        runs, jobs = (undo.enter_context(postgres.database()) for _ in range(2))
        matomo.create_tables(mariadb, matomo_tables)
        benches: list[tuple[Server | None, MatomoBench | TableBench]] = [
            (mariadb, MatomoBench(mariadb, matomo_tables)),
            (mariadb, MariaDbBench(mariadb, mariadb_jobs)),
            (postgres, PostgresBench(postgres, jobs, heartbeat=True)),
            (None, SqliteBench(tmp_path)),
        ]
        made = [
            Watched(system=bench.queue.system, options=bench.options, hands=BenchHands(bench), server=server)
            for server, bench in benches
        ]
        for server, database in (
            (postgres, PostgresDatabase(postgres, runs, table="runs")),
            (None, SqliteDatabase(tmp_path / "meltano.db")),
        ):
            meltano = MeltanoBench(database)
            hands = MeltanoHands(meltano)
            made.append(Watched(system="meltano", options=meltano.options(), hands=hands, server=server))
        for queue in made:
            queue.options = queue.options.model_copy(update=quick)
        yield made


@pytest.mark.parametrize(
    "polls",
    [
        pytest.param(100, marks=pytest.mark.timeout(300)),
        pytest.param(DAY, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_a_day_of_polls(watched: list[Watched], polls: int) -> None:
    """Every number is right at every poll, nothing bursts after a restart, and nothing grows."""
    chance = random.Random(2026)  # noqa: S311
    servers = list(dict.fromkeys(queue.server for queue in watched if queue.server))
    program = Program(watched)
    warm: Size | None = None
    for number in range(1, polls + 1):
        for queue in watched:
            queue.churn(chance)
        program.poll()
        program.compare()
        if number % 60 == 30:
            program.end()
            program = Program(watched)
        if number % 120 == 60:
            _restart(servers[number // 120 % len(servers)], program)
            for queue in watched:
                queue.churn(chance)
            program.poll()
            program.compare()
        if number == WARM_AFTER:
            warm = Size.now(program)
    program.end()
    end = Size.now(program)
    assert warm is not None
    assert end.series == warm.series
    assert end.threads == warm.threads
    assert end.descriptors <= warm.descriptors
    assert end.memory - warm.memory < 4_000_000 + 200 * polls


def _restart(server: Server, program: Program) -> None:
    """Stop a server, see its queues down and no counter lower, and start it again."""
    server.stop()
    program.poll()
    page = program.page()
    ups = page.values("up", "queue")
    assert {ups[name] for name in ups} == {0, 1}
    server.start()


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the program is: bytes of memory, and numbers of the rest."""

    memory: int
    series: frozenset[str]
    threads: int
    descriptors: int

    @classmethod
    def now(cls, program: Program) -> "Size":
        """Measure it."""
        gc.collect()
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        # A timestamp of nothing is absent, a ratio of too little, and a host on which nothing is started.
        may_miss = re.compile('^#|_timestamp_|_ratio|host="web1"')
        lines = [line for line in program.page().text.splitlines() if not may_miss.search(line)]
        return cls(
            memory=resident_pages * 4096,
            series=frozenset(line.rpartition(" ")[0] for line in lines),
            threads=threading.active_count(),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
        )
