"""Watchdogs in a simulated world: real pollers, beliefs, askers, healers and ledgers, on its table, hosts and clocks.

Each is a program of its own; they share the ledger's file and the lock of healers, and nothing else. At named moments
of what it does, something can happen to it: `moments` says what. What it believes is compared with what is true.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from exporter.address import Address, normalise
from exporter.collector import QueueStatus
from exporter.errors import LedgerError
from exporter.jobs import AttemptKey
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.slots import ServerSlots
from healers.asking import HostAsker, read_moment
from healers.beliefs import Beliefs
from healers.breaker import BreakerState, resume
from healers.cycle import Healer, Pass
from healers.gathering import Seen
from healers.ledger import Ledger
from healers.outcomes import Outcome
from healers.recording import Recorder, Who
from healers.rounds import Host
from healers.tallying import HealStatus

from .healing_fakes import Asked, LedgerOf, ProbeOf, ResetOf, TableOf
from .healing_world import BEGAN, HOSTS, OPTIONS, QUEUE, Held, World

BOOTED_FOR = 50_000.0
QUICKLY = 1.0
POLLS = QueueOptions()


class Killed(BaseException):
    """The watchdog is no more: nothing it has not written down is left of it."""


class Dog:
    """One watchdog, which can be started, killed and started again."""

    def __init__(self, name: str, world: World, ledger: Path) -> None:
        self.name = name
        self.world = world
        self.has_ledger = True
        self.is_killed = True
        self.moments: dict[str, Callable[[], None]] = {}
        self.asked: list[Asked] = []
        self.loses_answer = False
        self.at_job: int | None = None
        self.fails_once = False
        self._address = address_of(ledger)
        self._life = 0

    # --- Its clocks

    def now(self) -> datetime:
        """Return its wall clock."""
        return BEGAN + timedelta(seconds=self.world.seconds + self.world.walls.get(self.name, 0.0))

    def boottime_seconds(self) -> float:
        """Return the boot clock of its machine, which nobody sets."""
        return BOOTED_FOR + self.world.seconds

    # --- Its life

    def start(self) -> None:
        """Start as the program does: take up what the ledger has, and begin to watch."""
        with self.living():
            self._start()

    def _start(self) -> None:
        self._life += 1
        self.is_killed, self.asked, self.has_ledger, self.loses_answer = False, [], True, False
        self.opened = Ledger.open(self._address)
        self.ledger = LedgerOf(self.opened, self)
        hosts = [Host(name=name) for name in HOSTS]
        self.beliefs = Beliefs(hosts)
        self.beliefs.adopt(self.opened.sightings.load())
        self.poller = Poller(
            TableOf(self), POLLS, aliases={}, server_slots=ServerSlots(2), publish=lambda status, _: self._take(status)
        )
        self.askers = {
            name: HostAsker(name, ProbeOf(self, name), self.beliefs, memory_limit_bytes=None) for name in HOSTS
        }
        self.reset = ResetOf(self)
        who = Who(actor="serve", instance=f"{self.name}:{self._life}", config_digest="c0ffee")
        self.healer = Healer(
            QUEUE,
            OPTIONS,
            reset=self.reset,
            get_ledger=self.get_ledger,
            recorder=Recorder(who, get_ledger=self.get_ledger),
            note_healed=self.poller.note_healed,
            read_moment=read_moment,
        )
        for held in self.world.claims.values():
            held.seen_by.discard(self.name)
            if held.is_seen_durably:
                held.seen_by.add(self.name)

    def end(self) -> None:
        """Be killed: connections are closed by the kernel."""
        if not self.is_killed:
            self.is_killed = True
            self.opened.close()
            for held in self.world.claims.values():
                held.seen_by.discard(self.name)

    @contextmanager
    def living(self) -> Iterator[None]:
        """Do something by its own clocks that may end in death."""
        acting, self.world.acting = self.world.acting, self
        try:
            yield
        except Killed:
            self.end()
        finally:
            self.world.acting = acting

    def reach(self, moment: str) -> None:
        """Let happen what is to happen at this moment, once."""
        happens = self.moments.pop(moment, None)
        if happens is not None:
            happens()

    # --- What it does

    def poll(self) -> None:
        """Poll once."""
        with self.living():
            self.poller.poll()

    def ask(self, host: str) -> None:
        """Ask a host once."""
        with self.living():
            self.askers[host].ask()
            self._note_seen(self.asked[-1])

    def keep(self) -> None:
        """Keep what was seen, and take up which hosts were given up, as the program does before each pass."""
        with self.living():
            try:
                ledger = self.get_ledger()
                self.beliefs.keep(lambda learned: ledger.sightings.learn(learned, at=self.now()))
                retired = ledger.sightings.retired()
                if retired != self.beliefs.sightings.retired:
                    self.beliefs.retire(retired)
            except LedgerError:
                return
            for held in self.world.claims.values():
                held.is_seen_durably |= self.name in held.seen_by

    def retire(self, host: str) -> None:
        """Let a person give a host up, once, by the clock of this watchdog's machine."""
        if host not in self.opened.sightings.retired():
            self.opened.sightings.retire(host, why="burnt", actor="ann", at=self.now())

    def heal(self) -> None:
        """Make one pass, once the queue was read."""
        if self.beliefs.of(QUEUE) is None:
            return
        before = self.healer.status
        with self.living():
            done = self.healer.run(self._see())
            self._expect_more(before, self.healer.status)
            self._expect_nothing_open(done)

    def go_round(self, steps: Collection[str] = ("poll", *HOSTS, "keep", "heal")) -> None:
        """Do all of it in turn, for as long as it lives."""
        does: Mapping[str, Callable[[], object]] = {"poll": self.poll, "keep": self.keep, "heal": self.heal}
        for step in steps:
            if not self.is_killed:
                does.get(step, partial(self.ask, step))()

    def get_ledger(self) -> Any:
        """Return its ledger; raises LedgerError while it cannot be used."""
        fails_once, self.fails_once = self.fails_once, False
        if fails_once or not self.has_ledger:
            raise LedgerError("ledger: cannot be used")
        return self.ledger

    # --- What it believes, against the truth

    def is_due(self, held: Held) -> bool:
        """Tell whether it has to put a row back: its worker is dead, was seen alive, and nothing leaves a doubt."""
        has_ended = held.process.ended_at is not None and not held.machine.has_children_of(held.process.pid)
        job, budget = (str(held.key.job_id),), OPTIONS.max_resets_per_job
        counts = self.opened.journal.resets_by_job(QUEUE, since=self.now() - budget.within, jobs=[job])
        is_quarantined = counts[job] >= budget.resets
        return has_ended and held.is_clear and self.name in held.seen_by and not is_quarantined

    def first_proof(self, key: AttemptKey) -> float | None:
        """Return when the first of two proofs that count was taken, if it asked often enough and far enough apart."""
        asked = [one for one in self.asked if key in one.keys]
        apart = OPTIONS.confirm_after.total_seconds()
        pairs = ((first, second) for first in asked for second in asked if second.began - first.ended >= apart)
        fits = [first.began for first, second in pairs if second.is_fresh and first.boot_id == second.boot_id]
        return max(fits, default=None)

    def _see(self) -> Seen:
        held = self.beliefs.of(QUEUE)
        assert held is not None
        loads = {one.status.name: one.status.load_per_processor for one in self.askers.values() if one.status.is_up}
        self.seen = Seen(
            status=self.poller.status,
            held=held,
            sightings=self.beliefs.sightings,
            witnesses=self.beliefs.find_witnesses(QUEUE),
            loads=loads,
            moment=read_moment(),
        )
        return self.seen

    def _take(self, status: QueueStatus) -> None:
        if status.is_up and status.reading:
            confirm_after = OPTIONS.confirm_after
            now, signs = read_moment(), self.world.table.signs
            self.beliefs.take(QUEUE, status.reading, signs=signs, placement=None, confirm_after=confirm_after, now=now)

    def _note_seen(self, asked: Asked) -> None:
        """Note whose worker it now knows: it ran, and there was nothing to doubt."""
        for held in self.world.claims.values():
            was_there = held.key in asked.keys and asked.boot_id == held.boot_id and held.host == asked.host
            if (
                was_there
                and held.process.runs
                and held.is_fresh
                and held.is_clear
                and asked.ended - asked.began <= QUICKLY
            ):
                held.seen_by.add(self.name)

    def _expect_more(self, before: HealStatus, after: HealStatus) -> None:
        for name in ("heals", "refusals"):
            old, new = getattr(before, name), getattr(after, name)
            if any(new[what] < number for what, number in old.items()):
                self.world.violations.append(f"{name} fell from {old} to {new}")

    def _expect_nothing_open(self, done: Pass) -> None:
        """A whole pass under the lock leaves nothing open but what it does not know itself."""
        if done.has_lock and not done.fault:
            unknown = {one.key for one in done.concluded if one.outcome is Outcome.UNKNOWN}
            left = [one for one in self.opened.journal.open_intents(QUEUE) if one.intent.key not in unknown]
            if left:
                self.world.violations.append(f"a pass left open: {left}")


