"""What is remembered of attempts and hosts, so that a later answer can be compared with an earlier one; pure.

A `Sightings` is what is known; a `Learned` is what one round or one poll adds to it. The ledger keeps the same, so that
a restart forgets nothing. Instants are this machine's wall clock; a clock in doubt stops healing, not learning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Self, TypeVar

from exporter.jobs import AttemptKey, QueueName

K = TypeVar("K")
V = TypeVar("V")


def _nothing() -> Mapping[K, V]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """The process of an attempt, once seen alive: on which machine, since which boot, and its start ticks."""

    machine_id: str
    boot_id: str
    pid: int
    start_ticks: int
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot of a machine that answered under a host's name: when first and last."""

    machine_id: str
    boot_id: str
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A person declared a host gone for good."""

    at: datetime
    why: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSighting:
    """What is known of one attempt. `asked_at`: the first round that asked about it and had a usable answer."""

    first_seen_at: datetime
    asked_at: datetime | None = None
    enrolment: Enrolment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a poll or a round adds. Each mapping replaces what is known under its keys; `gone` is forgotten."""

    attempts: Mapping[AttemptKey, AttemptSighting] = field(default_factory=_nothing)
    boots: Mapping[str, tuple[Boot, ...]] = field(default_factory=_nothing)
    proven: frozenset[tuple[QueueName, str]] = frozenset()
    workers: frozenset[tuple[QueueName, str, int]] = frozenset()
    gone: frozenset[AttemptKey] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """All that is remembered.

    `boots`: by configured host, in the order in which they were first seen. `retired`: by recorded host. `proven`:
    (queue, machine id) of each machine on which a worker of that queue was ever enrolled. `workers`: (queue, recorded
    host, pid) of every worker that was ever enrolled, for the breaker only.
    """

    attempts: Mapping[AttemptKey, AttemptSighting] = field(default_factory=_nothing)
    boots: Mapping[str, tuple[Boot, ...]] = field(default_factory=_nothing)
    retired: Mapping[str, Retired] = field(default_factory=_nothing)
    proven: frozenset[tuple[QueueName, str]] = frozenset()
    workers: frozenset[tuple[QueueName, str, int]] = frozenset()

    def learn(self, learned: Learned) -> Self:
        """Return these with what was learned."""
        attempts = {key: known for key, known in self.attempts.items() if key not in learned.gone}
        return replace(
            self,
            attempts=MappingProxyType(attempts | dict(learned.attempts)),
            boots=MappingProxyType({**self.boots, **learned.boots}),
            proven=self.proven | learned.proven,
            workers=self.workers | learned.workers,
        )
