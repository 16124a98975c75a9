"""All that the guards look at, as it is now; pure. What is not known is None, and a guard that meets it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from exporter.jobs import AttemptKey, JobId, QueueName, Role

from .breaker import BreakerState
from .options import HealingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody runs `heal`: mode, window and hourly rate do not hold, and `limit` does.

    `jobs`: those named with `--job`, which alone lifts a quarantine. `is_applied`: `--apply`; without it the plan is
    only shown, before a second proof and without the lock. `commanded_at`: when the command began. `vouched`:
    those that were shown as unknown before the person said yes; their word holds for no other. None: nothing was shown.
    """

    commanded_at: datetime
    is_applied: bool
    limit: int | None = None
    jobs: frozenset[JobId] = frozenset()
    accepts_unknown: bool = False
    vouched: frozenset[AttemptKey] | None = None

    def vouches_for(self, key: AttemptKey) -> bool:
        """Tell whether this person says of an unknown attempt that its worker is gone."""
        return self.accepts_unknown and (self.vouched is None or key in self.vouched)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """How the watched database does.

    `is_answering`: the last poll succeeded. `came_back_at`: the first poll that did after the last outage; None where
    there was none since watching began. `poll_interval` is the one in force. `has_new_schema`: the schema is not the
    one of the poll before.
    """

    role: Role | None
    is_answering: bool | None
    came_back_at: datetime | None
    poll_interval: timedelta
    has_new_schema: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """How far clocks moved against each other since the last pass, or since the start where there was none.

    `drift`: this machine's wall clock against its boot clock. `offset_jump`: the database's clock against this one.
    """

    drift: timedelta | None
    offset_jump: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of one queue and of all that healing it rests on.

    `now` and `read_at`, when the attempts were read, are this machine's clock. `resets_last_hour` comes from the
    journal, and `planned` counts those that the plan being made already holds. `loads`: by configured host, the load
    average of one minute per processor. `pause_detail`: who paused, when and why.
    """

    queue: QueueName
    now: datetime
    read_at: datetime
    options: HealingOptions
    is_paused: bool | None
    pause_detail: str = ""
    resets_last_hour: int | None
    breaker: BreakerState | None
    database: Database
    clocks: Clocks
    is_ledger_usable: bool | None
    has_lock: bool | None
    loads: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    by_person: Person | None = None
    planned: int = 0

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing will be written, whatever the plan says."""
        if self.by_person is not None:
            return not self.by_person.is_applied
        return self.options.mode == "dry_run"
