"""What the journal holds: intended resets with their outcomes, and refusals; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, NewType, TypeAlias

from exporter.jobs import AttemptKey, Claim, DetailValue, DriverValue, Kind, QueueName

from ..outcomes import Outcome
from ..verdicts import Liveness, Reason, Verdict
from .encoding import (
    decode,
    decode_key,
    encode,
    encode_key,
    instant,
    read_instant,
    shorten,
)

IntentId = NewType("IntentId", int)
Mode = Literal["dry_run", "reset"]
LONGEST: Final = 64 * 1024


class Act(StrEnum):
    """What an entry is."""

    INTENT = "intent"
    OUTCOME = "outcome"
    REFUSAL = "refusal"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One reset that is about to be tried, and all that it rests on.

    `row` is the whole original row; of a text or bytes over 64 KiB the journal keeps a digest and the length, and
    `changing` is then what of them changes. `proofs` are the verdicts, the first one first. `actor` is `serve`, or who
    ran a command; `instance` is where, `hostname:pid`. `config_digest` stands for the configuration in force.
    """

    claim: Claim
    natural_key: tuple[str, ...]
    kind: Kind
    row: Mapping[str, DriverValue]
    proofs: tuple[Verdict, ...]
    first_dead_at: datetime | None
    actor: str
    instance: str
    mode: Mode
    config_digest: str
    at: datetime
    changing: Mapping[str, DriverValue] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.proofs:
            raise ValueError("proofs: a reset rests on at least one verdict")
        if any(proof.key != self.key for proof in self.proofs):
            raise ValueError(f"proofs: not all are of {self.key}")

    @property
    def key(self) -> AttemptKey:
        """The attempt."""
        return self.claim.key

    @property
    def queue(self) -> QueueName:
        """The queue."""
        return self.claim.key.queue

    @property
    def reason(self) -> Reason:
        """Why its worker is held dead: what the last proof says."""
        return self.proofs[-1].reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReset:
    """An intent as the journal has it, and what became of it: nothing is known where `outcome` is None.

    `may_be_written`: the outcome leaves open whether the job was put back before it moved on.
    """

    number: IntentId
    intent: Intent
    outcome: Outcome | None = None
    detail: str = ""
    concluded_at: datetime | None = None
    may_be_written: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRefusal:
    """An attempt that was not put back, and the reason; `evidence` is that of its verdict."""

    key: AttemptKey
    natural_key: tuple[str, ...]
    kind: Kind
    reason: str
    detail: str
    actor: str
    instance: str
    at: datetime
    evidence: Mapping[str, DetailValue] = field(default_factory=lambda: MappingProxyType({}))


Recorded: TypeAlias = RecordedReset | RecordedRefusal


def write_intent(intent: Intent) -> dict[str, Any]:
    """Turn an intent into what JSON can say."""
    return {
        "key": encode_key(intent.key),
        "rests_on": [encode(value) for value in intent.claim.rests_on],
        "natural_key": list(intent.natural_key),
        "kind": intent.kind,
        "row": {name: shorten(value, longest=LONGEST) for name, value in intent.row.items()},
        "changing": {name: encode(value) for name, value in intent.changing.items()},
        "proofs": [_write_verdict(verdict) for verdict in intent.proofs],
        "first_dead_at": None if intent.first_dead_at is None else instant(intent.first_dead_at),
        "actor": intent.actor,
        "instance": intent.instance,
        "mode": intent.mode,
        "config_digest": intent.config_digest,
        "at": instant(intent.at),
    }


def read_intent(content: Mapping[str, Any]) -> Intent:
    """Turn back what `write_intent` has made; in place of a long value stands what was kept of it, as a text."""
    key = decode_key(content["key"])
    dead_at = content["first_dead_at"]
    return Intent(
        claim=Claim(key=key, rests_on=tuple(decode(value) for value in content["rests_on"])),
        natural_key=tuple(content["natural_key"]),
        kind=Kind(content["kind"]),
        row=MappingProxyType({name: decode(value) for name, value in content["row"].items()}),
        changing=MappingProxyType({name: decode(value) for name, value in content["changing"].items()}),
        proofs=tuple(_read_verdict(key, verdict) for verdict in content["proofs"]),
        first_dead_at=None if dead_at is None else read_instant(dead_at),
        actor=content["actor"],
        instance=content["instance"],
        mode=content["mode"],
        config_digest=content["config_digest"],
        at=read_instant(content["at"]),
    )


def write_refusal(refusal: RecordedRefusal) -> dict[str, Any]:
    """Turn a refusal into what JSON can say."""
    return {
        "key": encode_key(refusal.key),
        "natural_key": list(refusal.natural_key),
        "kind": refusal.kind,
        "reason": refusal.reason,
        "detail": refusal.detail,
        "actor": refusal.actor,
        "instance": refusal.instance,
        "at": instant(refusal.at),
        "evidence": dict(refusal.evidence),
    }


def read_refusal(content: Mapping[str, Any]) -> RecordedRefusal:
    """Turn back what `write_refusal` has made."""
    return RecordedRefusal(
        key=decode_key(content["key"]),
        natural_key=tuple(content["natural_key"]),
        kind=Kind(content["kind"]),
        reason=content["reason"],
        detail=content["detail"],
        actor=content["actor"],
        instance=content["instance"],
        at=read_instant(content["at"]),
        evidence=MappingProxyType(content["evidence"]),
    )


def _write_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "value": verdict.value,
        "reason": verdict.reason,
        "seen_at": instant(verdict.seen_at),
        "evidence": dict(verdict.evidence),
    }


def _read_verdict(key: AttemptKey, content: Mapping[str, Any]) -> Verdict:
    return Verdict(
        key=key,
        value=Liveness(content["value"]),
        reason=Reason(content["reason"]),
        seen_at=read_instant(content["seen_at"]),
        evidence=MappingProxyType(content["evidence"]),
    )