def resume_all(dog: Dog) -> None:
    """Let a person look at what stopped healing, and let it go on."""
    dog.opened.brakes.resume(None)
    before = dog.opened.brakes.breaker(QUEUE, BreakerState)
    if before is not None and before.is_open:
        dog.opened.brakes.keep_breaker(QUEUE, resume(before), instead_of=before)


def find_untrue(dog: Dog, world: World) -> list[str]:
    """Return each intent of the journal whose outcome is not what truly happened; all of them have to have one."""
    done = Counter(one.intent for one in world.put_back)
    keys = {one.key for one in world.put_back}
    wrong: list[str] = []
    for recorded in dog.opened.journal.history(queue=QUEUE):
        outcome = getattr(recorded, "outcome", Outcome.DRY_RUN)
        number, key = getattr(recorded, "number", None), getattr(recorded, "intent", None)
        if outcome is Outcome.DRY_RUN or key is None:
            continue
        if outcome in (None, Outcome.UNKNOWN):
            wrong.append(f"{number}: has no outcome")
        elif done[number or 0] and outcome is Outcome.FAILED:
            wrong.append(f"{number}: put the row back, and is said to have failed")
        elif (
            outcome is Outcome.RESET and not done[number or 0] and key.key not in keys and key.key not in world.released
        ):
            wrong.append(f"{number}: is said to have put back {key.key}, which nobody has")
    return wrong


def address_of(ledger: Path) -> Address:
    """Return the address of a ledger's file."""
    return Address(url=normalise(make_url(f"sqlite:///{ledger}")))


def copy_ledger(template: Path, to: Path) -> Path:
    """Return a new ledger, made ready before."""
    shutil.copyfile(template, to)
    return to
