"""What a reset comes to, and the row it is about; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from exporter.jobs import AttemptKey, Claim, DriverValue


class Outcome(StrEnum):
    """What became of one intended reset.

    `lost_race`: the row is there, but is no longer as it was judged. `gone`: the row is no longer there. Both are
    normal. `failed`: nothing was written, as the database refused or did not answer in time. `unknown`: it did not say
    whether it has committed, and the row could not be read again; the next start finds out. `dry_run`: nothing was
    tried.
    """

    RESET = "reset"
    LOST_RACE = "lost_race"
    GONE = "gone"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """How a reset ended; `detail` is for people, and is empty where there is nothing to say.

    `may_be_written`: the row has moved on, and was perhaps put back before; budgets count that.
    """

    key: AttemptKey
    outcome: Outcome
    detail: str = ""
    may_be_written: bool = False

    @property
    def counts(self) -> bool:
        """Whether it has put the row back, as far as can be told."""
        return self.outcome is Outcome.RESET or self.may_be_written


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalRow:
    """A whole row as the driver read it, on the connection that will write; `claim` is what it says now.

    Of PostgreSQL every value is its text, which the server takes back for any type. `is_put_back`: the row is as a
    reset leaves it, whoever did that. `changing`: what a reset changes inside of a value, as it was before.
    """

    claim: Claim
    is_started: bool
    values: Mapping[str, DriverValue]
    is_put_back: bool = False
    changing: Mapping[str, DriverValue] = field(default_factory=lambda: MappingProxyType({}))
