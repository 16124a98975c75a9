"""Plan what to ask of one host, over all queues at once; pure.

Every started attempt is asked about, not only old ones: seeing a worker alive is what makes its death exact later on.
A recorded host is only ever compared with configured names, exactly and with its case; it is never dialled.
In: a host, the queues' latest readings, what is remembered. Out: a Round; O(started attempts). Raises nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
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
    """A queue's latest reading; `read_seconds` is this machine's boot clock when its first statement answered."""

    started: tuple[Attempt, ...]
    signs: WorkerSigns
    read_seconds: float
    placement: Placement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An attempt that a round asks about, as it was read at `read_seconds`."""

    attempt: Attempt
    signs: WorkerSigns
    read_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One host, and all that is asked of it. `host` is None for the attempts whose host is not configured.

    `attempts` name the host; `runs` name none, and may be anywhere.
    """

    host: Host | None
    request: Request = field(default_factory=Request)
    attempts: Mapping[AttemptKey, Asked] = field(default_factory=lambda: MappingProxyType({}))
    runs: Mapping[AttemptKey, Asked] = field(default_factory=lambda: MappingProxyType({}))

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
    attempts = {
        asked.attempt.key: asked
        for reading in readings
        for asked in _asked(reading)
        if reading.placement is None and asked.attempt.host in host.names
    }
    runs = {
        asked.attempt.key: asked
        for reading in readings
        if reading.placement is not None and host.name in reading.placement.workers_on
        for asked in _asked(reading)
    }
    return Round(
        host=host,
        attempts=MappingProxyType(attempts),
        runs=MappingProxyType(runs),
        request=Request(
            pids=_pids(attempts.values(), sightings),
            runs=frozenset(filter(None, (run_id_of(asked.attempt) for asked in runs.values()))),
            worker_marks=_worker_marks(attempts.values()),
            child_marks=frozenset(mark for asked in attempts.values() for mark in asked.signs.child_marks if mark),
            folders=_folders(readings, host) if runs else frozenset(),
        ),
    )


def plan_unplaced(hosts: Iterable[Host], watched: Iterable[Watched]) -> Round:
    """Gather the attempts that name no configured host: nobody can be asked about them."""
    names = frozenset(name for host in hosts for name in host.names)
    attempts = {
        asked.attempt.key: asked
        for reading in watched
        if reading.placement is None
        for asked in _asked(reading)
        if asked.attempt.host not in names
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


def _asked(reading: Watched) -> Iterator[Asked]:
    for attempt in reading.started:
        yield Asked(attempt=attempt, signs=reading.signs, read_seconds=reading.read_seconds)


def _pids(attempts: Iterable[Asked], sightings: Sightings) -> Mapping[int, frozenset[int]]:
    pids: defaultdict[int, set[int]] = defaultdict(set)
    for asked in attempts:
        if asked.attempt.pid is None:
            continue
        ticks = pids[asked.attempt.pid]
        known = sightings.attempts.get(asked.attempt.key)
        if known and known.enrolment:
            ticks.add(known.enrolment.start_ticks)
    return MappingProxyType({pid: frozenset(ticks) for pid, ticks in pids.items()})


def _worker_marks(attempts: Iterable[Asked]) -> frozenset[str]:
    """Choose one word of each command, the longest: other people's command lines are none of our business."""
    commands = {words for asked in attempts for words in asked.signs.commands if words}
    return frozenset(filter(None, (max((word.removeprefix("*") for word in words), key=len) for words in commands)))


def _folders(readings: Iterable[Watched], host: Host) -> frozenset[str]:
    placements = (reading.placement for reading in readings if reading.placement is not None)
    return frozenset(one.project for one in placements if one.project and host.name in one.workers_on)
