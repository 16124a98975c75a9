"""What is remembered of attempts and hosts, so that a later answer can be compared with an earlier one; pure.

A `Sightings` is what is known; a `Learned` is what one round or one poll adds to it. The ledger keeps the same, so that
a restart forgets nothing. Instants are this machine's wall clock; a clock in doubt stops healing, not learning.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self, TypeAlias, TypeVar

from exporter.jobs import Attempt, AttemptKey, QueueName

from .remembered import ByQueue, Latest

Machine: TypeAlias = tuple[QueueName, str]
Worker: TypeAlias = tuple[QueueName, str, int]

MACHINES_REMEMBERED: Final = 1_000
WORKERS_REMEMBERED: Final = 1_000
UNSEEN_REMEMBERED: Final = 20_000
"""Of each queue: what is forgotten can only keep a job from being put back, never let one be."""

K = TypeVar("K")
V = TypeVar("V")


def _nothing() -> Mapping[K, V]:
    return MappingProxyType({})


def latest_machines(machines: Iterable[Machine] = ()) -> Latest[Machine]:
    """Return those that are remembered of these, of which the latest are the last."""
    return machines if isinstance(machines, Latest) else Latest(machines, most=MACHINES_REMEMBERED)


def latest_workers(workers: Iterable[Worker] = ()) -> Latest[Worker]:
    """Return those that are remembered of these, of which the latest are the last."""
    return workers if isinstance(workers, Latest) else Latest(workers, most=WORKERS_REMEMBERED)


def name_boot(machine_id: str | None, boot_id: str) -> str:
    """Name one boot of one machine: two of them are the same only where both ids are (`machines.boot_of`)."""
    return f"{machine_id or ''}/{boot_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """The process of an attempt, once seen alive: on which machine, since which boot, and its start ticks.

    `machine_id` is empty where the machine has none.
    """

    machine_id: str
    boot_id: str
    pid: int
    start_ticks: int
    seen_at: datetime

    @property
    def boot(self) -> str:
        """The boot it was seen in, named."""
        return name_boot(self.machine_id, self.boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot of a machine that answered under a host's name: when first and last.

    `is_reboot`: it began after the last answer of the boot before it, on the same machine. `first_seconds` and
    `last_seconds`: this machine's boot clock at these answers; mean nothing to another run of this program, and are not
    kept.
    """

    machine_id: str
    boot_id: str
    first_at: datetime
    last_at: datetime
    is_reboot: bool = False
    first_seconds: float | None = None
    last_seconds: float | None = None

    @property
    def name(self) -> str:
        """The machine and the boot, in one."""
        return name_boot(self.machine_id, self.boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A person declared a host gone for good."""

    at: datetime
    why: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSighting:
    """What is known of one attempt.

    `asked_at`: the first round that asked about it and had a usable answer. `boots`: the names of the boots that
    answered such rounds, in turn: the first, and the last few.
    """

    first_seen_at: datetime
    asked_at: datetime | None = None
    enrolment: Enrolment | None = None
    boots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a poll or a round adds. Each mapping replaces what is known under its keys; `gone` is forgotten.

    `returned`: recorded hosts that answered although they had been retired; they are retired no more.
    """

    attempts: Mapping[AttemptKey, AttemptSighting] = field(default_factory=_nothing)
    boots: Mapping[str, tuple[Boot, ...]] = field(default_factory=_nothing)
    proven: AbstractSet[Machine] = frozenset()
    workers: AbstractSet[Worker] = frozenset()
    gone: frozenset[AttemptKey] = frozenset()
    returned: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """All that is remembered.

    `attempts`: of those that are started, by their queues' latest polls. `boots`: by configured host, in the order in
    which they answered; one that comes back is there again, and only the last ones are kept. `retired`: by recorded
    host. `proven`: (queue, machine id) of the machines on which a worker of that queue was enrolled. `workers`: (queue,
    recorded host, pid) of the workers that were enrolled, for the breaker only. Of both, the latest of each queue.
    """

    attempts: Mapping[AttemptKey, AttemptSighting] = field(default_factory=ByQueue)
    boots: Mapping[str, tuple[Boot, ...]] = field(default_factory=_nothing)
    retired: Mapping[str, Retired] = field(default_factory=_nothing)
    proven: AbstractSet[Machine] = field(default_factory=latest_machines)
    workers: AbstractSet[Worker] = field(default_factory=latest_workers)

    def of(self, queue: QueueName) -> Mapping[AttemptKey, AttemptSighting]:
        """Return the attempts of one queue, in the order in which they were first seen."""
        return ByQueue.split(self.attempts).of(queue)

    def learn(self, learned: Learned) -> Self:
        """Return these with what was learned; what nothing was learned of is not copied."""
        attempts, retired = self.attempts, self.retired
        if learned.attempts or learned.gone:
            attempts = ByQueue.split(attempts).changed(learned.attempts, gone=learned.gone)
        if learned.returned:
            retired = MappingProxyType({host: why for host, why in retired.items() if host not in learned.returned})
        return replace(
            self,
            attempts=attempts,
            boots=MappingProxyType({**self.boots, **learned.boots}) if learned.boots else self.boots,
            retired=retired,
            proven=latest_machines(self.proven).added(learned.proven) if learned.proven else self.proven,
            workers=latest_workers(self.workers).added(learned.workers) if learned.workers else self.workers,
        )

    def on_top_of(self, earlier: Self) -> Self:
        """Return these with what an earlier run has seen.

        Of hosts and attempts that it knew, what was asked since is forgotten, as it was understood without that: the
        next round tells whether a host has rebooted meanwhile, or is another.
        """
        unasked = {key: replace(known, asked_at=None, boots=()) for key, known in self.attempts.items()}
        attempts = {
            key: merge(earlier.attempts.get(key), unasked[key] if key in earlier.attempts else known)
            for key, known in self.attempts.items()
        }
        return replace(
            self,
            attempts=ByQueue.split(earlier.attempts).changed(attempts),
            boots=MappingProxyType({**self.boots, **earlier.boots}),
            retired=MappingProxyType({**earlier.retired, **self.retired}),
            proven=latest_machines(earlier.proven).added(self.proven),
            workers=latest_workers(earlier.workers).added(self.workers),
        )


class Unkept:
    """What was learned and is not in the ledger yet; holds no more than what is remembered. For one thread at a time.

    What is gone it may forget: a restart finds that out by itself.
    """

    def __init__(self) -> None:
        self._attempts: dict[AttemptKey, AttemptSighting] = {}
        self._boots: dict[str, tuple[Boot, ...]] = {}
        self._proven, self._workers = latest_machines(), latest_workers()
        self._gone: set[AttemptKey] = set()
        self._returned: set[str] = set()

    def add(self, later: Learned) -> None:
        """Add what was learned after all that is here."""
        for key in later.gone:
            self._attempts.pop(key, None)
        self._attempts.update(later.attempts)
        self._boots.update(later.boots)
        self._proven = self._proven.added(later.proven)
        self._workers = self._workers.added(later.workers)
        self._gone.difference_update(later.attempts)
        self._gone.update(later.gone)
        if len(self._gone) > UNSEEN_REMEMBERED:
            self._gone.clear()
        self._returned.update(later.returned)

    def as_one(self) -> Learned:
        """Return all of it; nothing is to be added afterwards."""
        return Learned(
            attempts=MappingProxyType(self._attempts),
            boots=MappingProxyType(self._boots),
            proven=self._proven,
            workers=self._workers,
            gone=frozenset(self._gone),
            returned=frozenset(self._returned),
        )


def merge(earlier: AttemptSighting | None, later: AttemptSighting) -> AttemptSighting:
    """Return what two have seen of one attempt.

    A boot that is left out could hide that there are two machines; and who was enrolled first is who took the job.
    """
    if earlier is None:
        return later
    asked = [at for at in (earlier.asked_at, later.asked_at) if at is not None]
    boots = later.boots
    if not set(earlier.boots) <= set(boots):
        boots = (*(boot for boot in earlier.boots if boot not in boots), *boots)
    return AttemptSighting(
        first_seen_at=min(earlier.first_seen_at, later.first_seen_at),
        asked_at=min(asked, default=None),
        enrolment=earlier.enrolment or later.enrolment,
        boots=boots,
    )


def notice(
    started: Iterable[Attempt], sightings: Sightings, *, queue: QueueName, at: datetime, is_complete: bool
) -> Learned:
    """Return what a poll of `queue` adds: attempts never seen before, and those that are gone.

    Whether an attempt is gone tells a complete poll. After others, what they left out stays known, but not without end:
    of that the latest. Nothing is first seen before a retirement that was known by then, however the clock was set.
    """
    present = {attempt.key for attempt in started}
    known = sightings.of(queue)
    unseen = [] if known.keys() <= present else [key for key in known if key not in present]
    first_seen_at = max([at, *(retired.at for retired in sightings.retired.values())])
    return Learned(
        attempts=MappingProxyType(
            {key: AttemptSighting(first_seen_at=first_seen_at) for key in present - known.keys()}
        ),
        gone=frozenset(unseen if is_complete else unseen[:-UNSEEN_REMEMBERED]),
    )
