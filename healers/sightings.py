"""What is remembered of attempts and hosts, so that a later answer can be compared with an earlier one; pure.

A `Sightings` is what is known; a `Learned` is what one round or one poll adds to it. The ledger keeps the same, so that
a restart forgets nothing. Instants are this machine's wall clock; a clock in doubt stops healing, not learning.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Self, TypeVar

from exporter.jobs import Attempt, AttemptKey, QueueName

K = TypeVar("K")
V = TypeVar("V")


def _nothing() -> Mapping[K, V]:
    return MappingProxyType({})


def name_boot(machine_id: str | None, boot_id: str) -> str:
    """Name one boot of one machine: two of them are the same only where both ids are."""
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

    `is_reboot`: it began after the last answer of the boot before it, on the same machine. `last_seconds`: this
    machine's boot clock at the last answer; means nothing to another run of this program, and is not kept.
    """

    machine_id: str
    boot_id: str
    first_at: datetime
    last_at: datetime
    is_reboot: bool = False
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
    proven: frozenset[tuple[QueueName, str]] = frozenset()
    workers: frozenset[tuple[QueueName, str, int]] = frozenset()
    gone: frozenset[AttemptKey] = frozenset()
    returned: frozenset[str] = frozenset()

    def then(self, later: Self) -> Self:
        """Return this and what was learned after it, in one."""
        attempts = {key: known for key, known in self.attempts.items() if key not in later.gone}
        return replace(
            self,
            attempts=MappingProxyType({**attempts, **later.attempts}),
            boots=MappingProxyType({**self.boots, **later.boots}),
            proven=self.proven | later.proven,
            workers=self.workers | later.workers,
            gone=(self.gone - later.attempts.keys()) | later.gone,
            returned=self.returned | later.returned,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """All that is remembered.

    `boots`: by configured host, in the order in which they answered; one that comes back is there again, and only the
    last ones are kept. `retired`: by recorded host. `proven`:
    (queue, machine id) of each machine on which a worker of that queue was ever enrolled. `workers`: (queue, recorded
    host, pid) of every worker that was ever enrolled, for the breaker only.
    """

    attempts: Mapping[AttemptKey, AttemptSighting] = field(default_factory=_nothing)
    boots: Mapping[str, tuple[Boot, ...]] = field(default_factory=_nothing)
    retired: Mapping[str, Retired] = field(default_factory=_nothing)
    proven: frozenset[tuple[QueueName, str]] = frozenset()
    workers: frozenset[tuple[QueueName, str, int]] = frozenset()

    def learn(self, learned: Learned) -> Self:
        """Return these with what was learned; what nothing was learned of is not copied."""
        attempts, retired = self.attempts, self.retired
        if learned.attempts or learned.gone:
            kept = {key: known for key, known in attempts.items() if key not in learned.gone}
            attempts = MappingProxyType(kept | dict(learned.attempts))
        if learned.returned:
            retired = MappingProxyType({host: why for host, why in retired.items() if host not in learned.returned})
        return replace(
            self,
            attempts=attempts,
            boots=MappingProxyType({**self.boots, **learned.boots}) if learned.boots else self.boots,
            retired=retired,
            proven=self.proven | learned.proven if learned.proven else self.proven,
            workers=self.workers | learned.workers if learned.workers else self.workers,
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
            attempts=MappingProxyType({**earlier.attempts, **attempts}),
            boots=MappingProxyType({**self.boots, **earlier.boots}),
            retired=MappingProxyType({**earlier.retired, **self.retired}),
            proven=earlier.proven | self.proven,
            workers=earlier.workers | self.workers,
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
    """Return what a poll of `queue` adds: attempts never seen before, and, of a complete one, those that are gone."""
    present = {attempt.key for attempt in started}
    known = {key for key in sightings.attempts if key.queue == queue}
    return Learned(
        attempts=MappingProxyType({key: AttemptSighting(first_seen_at=at) for key in present - known}),
        gone=frozenset(known - present) if is_complete else frozenset(),
    )
