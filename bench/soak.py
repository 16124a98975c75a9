"""An hour of churn, faults and healing with intervals of a second: is anything larger at its end than in the middle?

`python -m bench soak --minutes 60`. Five queues of Matomo on a MariaDB, one of them healed over SSH on three hosts,
whose real workers take jobs, end them or are killed, a few each second. Every 40 s something else fails for a while:
the database freezes or starts anew, a host is cut off or boots anew, SSH connections are killed, the configuration is
reloaded with a changed queue. Every 5 s the program's page is scraped, and memory, threads, descriptors and series are
written to results/soak_samples.csv. What is judged is a straight line through the samples of the second half.
"""

import csv
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression
from typing import Any

import yaml

from tests.faults.healed_queue import ASKED, TABLE, Site, add_host, start_worker
from tests.lab import matomo, run
from tests.lab.hosts import Host, Hosts, NotAllowed, Partition
from tests.lab.mariadb import MariaDb
from tests.lab.programs import NotInstalled

from .ground import server
from .lines import Budget, Table
from .load import ASKS, Client
from .part import SAMPLES, Scale
from .peers.exporter import Exporter, count_series
from .program import NAME, matomo_queue, queuemedic
from .usage import descriptors, resident_mib, threads

HOSTS = ("web01", "web02", "web03")
QUEUES = 4
WORKERS = 12
WAITING = 200
LEFT_SECONDS = 120
FEW_RESETS = {"max_resets_per_hour": 1_000_000, "breaker": {"max_dead_ratio": 1.0}}
HEALED = re.compile(r'^queuemedic_heals_total{outcome="reset",queue="q"} (\S+)', re.MULTILINE)
STARTED = re.compile(r'^queuemedic_host_started_jobs{host=".*",queue="q"} (\S+)', re.MULTILINE)
MOMENTARY = re.compile(r"^queuemedic_(worker_verdicts|\w+_timestamp_seconds){", re.MULTILINE)
"""Series that tell of the faults under way: a verdict that nobody has is absent, and so is the time of nothing."""

UP = re.compile(r"^queuemedic_up{.*} 1", re.MULTILINE)
LIMITS = {"MiB resident": 3.0, "threads": 2.0, "descriptors": 2.0, "series": 10.0}
"""What the line may rise by in the second half."""

