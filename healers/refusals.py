"""Why an attempt is not put back: a reason for machines, and a detail for people; pure."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from exporter.jobs import AttemptKey
from exporter.options import show_duration

from .candidates import Candidate


class RefusalReason(StrEnum):
    """One for each guard, in the order in which they are asked."""

    UNKNOWN = "unknown"
    LEDGER = "ledger"
    PAUSED = "paused"
    DISABLED = "disabled"
    CLOCK = "clock"
    REPLICA = "replica"
    OUTAGE = "outage"
    SCHEMA_CHANGED = "schema_changed"
    BREAKER = "breaker"
    QUARANTINED = "quarantined"
    OUTSIDE_WINDOW = "outside_window"
    HOST_LOAD = "host_load"
    TOO_YOUNG = "too_young"
    UNCONFIRMED = "unconfirmed"
    LOCK = "lock"
    RATE = "rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An attempt is left as it is."""

    key: AttemptKey
    reason: RefusalReason
    detail: str


def refusal(candidate: Candidate, reason: RefusalReason, detail: str) -> Refusal:
    """Refuse to put a candidate back."""
    return Refusal(key=candidate.attempt.key, reason=reason, detail=detail)


def whole_seconds(span: timedelta) -> str:
    """Write a span as durations are configured, such as `2m10s`, never rounded up to a limit that it is below."""
    return show_duration(timedelta(seconds=max(0, int(span.total_seconds()))))
