"""Plan what to ask of one host, over all queues at once; pure.

Every started attempt is asked about, not only old ones: seeing a worker alive is what makes its death exact later on.
A recorded host is only ever compared with configured names, exactly and with its case; it is never dialled.
In: a host, the queues' latest readings, what is remembered. Out: a Round; O(started attempts). Raises nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from exporter.jobs import Attempt, AttemptKey, Claim, WorkerSigns

from .probes.protocol import HostAnswer, NoAnswer, Request
from .probes.request import RUN
from .sightings import Sightings


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A configured host, as far as judging needs it.

    `machine_id` is the pinned one. `has_own_namespace`: a person vouches that probe and workers share a PID namespace
    that is not the machine's first.
    """

    name: str
    aliases: frozenset[str] = frozenset()
    machine_id: str | None = None
    has_own_namespace: bool = False

    @property
    def names(self) -> frozenset[str]:
        """All that its workers may record."""
        return self.aliases | {self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the workers of a queue run whose rows record no host (Meltano).

    `workers_on` lists, by configured name, every host that may run one; empty: not known. `project` is the project's
    folder on them. `trusts_heartbeat`: a person accepts a silent heartbeat as proof where no host is listed.
    """

    workers_on: tuple[str, ...] = ()
    workers_user: str | None = None
    project: str | None = None
    trusts_heartbeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A queue's latest reading; `read_seconds` is this machine's boot clock when its first statement answered.

    `owner` is whoever has read it. `by_host`: the attempts by the host that their rows record, so that a round looks at
    no others.
    """

    started: tuple[Attempt, ...]
    signs: WorkerSigns
    read_seconds: float
    placement: Placement | None = None
    owner: object = None
    by_host: Mapping[str | None, Sequence[Attempt]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_host: defaultdict[str | None, list[Attempt]] = defaultdict(list)
        for attempt in self.started:
            by_host[attempt.host].append(attempt)
        object.__setattr__(self, "by_host", MappingProxyType(dict(by_host)))

    def about(self, host: Host) -> Iterator[Attempt]:
        """Yield the attempts whose row names a host; none where rows record none."""
        if self.placement is None:
            for name in host.names & self.by_host.keys():
                yield from self.by_host[name]

    def may_run_on(self, host: Host) -> bool:
        """Tell whether a host is listed for the attempts of a queue whose rows record none."""
        return self.placement is not None and host.name in self.placement.workers_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An attempt that a round asks about, as its `owner` has read it at `read_seconds`."""

    attempt: Attempt
    signs: WorkerSigns
    read_seconds: float
    owner: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One host, and all that is asked of it. `host` is None for the attempts whose host is not configured.

    `attempts` name the host; `runs` name none, and may be anywhere.
    """

    host: Host | None
    request: Request = field(default_factory=Request)
    attempts: Mapping[AttemptKey, Asked] = field(default_factory=lambda: MappingProxyType({}))
    runs: Mapping[AttemptKey, Asked] = field(default_factory=lambda: MappingProxyType({}))

    def asks_about(self, key: AttemptKey) -> bool:
        """Tell whether it is about an attempt."""
        return key in self.attempts or key in self.runs

    def claims(self) -> dict[AttemptKey, Claim]:
        """Return what the rows claimed when this round was planned."""
        return {key: asked.attempt.claim for key, asked in (*self.attempts.items(), *self.runs.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of a round, over a fresh connection or not.

    `at` is the wall clock, `began_seconds` and `ended_seconds` this machine's boot clock before and after asking.
    """

    round: Round
    answer: HostAnswer | NoAnswer
    is_fresh: bool
    at: datetime
    began_seconds: float
    ended_seconds: float


def plan_round(host: Host, watched: Iterable[Watched], sightings: Sightings) -> Round:
    """Plan what to ask of `host`. Where no attempt names it, it is still asked how it is."""
    readings = tuple(watched)
    naming = [(reading, attempts) for reading in readings if (attempts := tuple(reading.about(host)))]
    listing = [reading for reading in readings if reading.may_run_on(host) and reading.started]
    runs = {asked.attempt.key: asked for reading in listing for asked in _ask(reading.started, reading)}
    signs = {reading.signs for reading, _ in naming}
    return Round(
        host=host,
        attempts=MappingProxyType(
            {asked.attempt.key: asked for reading, attempts in naming for asked in _ask(attempts, reading)}
        ),
        runs=MappingProxyType(runs),
        request=Request(
            pids=_pids((attempt for _, attempts in naming for attempt in attempts), sightings),
            runs=frozenset(filter(None, (run_id_of(asked.attempt) for asked in runs.values()))),
            worker_marks=_worker_marks(signs),
            child_marks=frozenset(mark for one in signs for mark in one.child_marks if mark),
            folders=_folders(listing),
        ),
    )


def plan_unplaced(hosts: Iterable[Host], watched: Iterable[Watched]) -> Round:
    """Gather the attempts that name no configured host: nobody can be asked about them."""
    names = frozenset(name for host in hosts for name in host.names)
    attempts = {
        asked.attempt.key: asked
        for reading in watched
        if reading.placement is None
        for host, naming in reading.by_host.items()
        if host not in names
        for asked in _ask(naming, reading)
    }
    return Round(host=None, attempts=MappingProxyType(attempts))


def run_id_of(attempt: Attempt) -> str | None:
    """Return the run's id, if it is one: only that is ever sent to a host."""
    run_id = attempt.detail.get("run_id")
    return run_id if isinstance(run_id, str) and RUN.fullmatch(run_id) else None


def find_duplicates(answers: Mapping[str, HostAnswer]) -> frozenset[str]:
    """Name the configured hosts that cannot be told from another: clones, or one machine under two names.

    The same host key or machine-id; or the same boot in the same PID namespace: guests that share a kernel share the
    boot, and are told apart by their namespaces.
    """
    holders: defaultdict[tuple[str, object], set[str]] = defaultdict(set)
    for name, answer in answers.items():
        marks: tuple[tuple[str, object], ...] = (
            ("host_key", answer.host_key),
            ("machine_id", answer.machine_id),
            ("boot", (answer.boot_id, answer.pid_namespace)),
        )
        for kind, value in marks:
            if value is not None:
                holders[kind, value].add(name)
    return frozenset(name for names in holders.values() if len(names) > 1 for name in names)


def _ask(attempts: Iterable[Attempt], reading: Watched) -> Iterator[Asked]:
    for attempt in attempts:
        yield Asked(attempt=attempt, signs=reading.signs, read_seconds=reading.read_seconds, owner=reading.owner)


def _pids(attempts: Iterable[Attempt], sightings: Sightings) -> Mapping[int, frozenset[int]]:
    pids: defaultdict[int, set[int]] = defaultdict(set)
    for attempt in attempts:
        if attempt.pid is None:
            continue
        ticks = pids[attempt.pid]
        known = sightings.attempts.get(attempt.key)
        if known and known.enrolment:
            ticks.add(known.enrolment.start_ticks)
    return MappingProxyType({pid: frozenset(ticks) for pid, ticks in pids.items()})


def _worker_marks(signs: Iterable[WorkerSigns]) -> frozenset[str]:
    """Choose one word of each command, the longest: other people's command lines are none of our business."""
    commands = {words for one in signs for words in one.commands if words}
    return frozenset(filter(None, (max((word.removeprefix("*") for word in words), key=len) for words in commands)))


def _folders(readings: Iterable[Watched]) -> frozenset[str]:
    placements = (reading.placement for reading in readings)
    return frozenset(one.project for one in placements if one is not None and one.project)
