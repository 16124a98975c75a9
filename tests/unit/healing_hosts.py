"""Simulated machines and their processes, which answer what a probe would."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from healers.machines import INITIAL_PID_NAMESPACE
from healers.probes.protocol import HostAnswer, Presence, ProcessAnswer, Relative, Request, Tie

ARCHIVER = ("php", "/srv/matomo/console", "core:archive")


@dataclass(eq=False, slots=True, kw_only=True)
class Process:
    """A process that was once begun; `states` is empty once nothing of it is left. Its children can outlive it."""

    pid: int
    ticks: int
    argv: tuple[str, ...] | None
    states: str = "S"
    children: list[Tie] = field(default_factory=list)
    ended_at: float | None = None

    @property
    def runs(self) -> bool:
        """Whether it has not ended; one that is stopped has not."""
        return self.states in ("S", "T")

    @property
    def is_at_work(self) -> bool:
        """Whether it, or a child of it, can still work on its jobs."""
        return self.runs or bool(self.children)


class Machine:
    """A machine with its processes; its own clock says how long it is up, and stands still while it is suspended."""

    def __init__(self, number: int, *, machine_id: str, booted_at: float) -> None:
        self.machine_id = machine_id
        self.processes: list[Process] = []
        self.boot_id = f"boot-{number}"
        self._booted_at = booted_at

    def uptime(self, seconds: float) -> float:
        """Return for how long it is up."""
        return seconds - self._booted_at

    def suspend(self, seconds: float) -> None:
        """Stand still for so long."""
        self._booted_at += seconds

    def boot(self, number: int, seconds: float) -> None:
        """Come up with no process left."""
        self.end_all(seconds)
        self.processes = []
        self.boot_id, self._booted_at = f"boot-{number}", seconds

    def begin(self, pid: int, seconds: float, *, argv: tuple[str, ...] | None = ARCHIVER) -> Process | None:
        """Begin a process under this pid; None where that is taken, by a process or as the group of children."""
        for one in self.processes:
            if one.pid == pid and (one.states or Tie.GROUP in one.children):
                return None
        process = Process(pid=pid, ticks=int(self.uptime(seconds) * 100), argv=argv)
        self.processes.append(process)
        return process

    def has_children_of(self, pid: int) -> bool:
        """Tell whether a child of any process that ever had this pid is at work: whose it is, nobody can tell."""
        return any(one.children for one in self.processes if one.pid == pid)

    def end_all(self, seconds: float) -> None:
        """End whatever runs."""
        for one in self.processes:
            if one.is_at_work:
                one.children, one.ended_at = [], seconds
            one.states = ""

    def answer(self, request: Request, name: str, seconds: float) -> HostAnswer:
        """Say what a probe would: all of each asked pid, and of what can outlive its worker."""
        there = {one.pid: one for one in self.processes if one.states}
        return HostAnswer(
            hostname=name,
            machine_id=self.machine_id,
            boot_id=self.boot_id,
            uptime=timedelta(seconds=self.uptime(seconds)),
            clock_ticks=100,
            pid_max=4_194_304,
            pid_namespace=INITIAL_PID_NAMESPACE,
            proc_options=frozenset({"rw"}),
            sees_foreign=True,
            user="queuemedic",
            uid=998,
            load_average=0.1,
            processors=2,
            has_looked_through=True,
            processes={pid: _say(pid, there.get(pid)) for pid in request.pids},
            relatives=tuple(self._relatives(request)),
            host_key=f"key of {name}",
        )

    def _relatives(self, request: Request) -> Iterator[Relative]:
        numbers = count(1000)
        for one in self.processes:
            for tie in one.children:
                if tie is Tie.MARK:
                    argv = ("php", "climulti:request", f"module=API&runid={one.pid}")
                    yield Relative(pid=next(numbers), tie=tie, argv=argv)
                elif one.pid in request.pids:
                    yield Relative(pid=next(numbers), tie=tie, asked_pid=one.pid)


def _say(pid: int, process: Process | None) -> ProcessAnswer:
    if process is None:
        return ProcessAnswer(pid=pid, presence=Presence.ABSENT)
    argv = process.argv if process.runs else None
    return ProcessAnswer(
        pid=pid, presence=Presence.PRESENT, start_ticks=process.ticks, states=process.states, name="php", argv=argv
    )
