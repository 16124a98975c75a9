"""Whatever keeps jobs from being put back, watching and judging go on, and what keeps them is told."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter import clock
from exporter.jobs import QueueName
from healers.resets.locks import SUFFIX
from tests.lab.queuemedic import Page
from tests.lab.watchdog import PlayedHost, Watchdog

from .healing_benches import DEAD_PID, HOST, LIVE_PID, HealingBench, on_sqlite, played_host

QUEUE = QueueName("q")
Hold = Callable[[Watchdog, HealingBench, ExitStack], object]


def pause(dog: Watchdog, _: HealingBench, __: ExitStack) -> None:
    """Let a person pause healing."""
    brakes = dog.app.healing.keeper.get().brakes
    brakes.pause(QUEUE, why="the rack is moved", actor="ann", at=clock.now())


def take_lock(_: Watchdog, bench: HealingBench, undo: ExitStack) -> None:
    """Be another healer that has the lock of the queue."""
    file = os.open(bench.folder / f"jobs.db{SUFFIX}", os.O_RDONLY | os.O_CREAT, 0o644)
    undo.callback(os.close, file)
    fcntl.flock(file, fcntl.LOCK_EX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What is configured, what is done before the first look, and whether the ledger's place is a folder."""

    healing: dict[str, Any] = field(default_factory=dict)
    hold: Hold = lambda *_: None
    has_ledger: bool = True


BLOCKS = {
    "paused": Block(hold=pause),
    "lock": Block(hold=take_lock),
    "ledger": Block(has_ledger=False),
    "outside_window": Block(healing={"windows": []}),
    "too_young": Block(healing={"heal_after": "1h"}),
    "breaker": Block(healing={"breaker": {"min_hosts": 1}}),
    "host_load": Block(healing={"max_load_per_processor": 0.01}),
    "unconfirmed": Block(healing={"confirm_after": "2m"}),
}


@contextmanager
def blocked(block: Block, folder: Path) -> Iterator[tuple[HealingBench, PlayedHost, Watchdog]]:
    """Begin a run of the program that nothing but this keeps from healing."""
    ledger = folder / "ledger.db"
    if not block.has_ledger:
        ledger.mkdir()
    bench, host = on_sqlite(folder / "q", ledger=ledger), played_host()
    bench.kill()
    config = bench.write_config(**block.healing)
    with ExitStack() as undo, Watchdog(config, {HOST: host}) as dog:
        block.hold(dog, bench, undo)
        yield bench, host, dog


def verdicts(page: Page) -> dict[str, float]:
    """Return how many jobs are judged how."""
    return {value: page.total("worker_verdicts", queue=QUEUE, verdict=value) for value in ("alive", "dead", "unknown")}


def blocks(page: Page) -> dict[str, float]:
    """Return what keeps how many jobs from being put back."""
    return {reason: jobs for reason, jobs in page.values("blocked_heals", "reason", queue=QUEUE).items() if jobs}


@pytest.mark.parametrize("reason", BLOCKS)
def test_who_dies_while_healing_is_blocked_is_told(reason: str, tmp_path: Path) -> None:
    """Of two workers one is dead, then both are; and a job that comes in is counted."""
    with blocked(BLOCKS[reason], tmp_path) as (bench, host, dog):
        before = bench.rows()
        dog.look_twice()
        first = dog.page()
        assert (verdicts(first), blocks(first)) == ({"alive": 1, "dead": 1, "unknown": 0}, {reason: 1})
        del host.processes[LIVE_PID]
        bench.table.enqueue()
        dog.look_twice()
        second = dog.page()
        assert (verdicts(second), blocks(second)) == ({"alive": 0, "dead": 2, "unknown": 0}, {reason: 2})
        assert second.value("orphaned_jobs", queue=QUEUE, host=HOST) == 2
        assert second.value("up", queue=QUEUE) == 1
        assert (first.total("jobs", state="waiting"), second.total("jobs", state="waiting")) == (1, 2)
        passes = [page.value("heal_pass_timestamp_seconds", queue=QUEUE) or 0 for page in (first, second)]
        assert 0 < passes[0] < passes[1]
        assert bench.resets().total() == 0
        assert {job: row for job, row in bench.rows().items() if job in before} == before


def test_without_any_of_them_the_dead_are_put_back(tmp_path: Path) -> None:
    """So that the table above shows what holds them."""
    with blocked(Block(), tmp_path) as (bench, host, dog):
        assert DEAD_PID not in host.processes
        dog.look_twice()
        assert bench.resets().total() == 1
        assert blocks(dog.page()) == {}
