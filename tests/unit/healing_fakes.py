"""The table, the hosts and the ledger as a simulated watchdog meets them, each with moments at which things happen."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from exporter.errors import Unreachable
from exporter.jobs import AttemptKey, Claim, Cursor, Snapshot
from healers.outcomes import Concluded, OriginalRow, Outcome
from healers.probes.protocol import HostAnswer, NoAnswer, Request, Silence
from healers.reasons import Liveness
from healers.resets.memory import MemoryReset

from .healing_world import QUEUE

if TYPE_CHECKING:
    from .healing_dogs import Dog


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a watchdog truly asked of a host: about which attempts, when, and which boot of which machine answered."""

    host: str
    keys: frozenset[AttemptKey]
    began: float
    ended: float
    is_fresh: bool
    boot_id: str | None


class TableOf:
    """The world's table as one watchdog reads it: a snapshot is dated by its own clock too."""

    system = server = place = index_hint = "memory"

    def __init__(self, dog: "Dog") -> None:
        table = dog.world.table
        self.name, self.kinds, self.signs = table.name, table.kinds, table.signs
        self._dog = dog

    def read(self, after: Cursor | None) -> Snapshot:
        """Read the table."""
        if self._dog.world.is_database_down:
            raise Unreachable("the database is down")
        snapshot = replace(self._dog.world.table.read(after), read_at=self._dog.now())
        self._dog.reach("after read")
        return snapshot

    def close(self) -> None:
        """Nothing to close."""


class ProbeOf:
    """One host as one watchdog asks it: whatever machine is behind the name, unless the host is silent."""

    def __init__(self, dog: "Dog", host: str) -> None:
        self._dog = dog
        self._host = host

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:
        """Ask the machine."""
        dog, world, host = self._dog, self._dog.world, self._host
        began = world.seconds
        held = dog.beliefs.of(QUEUE)
        started = held.watched.started if held else ()
        keys = frozenset(one.key for one in started if one.host == host)
        dog.reach("before answer")
        answer: HostAnswer | NoAnswer = NoAnswer(silence=Silence.TIMEOUT, detail="no answer within 10s")
        if host in world.silent:
            world.advance(0.1)
        else:
            answer = world.hosts[host].answer(request, host, world.seconds)
        boot_id = answer.boot_id if isinstance(answer, HostAnswer) else None
        at = world.seconds
        dog.reach("after answer")
        dog.asked.append(
            Asked(host=host, keys=keys, began=began, ended=max(at, world.seconds), is_fresh=fresh, boot_id=boot_id)
        )
        return answer

    def close(self) -> None:
        """Nothing to close."""


class ResetOf:
    """The write half of the table as one watchdog has it; what it truly changes is noted."""

    def __init__(self, dog: "Dog") -> None:
        self._dog = dog
        self._inner = MemoryReset(dog.world.table, holders=dog.world.holders)
        self.writes: dict[int, AttemptKey] = {}

    @contextmanager
    def lock(self, *, wait_seconds: float) -> Iterator[bool]:
        """Take the lock."""
        self._expect_database()
        with self._inner.lock(wait_seconds=wait_seconds) as has_lock:
            self._dog.reach("after lock")
            yield has_lock

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]:
        """Read rows."""
        self._expect_database()
        self._dog.at_job = next((int(key.job_id) for key in keys), None)
        found = self._inner.reread(keys)
        self._dog.reach("after reread")
        return found

    def reset(self, claim: Claim) -> Concluded:
        """Put a row back, and note what that truly did."""
        dog, world = self._dog, self._dog.world
        dog.reach("before reset")
        self._inner.fails_with = "the database is down" if world.is_database_down else None
        before = dict(world.table.jobs)
        concluded = self._inner.reset(claim)
        changed = {number for number, row in before.items() if world.table.jobs.get(number) != row}
        if changed:
            self._note(claim, changed, before)
        dog.reach("after reset")
        if dog.loses_answer and concluded.outcome in (Outcome.RESET, Outcome.FAILED):
            dog.loses_answer = False
            return replace(concluded, outcome=Outcome.UNKNOWN, detail="the answer was lost")
        return concluded

    def _expect_database(self) -> None:
        if self._dog.world.is_database_down:
            raise Unreachable("the database is down")

    def _note(self, claim: Claim, changed: set[int], before: Mapping[int, Any]) -> None:
        dog, world, job = self._dog, self._dog.world, int(claim.key.job_id)
        if changed != {job}:
            world.violations.append(f"{claim.key}: changed rows {changed}")
        if dog.seen.held.verdicts[claim.key].value is not Liveness.DEAD:
            world.violations.append(f"{claim.key}: was put back on {dog.seen.held.verdicts[claim.key]}")
        intents = [one for one in dog.opened.journal.open_intents(QUEUE) if one.intent.claim == claim]
        proofs = intents[-1].intent.proofs if intents else ()
        if len(proofs) != 2 or {one.value for one in proofs} != {Liveness.DEAD} or intents[-1].intent.mode != "reset":
            world.violations.append(f"{claim.key}: was put back with the intent {intents}")
        number = intents[-1].number if intents else 0
        world.note_change(claim.key, before[job], intent=number, ended_before=dog.first_proof(claim.key))


class LedgerOf:
    """A part of a ledger, with a moment before and after each call; what fails after a call has been done even so."""

    def __init__(self, part: Any, dog: "Dog") -> None:
        self._part = part
        self._dog = dog

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return LedgerOf(found, self._dog)

        def call(*arguments: Any, **named: Any) -> Any:
            self._dog.reach(f"before {name}")
            self._dog.get_ledger()
            done = found(*arguments, **named)
            self._dog.reach(f"after {name}")
            self._dog.get_ledger()
            return done

        return call
