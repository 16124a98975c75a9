"""Everything that can happen to two watchdogs and to what they watch, as rules; and what holds in spite of it.

After each run all faults stop, and time goes on: then every row whose worker died and was once seen alive is put back,
so that never to heal is no way to pass, and every intent has an outcome that is true.
"""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.deadline import Deadline
from healers.probes.protocol import Tie

from .healing_dogs import Dog, copy_ledger, find_untrue, resume_all
from .healing_happenings import HAPPENINGS, PASS_MOMENTS, RESET_MOMENTS, ROUND_MOMENTS, ROW_HAPPENINGS, happen_to
from .healing_hosts import Process
from .healing_world import HOSTS, LOSABLE, PIDS, QUEUE, Held, World

ROUND_SECONDS: Final = 15
ROUNDS: Final = 14
HOURS: Final = 6
# What is written here need not last; that of a real ledger does (tests/contracts/test_ledger_durability.py).
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
hosts = st.sampled_from(HOSTS)
steps = st.sampled_from([-7200.0, -70.0, -3.0, 3.0, 70.0, 7200.0])
numbers = st.integers(0, 5)
moments = st.one_of(
    st.dictionaries(st.sampled_from(PASS_MOMENTS), st.sampled_from(HAPPENINGS), max_size=2),
    st.dictionaries(st.sampled_from(RESET_MOMENTS), st.sampled_from(ROW_HAPPENINGS), max_size=1),
)
any_moments = st.dictionaries(st.sampled_from(ROUND_MOMENTS + PASS_MOMENTS), st.sampled_from(HAPPENINGS), max_size=2)
dogs = st.sampled_from(["rex", "lassie"])