Sample = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long it lasts, and how often a sample is taken and something fails."""

    seconds: float
    sample_every: float = 5.0
    fault_every: float = 40.0
    fault_seconds: float = 8.0


QUICK = Pace(seconds=8, sample_every=1, fault_every=2, fault_seconds=1)


@dataclass(slots=True, kw_only=True)
class World:
    """What the program watches, and what becomes of it."""

    server: MariaDb
    site: Site
    hosts: list[Host]
    exporter: Exporter
    chance: random.Random = field(default_factory=lambda: random.Random(2026))  # noqa: S311 - the same each time
    busy: dict[int, tuple[Host, int]] = field(default_factory=dict)
    off: Host | None = None
    killed: int = 0

    def power_off(self, host: Host) -> None:
        """Let a host lose its power, and its workers with it; it is off for longer than a round, as machines are."""
        for job, (its, _) in list(self.busy.items()):
            if its is host:
                del self.busy[job]
                self.killed += 1
        host.power_off()
        self.off = host

    def boot(self) -> None:
        """Boot the host that is off anew."""
        if self.off is not None:
            self.off.reboot()
            self.off = None

    def churn(self) -> None:
        """Let workers begin, end and die, and jobs come and go."""
        for job, (host, pid) in list(self.busy.items()):
            luck = self.chance.random()
            if luck < 0.25:
                self.site.remove(job)
            if luck < 0.4:
                host.kill(pid)
                del self.busy[job]
                self.killed += luck >= 0.25
        while len(self.busy) < WORKERS:
            host = self.chance.choice([host for host in self.hosts if host is not self.off])
            pid = start_worker(host)
            self.busy[self.site.claim(host.name, pid)] = host, pid
        table = f"{self.site.database}.{TABLE}"
        # What may not be put back, as nobody saw its worker, Matomo itself takes up after a day.
        self.server.sql(f"DELETE FROM {table} WHERE status = 1 AND ts_started < NOW() - INTERVAL {LEFT_SECONDS} SECOND")
        self.server.sql(f"DELETE FROM {table} WHERE status = 0 AND idinvalidation % 3 = 0 LIMIT 20")
        rows = [{"name": f"done{self.chance.getrandbits(128):032x}"} for _ in range(self.chance.randint(0, 6))]
        matomo.insert_rows(self.server, self.site.database, *rows)
        waiting = self.server.sql(f"SELECT COUNT(*) FROM {table} WHERE status = 0")[0][0]
        if waiting > WAITING:
            self.server.sql(f"DELETE FROM {table} WHERE status = 0 ORDER BY idinvalidation LIMIT {waiting - WAITING}")


def measure(scale: Scale) -> Table:
    """Run for so long, and judge the second half."""
    table = Table()
    try:
        with _world() as world:
            pace = QUICK if scale.is_quick else Pace(seconds=scale.minutes * 60)
            samples = _run(world, pace)
            back = samples[-1]["rows put back"]
            table.say("", NAME, f"{world.killed:,} workers were killed, and {back:,.0f} rows put back")
    except (NotAllowed, NotInstalled) as reason:
        table.say("", NAME, f"not measured: {reason}")
        return table
    _write(scale.into / SAMPLES, samples)
    at = [sample["minutes"] for sample in samples]
    half = len(samples) // 2
    for figure, limit in LIMITS.items():
        values = [sample[figure] for sample in samples]
        rise = linear_regression(at[half:], values[half:]).slope * (at[-1] - at[half])
        promise = f"soak of {at[-1]:.0f} minutes, second half: {figure} more at its end than at its beginning"
        budgets = scale.budgets({(NAME, ""): Budget(limit=f"≤ {limit:g}", promise=promise)})
        table.add(f"{at[-1]:.0f} minutes", f"{figure}, rise of the second half", {NAME: [rise]}, budgets=budgets)
        table.add(f"{at[-1]:.0f} minutes", figure, {NAME: values[half:]})
    return table


@contextmanager
def _world() -> Iterator[World]:
    with ExitStack() as stack:
        lab = stack.enter_context(Hosts())
        running = stack.enter_context(server("128M"))
        site = stack.enter_context(Site(running, run.scratch("site")))
        hosts = [add_host(lab, name) for name in HOSTS]
        queues: dict[str, Any] = {"q": site.section(**FEW_RESETS)}
        for number in range(QUEUES):
            queues[f"more{number}"] = matomo_queue(site.url, poll_every="1s", poll_timeout="5s", max_duty=1)
        sections = {host.name: host.options(**ASKED) for host in hosts}
        exporter = stack.enter_context(queuemedic(queues, hosts=sections))
        yield World(server=running, site=site, hosts=hosts, exporter=exporter)


def _run(world: World, pace: Pace) -> list[Sample]:
    samples: list[Sample] = []
    faults = _faults(world)
    began = time.monotonic()
    next_sample, next_fault = began, began + pace.fault_every
    end_fault: Callable[[], object] | None = None
    is_database_down = False
    client = Client(world.exporter.port)
    while (now := time.monotonic()) < began + pace.seconds:
        if now >= next_sample:
            next_sample += pace.sample_every
            samples.append(_sample(world, client, (now - began) / 60))
        if now >= next_fault:
            if end_fault is None:
                end_fault, is_database_down = next(faults)
                next_fault = now + pace.fault_seconds
            else:
                end_fault()
                end_fault, is_database_down = None, False
                next_fault = now + pace.fault_every - pace.fault_seconds
        if not is_database_down:
            world.churn()
        time.sleep(max(0.0, now + 1.0 - time.monotonic()))
    if end_fault is not None:
        end_fault()
    client.close()
    return samples


def _faults(world: World) -> Iterator[tuple[Callable[[], object], bool]]:
    """Begin one fault after the other; each comes with its end, and with whether the database is gone meanwhile."""
    while True:
        for host in world.hosts:
            world.server.freeze()
            yield world.server.thaw, True
            host.partition(Partition.BOTH)
            yield host.connect, False
            world.server.stop()
            yield world.server.start, True
            host.kill_connections()
            yield lambda: None, False
            world.power_off(host)
            yield world.boot, False
            _reload(world)
            yield lambda: None, False


def _reload(world: World) -> None:
    """Change a queue, which then begins anew."""
    config = yaml.safe_load(world.exporter.config.read_text())
    config["queues"]["more0"]["stuck_after"] = f"{world.chance.randint(1, 9)}h"
    world.exporter.config.write_text(yaml.safe_dump(config))
    os.kill(world.exporter.pid, signal.SIGHUP)


def _sample(world: World, client: Client, minutes: float) -> Sample:
    began = time.perf_counter()
    page = bytes(client.ask(ASKS["text"])).decode()
    took = (time.perf_counter() - began) * 1000
    pid, momentary = world.exporter.pid, len(MOMENTARY.findall(page))
    return {
        "minutes": minutes,
        "MiB resident": resident_mib(pid),
        "threads": threads(pid),
        "descriptors": descriptors(pid),
        "series": count_series(page.partition("\r\n\r\n")[2]) - momentary,
        "series of the moment": momentary,
        "ms of a scrape": took,
        "queues up": len(UP.findall(page)),
        "jobs started": sum(map(float, STARTED.findall(page))),
        "rows put back": sum(map(float, HEALED.findall(page))),
    }


def _write(path: Path, samples: Sequence[Sample]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, samples[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in sample.items()} for sample in samples)
