"""What really happened to every worker, by the log of those who watched over it; pure.

Each line was written before what it tells, so a worker is taken for dead from the first line that ends it: it may have
lived a moment longer, which no proof of its death can be. Whoever is born while a host loses its power is dead once
it is off. What a worker left at work counts as its life.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

NEVER: Final = float("inf")
ENDINGS: Final = frozenset({"killed", "crashing", "exiting", "failing", "ended"})


@dataclass(slots=True, kw_only=True)
class Life:
    """One worker: seconds of the machine's clock. `children` are the spans of what it left at work."""

    name: str
    host: str
    pid: int
    born_at: float
    is_idle: bool
    dead_at: float = NEVER
    why: str = ""
    children: list[list[float]] = field(default_factory=list)
    stopped: int = 0

    @property
    def over_at(self) -> float:
        """When it and its children had ended."""
        return max([self.dead_at, *(ended for _, ended in self.children)])

    def is_alive_at(self, at: float) -> bool:
        """Tell whether it, or what it has left, lived then."""
        return self.born_at <= at < self.over_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job in the hands of a worker, from when it knew of it until it finished or died."""

    job: str
    worker: str
    began_at: float
    ended_at: float


@dataclass(slots=True, kw_only=True)
class Truth:
    """All lives by name, all work, and the jobs that were finished, as the workers know it."""

    lives: dict[str, Life] = field(default_factory=dict)
    work: list[Work] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    reused: int = 0


def read_truth(lines: Iterable[str]) -> Truth:
    """Read the log of one host."""
    truth = Truth()
    began: dict[tuple[str, str], float] = {}
    for event in _events(lines):
        at, what, name = event["at"], event["what"], event.get("worker", "")
        if what == "born":
            host = name.split(".")[0]
            life = Life(name=name, host=host, pid=event["pid"], born_at=at, is_idle=event["is_idle"])
            truth.lives[name] = life
        elif what in ("power off", "is off"):
            for life in truth.lives.values():
                _lose_power(life, at)
        elif what == "reused":
            truth.reused += 1
        elif name in truth.lives:
            _follow(truth, truth.lives[name], event, began)
    for (job, name), begin_at in began.items():
        truth.work.append(Work(job=job, worker=name, began_at=begin_at, ended_at=truth.lives[name].dead_at))
    return truth


def join(truths: Iterable[Truth]) -> Truth:
    """Put what is known of several hosts together."""
    whole = Truth()
    for truth in truths:
        whole.lives |= truth.lives
        whole.work += truth.work
        whole.finished |= truth.finished
        whole.reused += truth.reused
    return whole


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines if line.strip())


def _follow(truth: Truth, life: Life, event: dict[str, Any], began: dict[tuple[str, str], float]) -> None:
    at, what, job = event["at"], event["what"], event.get("job", "")
    match what:
        case "child born":
            life.children.append([at, NEVER])
        case "child ending":
            for child in life.children:
                child[1] = min(child[1], at)
        case "stopped":
            life.stopped += 1
        case "working":
            began[(job, life.name)] = at
        case "finishing":
            begin_at = began.pop((job, life.name))
            truth.work.append(Work(job=job, worker=life.name, began_at=begin_at, ended_at=at))
        case "finished":
            truth.finished.add(job)
    if what in ENDINGS and at < life.dead_at:
        life.dead_at, life.why = at, what


def _lose_power(life: Life, at: float) -> None:
    if life.dead_at == NEVER:
        life.dead_at, life.why = at, "power off"
    for child in life.children:
        child[1] = min(child[1], at)
