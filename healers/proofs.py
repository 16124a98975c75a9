"""Follow who was judged dead until a second proof confirms it; pure.

One proof can be a mistake of the moment, so an action takes two: `confirm_after` apart, of the same machines in the
same boot and PID namespace, with the claim unchanged, the second over a fresh connection. Where every host that was
asked was silent (`host_retired`), the second failed ask is the proof. What says alive or unknown in between ends it.
Proofs are dated by this machine's boot clock, which nobody sets and which goes on while it sleeps; they expire on it.
In: suspects, verdicts, and what was heard. Out: suspects. Raises nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from exporter.jobs import AttemptKey, Claim

from .probes.protocol import HostAnswer
from .reasons import Liveness
from .rounds import Heard
from .verdicts import Verdict

PROOF_LASTS: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A host that was asked: the machine, its boot and the PID namespace of who answered; none where nobody did."""

    host: str
    machine_id: str | None = None
    boot_id: str | None = None
    pid_namespace: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a judging rests on: who was asked, and this machine's boot clock before the first and after the last asking.

    `is_fresh`: every host that answered was asked over a fresh connection.
    """

    witnesses: frozenset[Witness]
    is_fresh: bool
    began_seconds: float
    ended_seconds: float

    def has_expired(self, seconds: float) -> bool:
        """Tell whether it is too old to act on; one from the future is of another boot of this machine."""
        return not 0 <= seconds - self.began_seconds <= PROOF_LASTS.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An attempt that was judged dead, and not otherwise since `first_verdict`; `verdict` is the latest."""

    claim: Claim
    verdict: Verdict
    first_verdict: Verdict
    first: Proof
    second: Proof | None = None

    @property
    def first_dead_at(self) -> datetime:
        """When it was first judged dead."""
        return self.first_verdict.seen_at

    @property
    def hosts(self) -> frozenset[str]:
        """The configured hosts that its proofs are from."""
        return frozenset(witness.host for witness in self.first.witnesses)


def prove(heard: Iterable[Heard], *, seconds: float) -> Proof:
    """Return the proof that rests on what hosts said; where none was asked, it is of `seconds`, the boot clock now."""
    rounds = tuple(heard)
    return Proof(
        witnesses=frozenset(_witness(one) for one in rounds if one.round.host is not None),
        is_fresh=all(one.is_fresh or not isinstance(one.answer, HostAnswer) for one in rounds),
        began_seconds=min((one.began_seconds for one in rounds), default=seconds),
        ended_seconds=max((one.ended_seconds for one in rounds), default=seconds),
    )


def follow(
    suspects: Mapping[AttemptKey, Suspect],
    verdicts: Iterable[Verdict],
    *,
    claims: Mapping[AttemptKey, Claim],
    proof: Proof,
    confirm_after: timedelta,
) -> dict[AttemptKey, Suspect]:
    """Return the suspects after a judging that rests on `proof`, of rows that claimed `claims`.

    Suspects that the verdicts do not speak of stay as they are; `keep_claimed` lets go of those that are over.
    """
    after = dict(suspects)
    for verdict in verdicts:
        known = after.pop(verdict.key, None)
        claim = claims.get(verdict.key)
        if verdict.value is not Liveness.DEAD or claim is None:
            continue
        first = Suspect(claim=claim, verdict=verdict, first_verdict=verdict, first=proof)
        after[verdict.key] = _follow_one(known, first, confirm_after) if known else first
    return after


def keep_claimed(
    suspects: Mapping[AttemptKey, Suspect], claims: Mapping[AttemptKey, Claim]
) -> dict[AttemptKey, Suspect]:
    """Return the suspects whose row still claims what it did; `claims` are of the latest readings."""
    return {key: suspect for key, suspect in suspects.items() if claims.get(key) == suspect.claim}


def is_confirmed(suspect: Suspect, seconds: float) -> bool:
    """Tell whether there are two proofs that count at `seconds` of this machine's boot clock."""
    proofs = (suspect.first, suspect.second)
    return all(proof is not None and not proof.has_expired(seconds) for proof in proofs)


def hosts_to_confirm(suspects: Iterable[Suspect], *, seconds: float, confirm_after: timedelta) -> frozenset[str]:
    """Name the hosts that are to be asked now, over a fresh connection, for a second proof."""
    return frozenset(
        host
        for suspect in suspects
        if not is_confirmed(suspect, seconds) and _seconds_left(suspect, seconds, confirm_after) <= 0
        for host in suspect.hosts
    )


def seconds_to_proof(
    suspects: Iterable[Suspect], host: str, *, seconds: float, confirm_after: timedelta
) -> float | None:
    """Return in how long a host can first give a second proof that is not due yet; None where none is to come."""
    return min(
        (
            left
            for suspect in suspects
            if host in suspect.hosts
            and not is_confirmed(suspect, seconds)
            and (left := _seconds_left(suspect, seconds, confirm_after)) > 0
        ),
        default=None,
    )


def _seconds_left(suspect: Suspect, seconds: float, confirm_after: timedelta) -> float:
    """Return in how long a second proof counts; 0 or less if one would now."""
    return confirm_after.total_seconds() - (seconds - suspect.first.ended_seconds)


def _follow_one(known: Suspect, new: Suspect, confirm_after: timedelta) -> Suspect:
    """Return a suspect after one more dead verdict; `new` is what it would be if this were the first."""
    if known.claim != new.claim:
        return new
    new = replace(new, first_verdict=known.first_verdict)
    proof = new.first
    first = next((one for one in (known.first, known.second) if one and not one.has_expired(proof.ended_seconds)), None)
    if first is None or first.witnesses != proof.witnesses:
        return new
    is_second = proof.is_fresh and proof.began_seconds - first.ended_seconds >= confirm_after.total_seconds()
    second = proof if is_second else known.second if known.second is not first else None
    return replace(new, first=first, second=second)


def _witness(heard: Heard) -> Witness:
    host, answer = heard.round.host, heard.answer
    name = host.name if host else ""
    if not isinstance(answer, HostAnswer):
        return Witness(host=name)
    return Witness(host=name, machine_id=answer.machine_id, boot_id=answer.boot_id, pid_namespace=answer.pid_namespace)
