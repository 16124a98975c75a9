"""Nothing that healing remembers grows with what comes and goes."""

import gc
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType

import pytest

from healers import sightings
from healers.reasons import Liveness

from .healing_dogs import Dog
from .healing_world import HOSTS, QUEUE, World

TURNS, JOBS, WARM_AFTER = 250, 40, 80
FOLLOWED_NO_FURTHER = (type, ModuleType, FunctionType, CodeType, FrameType, Dog, World)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose clocks the program reads, in which little is remembered of what is gone."""
    made = World()
    monkeypatch.setattr("exporter.clock.now", made.wall)
    monkeypatch.setattr("exporter.clock.boottime_seconds", made.boottime_seconds)
    monkeypatch.setattr("exporter.clock.monotonic_seconds", made.monotonic_seconds)
    monkeypatch.setattr(sightings, "WORKERS_REMEMBERED", 100)
    monkeypatch.setattr(sightings, "MACHINES_REMEMBERED", 2)
    return made


@pytest.fixture
def dog(world: World, tmp_path: Path) -> Iterator[Dog]:
    """A watchdog with a ledger of its own."""
    made = Dog("dog1", world, tmp_path / "ledger.db")
    made.start()
    yield made
    made.end()


def reachable(roots: Iterable[object]) -> Counter[str]:
    """Count by type all that is held by these objects, whatever they call it."""
    seen: set[int] = set()
    found: Counter[str] = Counter()
    waiting = deque(roots)
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, FOLLOWED_NO_FURTHER):
            seen.add(id(one))
            found[type(one).__name__] += 1
            waiting.extend(gc.get_referents(one))
    return found


def held_by(dog: Dog) -> Counter[str]:
    """Count all that a watchdog holds of what it has seen and done."""
    gc.collect()
    return reachable([dog.poller, dog.beliefs, *dog.askers.values(), dog.healer, dog.opened])


class Churn:
    """Workers that take jobs and leave them: most when they are done, every tenth because it dies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pids = count(100)
        self._turns: deque[list[int]] = deque(maxlen=4)

    def begin(self) -> None:
        """Let new workers take new jobs; what is still there of the turn that is the fourth before this is removed."""
        world = self._world
        for job in self._turns[0] if len(self._turns) == 4 else ():
            if job in world.there:
                world.finish(job)
        self._turns.append([])
        for number in range(JOBS):
            host = HOSTS[number % len(HOSTS)]
            process = world.begin(host, next(self._pids))
            assert process is not None
            world.enqueue()
            job = max(world.waiting())
            world.claim(host, process, job)
            self._turns[-1].append(job)

    def end(self) -> None:
        """Let all of them end, and most of their jobs."""
        for job in self._turns[-1]:
            self._world.kill(self._world.claims[job].process, "")
            if job % 10:
                self._world.finish(job)
        for machine in self._world.hosts.values():
            machine.processes = [one for one in machine.processes if one.runs]


def test_ten_thousand_attempts_come_and_go(world: World, dog: Dog) -> None:
    """Most are done, some die and are put back or removed by hand; machines reboot and fall silent.

    No more is held after 10,000 attempts than after 3,600, of whatever kind.
    """
    churn, sizes = Churn(world), list[int]()
    for turn in range(TURNS):
        churn.begin()
        dog.go_round()
        churn.end()
        del dog.asked[:-60]
        if turn % 50 == 40:
            world.reboot(HOSTS[turn // 50 % 2])
        world.silent = {HOSTS[2]} if turn % 20 > 15 else set()
        if turn % 20 == 10 and turn >= WARM_AFTER:
            sizes.append(held_by(dog).total())
    held = dog.beliefs.of(QUEUE)
    assert held is not None
    assert world.put_back
    assert any(verdict.value is Liveness.DEAD for verdict in held.verdicts.values())
    assert world.violations == []
    assert max(sizes) < 1.1 * sizes[0], sizes