class Unwatched(Deadline):
    """A deadline that nobody watches: time stands still here while a ledger is at work."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class Healing(RuleBasedStateMachine):
    """Everything that can happen, each as one rule."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        ledger = copy_ledger(self.template, Path(self.folder.name) / "ledger.db")
        self.world = World()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("exporter.clock.now", self.world.wall)
        self.patch.setattr("exporter.clock.boottime_seconds", self.world.boottime_seconds)
        self.patch.setattr("exporter.clock.monotonic_seconds", self.world.monotonic_seconds)
        self.patch.setattr("exporter.store.Deadline", Unwatched)
        self.dogs = {name: Dog(name, self.world, ledger) for name in ("rex", "lassie")}
        for dog in self.dogs.values():
            dog.start()
        for host, pid in zip(HOSTS, PIDS, strict=True):
            self.begin_and_claim(host, pid)
        self._go_rounds(1)

    # --- Rows and workers

    @rule()
    def enqueue(self) -> None:
        """A job comes in."""
        if len(self.world.there) < 8:
            self.world.enqueue()

    @rule(host=hosts, pid=st.sampled_from(PIDS))
    def begin_and_claim(self, host: str, pid: int) -> None:
        """A worker begins and takes a job; its pid may have been another's."""
        process = self.world.begin(host, pid)
        if process is not None:
            self.enqueue()
            self.world.advance(1)
            self._claim(host, process)

    @rule(host=hosts, pid=st.sampled_from(PIDS))
    def begin_stranger(self, host: str, pid: int) -> None:
        """Some other program begins, perhaps under the pid of a worker that is gone."""
        self.world.begin(host, pid, argv=None)

    @rule(number=numbers)
    def claim(self, number: int) -> None:
        """A worker takes one more of the waiting jobs."""
        running = [(host, one) for host, one in self.world.workers() if one.argv and one.states == "S"]
        if running:
            self.world.advance(1)
            self._claim(*running[number % len(running)])

    def _claim(self, host: str, process: Process) -> None:
        waiting = self.world.waiting()
        if waiting:
            self.world.claim(host, process, waiting[0])

    @rule(number=numbers)
    def finish(self, number: int) -> None:
        """A worker, or its child, is done with a job."""
        working = [job for job, held in self.world.claims.items() if held.process.is_at_work]
        if working:
            self.world.finish(working[number % len(working)])

    @rule(number=numbers, states=st.sampled_from(["", "", "Z"]))
    def kill(self, number: int, states: str) -> None:
        """A worker with a job dies; its entry may stay as a zombie."""
        running = [held.process for held in self.world.claims.values() if held.process.runs]
        if running:
            self.world.kill(running[number % len(running)], states)

    @rule(number=numbers)
    def reap(self, number: int) -> None:
        """A zombie is reaped."""
        zombies = [one for _, one in self.world.workers(runs=False) if one.states == "Z"]
        if zombies:
            zombies[number % len(zombies)].states = ""

    @rule(number=numbers)
    def stop_or_continue(self, number: int) -> None:
        """A worker is stopped, or goes on."""
        running = self.world.workers()
        if running:
            process = running[number % len(running)][1]
            process.states = "S" if process.states == "T" else "T"

    @rule(number=numbers, tie=st.sampled_from([Tie.GROUP, Tie.MARK]))
    def begin_child(self, number: int, tie: Tie) -> None:
        """A worker begins a child, which outlives it."""
        running = [one for _, one in self.world.workers() if one.argv]
        if running:
            running[number % len(running)].children.append(tie)

    @rule(number=numbers)
    def end_children(self, number: int) -> None:
        """The children of a worker are done."""
        parents = [one for machine in self.world.hosts.values() for one in machine.processes if one.children]
        if parents:
            self.world.end_children(parents[number % len(parents)])

    # --- Hosts

    @rule(host=hosts)
    def fall_silent_or_speak(self, host: str) -> None:
        """A host is cut off, or its sshd hangs; or it answers again."""
        if host not in self.world.lost:
            self.world.silent ^= {host}

    @rule(host=hosts)
    def reboot(self, host: str) -> None:
        """A host goes down and comes up."""
        if host not in self.world.lost:
            self.world.reboot(host)

    @rule(host=hosts, is_clone=st.booleans(), survives=st.booleans())
    def replace(self, host: str, is_clone: bool, survives: bool) -> None:
        """Another machine answers under the name of one."""
        if host not in self.world.lost:
            self.world.replace(host, is_clone=is_clone, survives=survives)

    @rule(host=hosts)
    def bring_back(self, host: str) -> None:
        """The first machine answers again."""
        if host not in self.world.lost:
            self.world.bring_back(host)

    @rule(host=hosts, seconds=st.sampled_from([5.0, 600.0]))
    def suspend(self, host: str, seconds: float) -> None:
        """A virtual machine stands still for a while."""
        self.world.suspend(host, seconds)

    @precondition(lambda self: not self.world.lost)
    @rule(dog=dogs)
    def lose_and_retire(self, dog: str) -> None:
        """A host is gone for good, and a person says so, at the latest when all else is well again."""
        self.world.lose()
        if not self.dogs[dog].is_killed:
            self.dogs[dog].retire(LOSABLE)

    # --- Clocks

    @rule(seconds=steps)
    def set_database_clock(self, seconds: float) -> None:
        """The database's clock is set."""
        self.world.set_database_clock(seconds)

    @rule(dog=dogs, seconds=steps)
    def set_wall_clock(self, dog: str, seconds: float) -> None:
        """The clock of a watchdog's machine is set."""
        self.world.set_wall_clock(dog, seconds)

    @rule(seconds=st.sampled_from([1.0, 15.0, 40.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.world.advance(seconds)

    # --- Watchdogs

    @rule(dog=dogs, happen=any_moments)
    def poll(self, dog: str, happen: dict[str, str]) -> None:
        """A watchdog polls."""
        self._do(dog, happen, Dog.poll)

    @rule(dog=dogs, host=hosts, happen=any_moments)
    def ask(self, dog: str, host: str, happen: dict[str, str]) -> None:
        """A watchdog asks a host."""
        self._do(dog, happen, partial(Dog.ask, host=host))

    @rule(dog=dogs, happen=any_moments)
    def keep_and_heal(self, dog: str, happen: dict[str, str]) -> None:
        """A watchdog makes a pass."""
        self._do(dog, happen, partial(Dog.go_round, steps=("keep", "heal")))

    @rule(dog=dogs, rounds=st.integers(1, 4), happen=any_moments)
    def go_rounds(self, dog: str, rounds: int, happen: dict[str, str]) -> None:
        """A watchdog goes on for a while, and then something happens."""
        for number in reversed(range(rounds)):
            self.world.advance(ROUND_SECONDS)
            self._do(dog, NOTHING if number else happen, Dog.go_round)

    @rule(rounds=st.integers(1, 5), dog=dogs, happen=moments)
    def all_go_rounds(self, rounds: int, dog: str, happen: dict[str, str]) -> None:
        """Both go on for a while; something happens to one of them in its passes."""
        self._go_rounds(rounds, dog, happen)

    @rule(host=hosts, pid=st.sampled_from(PIDS), ends=st.integers(1, 3), dog=dogs, happen=moments)
    def lose_worker(self, host: str, pid: int, ends: int, dog: str, happen: dict[str, str]) -> None:
        """A worker takes a job, is seen, and dies, as may those of other hosts; something happens while it is found."""
        self._lose_worker(host, pid, ends)
        self._go_rounds(4, dog, happen)

    @rule(
        host=hosts, pid=st.sampled_from(PIDS), moment=st.sampled_from(RESET_MOMENTS), it=st.sampled_from(ROW_HAPPENINGS)
    )
    def lose_worker_and_change_row(self, host: str, pid: int, moment: str, it: str) -> None:
        """Just as its row is put back, that is somebody else's."""
        self._lose_worker(host, pid, 1)
        self._go_rounds(4, "", {moment: it})

    @rule(host=hosts, pid=st.sampled_from(PIDS), tie=st.sampled_from([Tie.GROUP, Tie.MARK]))
    def lose_worker_with_child(self, host: str, pid: int, tie: Tie) -> None:
        """What it has begun goes on without it."""
        self._lose_worker(host, pid, 1, children=[tie])
        self._go_rounds(4)

    def _lose_worker(self, host: str, pid: int, ends: int, *, children: list[Tie] | None = None) -> None:
        self.begin_and_claim(host, pid)
        self._go_rounds(3)
        for held in list(self.world.claims.values())[::-1][:ends]:
            held.process.children += (children or []) if held.process.runs else []
            self.world.kill(held.process, "")

    def _go_rounds(self, rounds: int, dog: str = "", happen: Mapping[str, str] = NOTHING) -> None:
        """Let all go on; what happens, happens to one of them, or to whichever is there first."""
        for _ in range(rounds):
            self.world.advance(ROUND_SECONDS)
            for name in self.dogs:
                is_it = dog in ("", name)
                self._do(name, happen if is_it else NOTHING, Dog.go_round)
                happen = self._left if is_it else happen

    @rule(dog=dogs)
    def kill_dog(self, dog: str) -> None:
        """A watchdog is killed."""
        self.dogs[dog].end()

    @rule(dog=dogs)
    def start_dog(self, dog: str) -> None:
        """A watchdog is started, or started anew."""
        self.dogs[dog].end()
        self.dogs[dog].start()

    @rule(dog=dogs)
    def use_ledger(self, dog: str) -> None:
        """The ledger can be used again, or no longer."""
        self.dogs[dog].has_ledger = not self.dogs[dog].has_ledger

    @rule()
    def use_database(self) -> None:
        """The database goes, or comes back."""
        self.world.is_database_down = not self.world.is_database_down

    @rule(dog=dogs)
    def resume(self, dog: str) -> None:
        """A person lets healing go on."""
        if not self.dogs[dog].is_killed:
            resume_all(self.dogs[dog])

    # --- What holds

    @invariant()
    def holds(self) -> None:
        """No live worker loses its row, every reset has two proofs and an intent, and none is beyond the budget."""
        found = self.world.find_faults()
        assert found == [], found
        for dog in self.dogs.values():
            assert dog.is_killed or dog.poller.status.polls["failed"] == 0, dog.poller.error

    def teardown(self) -> None:
        """Let all faults stop and time go on, and see that nothing is left undone."""
        try:
            self._calm_down()
            left = self._settle()
            assert left == [], left
            self.holds()
            for dog in self.dogs.values():
                untrue = find_untrue(dog, self.world)
                assert untrue == [], untrue
        finally:
            self.close()

    def close(self) -> None:
        """Leave nothing behind."""
        for dog in self.dogs.values():
            dog.end()
        self.patch.undo()
        self.folder.cleanup()

    def _do(self, name: str, happen: Mapping[str, str], what: Callable[[Dog], object]) -> None:
        dog = self.dogs[name]
        self._left = happen
        if dog.is_killed:
            return
        other = next(one for one in self.dogs.values() if one is not dog)
        dog.moments = {moment: partial(happen_to, dog, other, it) for moment, it in happen.items()}
        what(dog)
        self._left = {moment: it for moment, it in happen.items() if moment in dog.moments}
        dog.moments, dog.loses_answer = {}, False

    def _calm_down(self) -> None:
        self.world.is_database_down = False
        self.world.silent = set(self.world.lost)
        for host in HOSTS:
            if host not in self.world.lost:
                self.world.bring_back(host)
        for dog in self.dogs.values():
            dog.has_ledger = True
            if dog.is_killed:
                dog.start()
        for host in self.world.lost:
            self.dogs["rex"].retire(host)

    def _settle(self) -> list[Held]:
        """Go on until nothing is due; where the budget of an hour is used up, into the next."""
        due: list[Held] = []
        for _ in range(HOURS):
            for number in range(ROUNDS):
                self.world.advance(ROUND_SECONDS)
                for dog in self.dogs.values():
                    resume_all(dog)
                    dog.go_round()
                due = [
                    held for held in self.world.claims.values() if any(map(partial(_is_due, held), self.dogs.values()))
                ]
                if not due and number > 1 and not self.dogs["rex"].opened.journal.open_intents(QUEUE):
                    return []
            self.world.advance(3600)
        return due


def _is_due(held: Held, dog: Dog) -> bool:
    return dog.is_due(held)
