"""A world for healing: machines with worker processes, one job table, clocks that can be set, and what truly happened.

Time passes only when it is told to. What a watchdog does is seen here and compared with the truth: what is wrong is
kept in `violations`, since a poll or a round of the watchdog would swallow an exception.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol

from exporter.jobs import AttemptKey, JobId, QueueName
from exporter.queues.matomo.queue import SIGNS
from exporter.queues.memory import MemoryJob, MemoryQueue
from healers.options import HealingOptions
from healers.resets.memory import MemoryReset

from .healing_hosts import ARCHIVER, Machine, Process

BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUEUE = QueueName("q")
HOSTS = ("web1", "web2", "web3")
LOSABLE = "web3"
PIDS = (100, 101, 102)
LONG_UP = 10 * 86_400.0
HOUR = 3600.0
OPTIONS = HealingOptions.model_validate(
    {
        "mode": "reset",
        "max_resets_per_hour": 4,
        "max_resets_per_job": {"resets": 2, "within": "24h"},
        "breaker": {"min_hosts": 2},
    }
)


@dataclass(eq=False, slots=True, kw_only=True)
class Held:
    """A claim of a row as it truly is: by which process, on which machine, and what can make its death hard to prove.

    `seen_by`: the watchdogs that know the worker from when it was alive. `is_clear`: no clock was set, no machine
    replaced and none suspended while it was held, so that there is nothing that a watchdog could have in doubt.
    """

    key: AttemptKey
    process: Process
    machine: Machine
    boot_id: str
    host: str
    at: float
    seen_by: set[str] = field(default_factory=set)
    is_seen_durably: bool = False
    is_clear: bool = True
    is_fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """A row that was truly put back by a watchdog."""

    key: AttemptKey
    at: float
    intent: int


class Clocked(Protocol):
    """Somebody with clocks of its own."""

    def now(self) -> datetime: ...

    def boottime_seconds(self) -> float: ...


class World:
    """All that is not a watchdog."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.database_ahead = 0.0
        self.walls: dict[str, float] = {}
        self.has_skewed_walls = False
        self.walls_set = 0
        self.is_database_down = False
        self.table = MemoryQueue(QUEUE, now=self.database_now, signs=SIGNS)
        self.holders: list[MemoryReset] = []
        self.silent: set[str] = set()
        self.lost: set[str] = set()
        self.there: set[int] = set()
        self.claims: dict[int, Held] = {}
        self.put_back: list[PutBack] = []
        self.released: set[AttemptKey] = set()
        self.violations: list[str] = []
        self.acting: Clocked | None = None
        self._numbers = count(1)
        self.originals = {name: self._machine(name) for name in HOSTS}
        self.hosts = dict(self.originals)

    def database_now(self) -> datetime:
        """Return the database's clock."""
        return BEGAN + timedelta(seconds=self.seconds + self.database_ahead)

    def monotonic_seconds(self) -> float:
        """Return the clock by which everything here waits."""
        return self.seconds

    def wall(self) -> datetime:
        """Return the wall clock of whoever acts."""
        assert self.acting is not None
        return self.acting.now()

    def boottime_seconds(self) -> float:
        """Return the boot clock of whoever acts."""
        assert self.acting is not None
        return self.acting.boottime_seconds()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    # --- Rows

    def enqueue(self) -> None:
        """Add a waiting row."""
        self.there.add(self.table.enqueue())

    def waiting(self) -> list[int]:
        """Return the rows that wait."""
        return [number for number, job in self.table.jobs.items() if not job.is_started]

    def claim(self, host: str, process: Process, job: int) -> None:
        """Let a worker take a waiting row."""
        self.table.start(job, host=host, pid=process.pid)
        row, machine = self.table.jobs[job], self.hosts[host]
        self.claims[job] = Held(
            key=key_of(row), process=process, machine=machine, boot_id=machine.boot_id, host=host, at=self.seconds
        )

    def finish(self, job: int) -> None:
        """Let a row be done, by its worker or by whoever cleans up."""
        self.table.finish(job)
        self.there.discard(job)
        self.claims.pop(job, None)

    def release(self, job: int) -> None:
        """Let a person put a row back, without asking anybody."""
        self.table.release(job)
        held = self.claims.pop(job, None)
        if held is not None:
            self.released.add(held.key)

    def claim_again(self, job: int) -> None:
        """Let another worker with the very same host and pid take a row that was put back by hand."""
        held = self.claims.get(job)
        if held is None or self.originals[held.host] is not held.machine or held.process.is_at_work:
            return
        held.process.states = ""
        process = held.machine.begin(held.process.pid, self.seconds)
        if process is not None:
            self.release(job)
            self.claim(held.host, process, job)

    def workers(self, *, runs: bool = True) -> list[tuple[str, Process]]:
        """Return the workers behind each name, those that run or those that left something."""
        found = [(name, one) for name, machine in self.hosts.items() for one in machine.processes]
        return [(name, one) for name, one in found if (one.runs if runs else not one.runs)]

    # --- Processes and machines

    def begin(self, host: str, pid: int, *, argv: tuple[str, ...] | None = ARCHIVER) -> Process | None:
        """Begin a process on the machine behind a name, where the pid is free."""
        self.advance(1)
        if host in self.lost or (argv and self.hosts[host] is not self.originals[host]):
            return None
        return self.hosts[host].begin(pid, self.seconds, argv=argv)

    def kill(self, process: Process, states: str) -> None:
        """End a process: at once, or as a zombie until somebody reaps it."""
        process.states = states
        if not process.children:
            process.ended_at = process.ended_at or self.seconds

    def end_children(self, process: Process) -> None:
        """Let the children of a process be done."""
        process.children = []
        if not process.runs:
            process.ended_at = self.seconds

    def reboot(self, host: str) -> None:
        """Let the machine behind a name go down and come up again, which takes a while; but see `replace`."""
        machine, first = self.hosts[host], self.originals[host]
        if machine is not first and machine.machine_id == first.machine_id:
            return
        machine.end_all(self.seconds)
        self.advance(20)
        machine.boot(next(self._numbers), self.seconds)
        if self.has_skewed_walls:
            self._cloud(lambda held: held.machine is machine)

    def replace(self, host: str, *, is_clone: bool, survives: bool) -> None:
        """Let another machine answer under a name: a copy with the same machine-id, or a machine of its own.

        What nobody can tell is left out (docs/decisions/0011): a copy that came up since the last answer while the
        first machine lives on, which looks like a reboot (so no copy reboots meanwhile), and two machines that both
        take jobs under one name.
        """
        first = self.hosts[host]
        other = self._machine(host, booted_at=self.seconds - LONG_UP)
        if is_clone:
            other.machine_id = first.machine_id
        if not survives:
            self.originals[host].end_all(self.seconds)
            self.originals[host] = other
        self.hosts[host] = other
        self._cloud(lambda held: held.host == host)

    def bring_back(self, host: str) -> None:
        """Let the first machine answer again under its name."""
        if self.hosts[host] is not self.originals[host]:
            self.hosts[host] = self.originals[host]
            self._cloud(lambda held: held.host == host)

    def suspend(self, host: str, seconds: float) -> None:
        """Let a machine stand still while the others go on."""
        self.hosts[host].suspend(seconds)
        self.advance(seconds)
        for held in self.claims.values():
            held.is_fresh &= held.machine is not self.hosts[host]

    def lose(self) -> None:
        """Let a host go for good, with all that ran there."""
        self.bring_back(LOSABLE)
        for held in self.claims.values():
            held.is_clear &= held.host != LOSABLE or not self.has_skewed_walls
        self.hosts[LOSABLE].end_all(self.seconds)
        self.advance(1)
        self.lost.add(LOSABLE)
        self.silent.add(LOSABLE)

    # --- Clocks

    def set_database_clock(self, seconds: float) -> None:
        """Set the database's clock; never so that a row could be claimed twice at the very same instant."""
        self.database_ahead += seconds + 0.001 * next(self._numbers)
        self._cloud(lambda _: True)

    def set_wall_clock(self, dog: str, seconds: float) -> None:
        """Set the wall clock of a watchdog's machine."""
        self.walls[dog] = self.walls.get(dog, 0.0) + seconds
        self.has_skewed_walls = True
        self.walls_set += 1
        for held in self.claims.values():
            has_changed = held.machine.boot_id != held.boot_id or held.host in self.lost
            held.is_clear &= not has_changed
            held.is_fresh = False

    def _cloud(self, chosen: Callable[[Held], bool]) -> None:
        for held in self.claims.values():
            if chosen(held):
                held.is_clear = False

    def _machine(self, name: str, *, booted_at: float = -1000.0) -> Machine:
        number = next(self._numbers)
        return Machine(number, machine_id=f"{number:032x}" if name else "", booted_at=booted_at)

    # --- The truth

    def note_change(self, key: AttemptKey, before: MemoryJob, *, intent: int, ended_before: float | None) -> None:
        """Take notice of a row that a watchdog has changed; `ended_before`: when its first proof was taken."""
        job, row = int(key.job_id), self.table.jobs.get(int(key.job_id))
        held = self.claims.pop(job, None)
        if row != MemoryJob(id=job, kind=before.kind, enqueued_at=before.enqueued_at):
            self.violations.append(f"{key}: was not put back but made into {row}")
        if held is None or held.key != key:
            self.violations.append(f"{key}: is not what the row claimed, which is {held}")
            return
        if held.process.is_at_work:
            self.violations.append(f"{key}: its worker or a child of it is at work: {held.process}")
        elif ended_before is None or held.process.ended_at is None or ended_before < held.process.ended_at:
            self.violations.append(f"{key}: has no two proofs after {held.process.ended_at}")
        self.put_back.append(PutBack(key=key, at=self.seconds, intent=intent))

    def find_faults(self) -> list[str]:
        """Return everything that is wrong now: rows, budgets, and what was noticed before."""
        found = list(self.violations)
        if set(self.table.jobs) != self.there:
            found.append(f"rows: {sorted(self.table.jobs)}, not {sorted(self.there)}")
        # Where walls are set, or two of them differ, a budget of an hour is one of an hour on each of them.
        times = 1 + self.walls_set
        for last in self.put_back:
            recent = [one for one in self.put_back if last.at - HOUR < one.at <= last.at]
            if len(recent) > OPTIONS.max_resets_per_hour * times:
                found.append(f"{len(recent)} resets within an hour at {last.at}")
            same = [one for one in recent if one.key.job_id == last.key.job_id]
            if len(same) > OPTIONS.max_resets_per_job.resets * times:
                found.append(f"job {last.key.job_id}: {len(same)} resets")
        return found


def key_of(row: MemoryJob) -> AttemptKey:
    """Return the key of a started row."""
    return AttemptKey(
        queue=QUEUE, job_id=JobId(str(row.id)), started=row.started_at, host=row.host, pid_text=row.pid_text
    )
