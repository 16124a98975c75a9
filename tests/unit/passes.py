"""One queue in memory whose workers died, what heals it, and a list of what it did to the table and to the ledger."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from exporter.address import Address, normalise
from exporter.errors import LedgerError, ReadError
from exporter.jobs import Attempt, AttemptKey, Claim, QueueName
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.queues.matomo.queue import SIGNS
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from healers.beliefs import Moment, QueueBeliefs
from healers.cycle import Healer, Pass
from healers.gathering import Seen
from healers.ledger import Ledger
from healers.ledger.entries import RecordedRefusal, RecordedReset
from healers.options import HealingOptions
from healers.outcomes import Concluded, OriginalRow, Outcome
from healers.proofs import Proof, Suspect
from healers.reasons import Liveness, Reason
from healers.recording import Recorder, Who
from healers.resets.memory import MemoryReset
from healers.rounds import Watched
from healers.sightings import Sightings
from tests.builders import BOOTED_FOR, NOON, a_verdict

QUEUE = QueueName("q")
Happens = Callable[[], object]


def open_ledger(path: Path) -> Ledger:
    """Open a ledger of its own in a file."""
    return Ledger.open(Address(url=normalise(make_url(f"sqlite:///{path}"))))


class Told:
    """A part of something that tells each call, fails where it shall, and lets things happen after it."""

    def __init__(self, part: Any, bench: "Bench") -> None:
        self._part = part
        self._bench = bench

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return Told(found, self._bench)

        def call(*arguments: Any, **named: Any) -> Any:
            self._bench.tell(name)
            if name in self._bench.fails:
                raise LedgerError(f"ledger: {name} failed")
            done = found(*arguments, **named)
            self._bench.let_happen(name)
            return done

        return call


class ToldReset:
    """The write half of the queue, which tells what is done to it."""

    def __init__(self, bench: "Bench") -> None:
        self.inner = MemoryReset(bench.table, holders=bench.holders)
        self.failing: set[str] = set()
        self.unreadable: set[str] = set()
        self._bench = bench

    @contextmanager
    def lock(self, *, wait_seconds: float) -> Iterator[bool]:
        """Take the lock."""
        self._bench.tell("lock")
        if "lock" in self._bench.fails:
            raise ReadError("the database cannot be reached")
        with self.inner.lock(wait_seconds=wait_seconds) as has_lock:
            self._bench.let_happen("lock")
            yield has_lock
        self._bench.tell("unlock")

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]:
        """Read rows."""
        self._bench.tell("reread")
        if "reread" in self._bench.fails or any(key.job_id in self.unreadable for key in keys):
            raise ReadError("the row cannot be read")
        rows = self.inner.reread(keys)
        self._bench.let_happen("reread")
        return rows

    def reset(self, claim: Claim) -> Concluded:
        """Put a row back."""
        self._bench.tell(f"reset {claim.key.job_id}")
        self.inner.fails_with = "the row is locked" if claim.key.job_id in self.failing else None
        concluded = self.inner.reset(claim)
        self._bench.let_happen("reset")
        if "reset" in self._bench.fails:
            return replace(concluded, outcome=Outcome.UNKNOWN, detail="the answer was lost")
        return concluded


MINUTE = timedelta(minutes=1)
RESET, GONE, LOST, FAILED = Outcome.RESET, Outcome.GONE, Outcome.LOST_RACE, Outcome.FAILED


class Bench:
    """A healer of a queue at noon; `more` makes another one on the same queue, lock and ledger."""

    def __init__(self, ledger: Ledger, *, of: "Bench | None" = None, **options: object) -> None:
        self.ledger = ledger
        self.options = HealingOptions.model_validate({"mode": "reset", **options})
        self.did: list[str] = []
        self.fails: set[str] = set()
        self.happens: dict[str, Happens] = {}
        self.healed: list[frozenset[AttemptKey]] = []
        self.at: datetime = of.at if of else NOON
        self.set_by = timedelta(0)
        self.table: MemoryQueue = of.table if of else MemoryQueue(QUEUE, now=lambda: self.at, signs=SIGNS)
        self.holders: list[MemoryReset] = of.holders if of else []
        self.reset = ToldReset(self)
        self.poller = Poller(
            self.table, QueueOptions(), aliases={}, server_slots=ServerSlots(2), publish=lambda *_: None
        )
        self.healer = self.make()

    def make(self, *, has_reset: bool = True) -> Healer:
        """Make a healer, as a start of the program does."""
        who = Who(actor="serve", instance="med1:77", config_digest="c0ffee")
        return Healer(
            QUEUE,
            self.options,
            reset=self.reset if has_reset else None,
            get_ledger=self.get_ledger,
            recorder=Recorder(who, get_ledger=self.get_ledger),
            note_healed=self._note_healed,
            read_moment=self.moment,
        )

    def more(self, **options: object) -> "Bench":
        """Return another program that watches the same queue."""
        return Bench(self.ledger, of=self, **{**self.options.model_dump(exclude_unset=True), **options})

    # --- What is there

    def orphan(self, *, ago: str = "10m", host: str = "web1", pid: int = 100) -> str:
        """Add a started row and return its id."""
        minutes = timedelta(minutes=int(ago.removesuffix("m")))
        self.at -= minutes
        job = self.table.enqueue()
        self.table.start(job, host=host, pid=pid)
        self.at += minutes
        return str(job)

    def claim_again(self, job: str) -> None:
        """Let a worker of the same host and pid take a row anew."""
        row = self.table.jobs[int(job)]
        self.table.release(int(job))
        self.at += timedelta(seconds=1)
        self.table.start(int(job), host=row.host, pid=row.pid_text)

    def pass_time(self, **span: float) -> None:
        """Let all clocks go on."""
        self.at += timedelta(**span)

    def started(self) -> set[str]:
        """Return the ids of the started rows."""
        return {str(job.id) for job in self.table.jobs.values() if job.is_started}

    # --- What a pass goes by

    def moment(self) -> Moment:
        """Return this machine's clocks, which agree but for how far the wall clock was set."""
        seconds = BOOTED_FOR + (self.at - NOON).total_seconds()
        return Moment(at=self.at + self.set_by, boottime_seconds=seconds, monotonic_seconds=seconds)

    def see(
        self, *, polls: bool = True, reasons: Mapping[str, Reason] | None = None, sightings: Sightings | None = None
    ) -> Seen:
        """Poll, and hold every started attempt for dead by two proofs, or for what `reasons` says of its job."""
        if polls:
            self.poller.poll()
        status = self.poller.status
        assert status.reading is not None, self.poller.error
        started = status.reading.snapshot.started
        verdicts = {one.key: a_verdict(one, (reasons or {}).get(one.job_id, Reason.NO_PROCESS)) for one in started}
        dead = [one for one in started if verdicts[one.key].value is Liveness.DEAD]
        seconds = self.moment().boottime_seconds
        return Seen(
            status=status,
            held=QueueBeliefs(
                watched=Watched(started=started, signs=SIGNS, read_seconds=seconds),
                verdicts=verdicts,
                suspects={one.key: self._suspect(one, reasons or {}) for one in dead},
            ),
            sightings=sightings or Sightings(),
            witnesses={one.key: frozenset({one.host or ""}) for one in started},
            loads={},
            moment=self.moment(),
        )

    def _suspect(self, attempt: Attempt, reasons: Mapping[str, Reason]) -> Suspect:
        last = a_verdict(attempt, reasons.get(attempt.job_id, Reason.NO_PROCESS))
        first = replace(last, seen_at=last.seen_at - timedelta(seconds=35))
        return Suspect(
            claim=attempt.claim, verdict=last, first_verdict=first, first=self._proof(40), second=self._proof(5)
        )

    def _proof(self, ago: float) -> Proof:
        seconds = self.moment().boottime_seconds - ago
        return Proof(witnesses=frozenset(), is_fresh=True, began_seconds=seconds, ended_seconds=seconds)

    # --- What was done

    def get_ledger(self) -> Any:
        """Return the ledger, which tells; raises LedgerError where `ledger` shall fail."""
        if "ledger" in self.fails:
            raise LedgerError("ledger: cannot be opened")
        return Told(self.ledger, self)

    def tell(self, what: str) -> None:
        """Take notice of something that is done."""
        self.did.append(what)

    def let_happen(self, when: str) -> None:
        """Let happen what shall happen then, once."""
        self.happens.pop(when, lambda: None)()

    def did_only(self, *names: str) -> list[str]:
        """Return what was done, of these kinds."""
        return [what for what in self.did if what.split()[0] in names]

    def resets(self) -> list[tuple[str, Outcome | None]]:
        """Return each intent of the journal with its outcome, in turn."""
        found = [one for one in self.ledger.journal.history() if isinstance(one, RecordedReset)]
        return [(one.intent.key.job_id, one.outcome) for one in found]

    def refusals(self) -> list[tuple[str, str]]:
        """Return the refusals of the journal."""
        found = [one for one in self.ledger.journal.history() if isinstance(one, RecordedRefusal)]
        return [(one.key.job_id, one.reason) for one in found]

    def set_clock(self, at: datetime) -> None:
        """Set all clocks alike, as if time had passed."""
        self.at = at

    def _note_healed(self, keys: Iterable[AttemptKey]) -> None:
        self.tell("note")
        self.healed.append(frozenset(keys))


Make = Callable[..., Bench]


def run(one: Bench, **given: object) -> Pass:
    """Poll and make a pass."""
    return one.healer.run(one.see(**given))  # type: ignore[arg-type]


def outcomes(done: Pass) -> list[tuple[str, Outcome]]:
    """Return what became of each reset that was tried."""
    return [(concluded.key.job_id, concluded.outcome) for concluded in done.concluded]


def reasons(done: Pass) -> dict[str, str]:
    """Return why each of the others was left alone."""
    return {refused.key.job_id: refused.reason for refused in done.plan.refusals}
