"""A person heals: look, plan, and if asked act, with both proofs made on the spot.

Between the two the person says yes to what was shown, and time passes. So `act` reads and asks anew, and takes up only
what was shown as planned and still claims the same; an unknown one only if it was shown as unknown.
What a person may lift and what not is for the guards (`healers/guards`). What keeps one queue from being read or healed
keeps no other. A look opens the ledger for reading only, and one that is not there yet holds nothing back; to act, it
is opened for writing first.
"""

import getpass
import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from exporter.errors import ConfigurationError, QueuemedicError, ReadError
from exporter.jobs import Attempt, AttemptKey, QueueName
from exporter.poller import Poller
from healers.asking import read_moment
from healers.candidates import Candidate
from healers.cycle import Healer, Pass
from healers.filters import Filter, matches
from healers.gathering import Seen
from healers.guards.verdict import has_heartbeat
from healers.outcomes import Outcome
from healers.proofs import is_confirmed
from healers.reasons import Liveness, Reason
from healers.refusals import RefusalReason, refusal
from healers.runs import LOST_AFTER
from healers.situation import Person
from healers.verdicts import Verdict

from .app import App
from .building import LateReset, make_section_reset
from .healing import make_who

LOCK_SECONDS: Final = 60.0
MARGIN: Final = timedelta(milliseconds=200)
TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came of one queue: a pass, or the `error` that kept it from being made or acted on, with its exit code.

    Of those that were shown as planned, `moved_on` are held by others or ended by now, and `alive` turned out to be.
    """

    queue: QueueName
    made: Pass | None
    error: str = ""
    exit_code: int = 0
    moved_on: int = 0
    alive: int = 0


class ByHand:
    """One run of `heal`. `wait` waits, and may show for what."""

    def __init__(self, app: App, person: Person, wanted: Filter, *, wait: Callable[[timedelta, str], None]) -> None:
        """Raises LedgerError where the ledger cannot be used."""
        self._app = app
        self._person = person
        self._wanted = wanted
        self._wait = wait
        healing, config = app.healing, app.config
        get_ledger = healing.keeper.get if person.is_applied else healing.keeper.look
        healing.take_up_sightings(get_ledger)
        self._looked: list[Came] = []
        self._shown: dict[AttemptKey, Candidate] = {}
        self._resets: dict[QueueName, LateReset] = {}
        self._healers: dict[QueueName, Healer] = {}
        who = make_who(config, actor=f"heal by {name_actor()}")
        for poller in app.pollers:
            if person.is_applied:
                make = partial(make_section_reset, poller.name, config.queues[poller.name], get_ledger)
                self._resets[poller.name] = LateReset(make)
            self._healers[poller.name] = healing.make(
                poller,
                config,
                self._resets.get(poller.name),
                who=who,
                get_ledger=get_ledger,
            )

    @property
    def planned(self) -> int:
        """How many jobs would be put back, of those that were shown."""
        return len(self._shown)

    def look(self) -> list[Came]:
        """Read every queue, ask every host, and plan; changes nothing.

        What a round teaches of a host counts from the next one, which follows where a verdict waits for that.
        """
        self._app.poll_once()
        if any(self._may_beat(attempt, verdict) for attempt, verdict in self._wanted_verdicts()):
            self._wait(LOST_AFTER + MARGIN, "heartbeats are watched")
            self._app.poll_once()
        if any(verdict.reason is Reason.HOST_UNPROVEN for _, verdict in self._wanted_verdicts()):
            self._app.poll_once()
        self._looked, self._shown = [], {}
        for poller in self._app.pollers:
            looker = self._limited(replace(self._person, is_applied=False), taken=len(self._shown))
            came = self._refuse_unwritable(self._make_pass(poller, looker, self._is_wanted))
            self._looked.append(came)
            self._shown |= {one.attempt.key: one for one in (came.made.plan.resets if came.made else ())}
        return self._looked

    def act(self) -> list[Came]:
        """Make the second proof, and put back what `look` has shown and is proven, or vouched for, then."""
        self._prove_again()
        unknown = (key for key, one in self._shown.items() if one.verdict.value is Liveness.UNKNOWN)
        person = replace(self._person, vouched=frozenset(unknown))
        came: list[Came] = []
        for poller, looked in zip(self._app.pollers, self._looked, strict=True):
            taken = sum(_may_have_reset(one, self._shown.keys()) for one in came)
            came.append(self._act(poller, looked, self._limited(person, taken=taken)))
        return came

    def _limited(self, person: Person, *, taken: int) -> Person:
        """Return the person with what earlier queues have left of their limit."""
        return person if person.limit is None else replace(person, limit=max(0, person.limit - taken))

    def _refuse_unwritable(self, came: Came) -> Came:
        """Say before anybody is asked what nobody could put back."""
        reset = self._resets.get(came.queue)
        if reset is None or came.made is None or not came.made.plan.resets:
            return came
        try:
            reset.check()
        except ConfigurationError as error:
            return _hindered(came, str(error), error.exit_code)
        return came

    def _prove_again(self) -> None:
        """Read and ask at least once more, and until the second proof is there."""
        for turn in range(TRIES):
            ahead = max((self._until_second_proof(poller) for poller in self._app.pollers), default=timedelta(0))
            if turn and ahead <= timedelta(0):
                return
            if ahead > timedelta(0):
                self._wait(ahead, "the second proof comes")
            self._app.poll_once()

    def _act(self, poller: Poller, looked: Came, person: Person) -> Came:
        """Put back what was shown of one queue; where that is nothing, what was shown stands."""
        shown = {key for key in self._shown if key.queue == looked.queue}
        if looked.made is None or not shown:
            return looked
        came = self._make_pass(poller, person, self._is_shown)
        if came.made is None:
            return _hindered(looked, came.error, came.exit_code)
        spoken_of = {one.attempt.key for one in came.made.plan.resets} | {one.key for one in came.made.plan.refusals}
        silent = shown - spoken_of - {one.key for one in came.made.concluded}
        alive = sum(self._is_same(came.made.candidates.get(key)) for key in silent)
        return replace(came, made=_after(looked.made, came.made), alive=alive, moved_on=len(silent) - alive)

    def _make_pass(self, poller: Poller, person: Person, wants: Callable[[Attempt, Seen], bool]) -> Came:
        seen = self._app.see(poller)
        if seen is None or not seen.status.is_up:
            error = poller.error or poller.silence
            return Came(queue=poller.name, made=None, error=error, exit_code=ReadError.exit_code)
        try:
            made = self._healers[poller.name].run(
                seen, person=person, wants=lambda attempt: wants(attempt, seen), wait_seconds=LOCK_SECONDS
            )
        except QueuemedicError as error:
            return Came(queue=poller.name, made=None, error=str(error), exit_code=error.exit_code)
        return Came(queue=poller.name, made=made)

    def _is_wanted(self, attempt: Attempt, seen: Seen) -> bool:
        reading = seen.status.reading
        return reading is not None and matches(attempt, self._wanted, reading.snapshot.database_now)

    def _is_shown(self, attempt: Attempt, _: Seen) -> bool:
        shown = self._shown.get(attempt.key)
        return shown is not None and shown.attempt.claim == attempt.claim

    def _is_same(self, candidate: Candidate | None) -> bool:
        return candidate is not None and candidate.attempt.claim == self._shown[candidate.attempt.key].attempt.claim

    def _wanted_verdicts(self) -> Iterator[tuple[Attempt, Verdict]]:
        for poller in self._app.pollers:
            seen = self._app.see(poller)
            for attempt in seen.held.watched.started if seen else ():
                if seen and self._is_wanted(attempt, seen):
                    yield attempt, seen.held.verdicts[attempt.key]

    def _may_beat(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Whether to watch a heartbeat before anything is said of it; where a person vouches, each that there is."""
        if verdict.reason is Reason.HEARTBEAT_RECENT:
            return True
        return self._person.accepts_unknown and verdict.value is Liveness.UNKNOWN and has_heartbeat(attempt)

    def _until_second_proof(self, poller: Poller) -> timedelta:
        """Return how long the second proof of what was shown has to wait; nothing where none is waited for."""
        seen, now = self._app.see(poller), read_moment().boottime_seconds
        ahead = timedelta(0)
        for attempt in seen.held.watched.started if seen else ():
            suspect = seen.held.suspects.get(attempt.key) if seen else None
            if suspect is None or not seen or not self._is_shown(attempt, seen) or is_confirmed(suspect, now):
                continue
            if seen.held.verdicts[attempt.key].value is Liveness.DEAD:
                confirm_after = self._app.config.queues[poller.name].healing.confirm_after
                since = timedelta(seconds=now - suspect.first.ended_seconds)
                ahead = max(ahead, confirm_after - since + MARGIN, MARGIN)
        return ahead


def _hindered(looked: Came, error: str, exit_code: int) -> Came:
    """Return what was shown of a queue, of which nothing can be put back."""
    made = looked.made
    if made is None:
        return replace(looked, error=error, exit_code=exit_code)
    refused = [refusal(one, RefusalReason.LOCK, error) for one in made.plan.resets]
    plan = replace(made.plan, resets=(), refusals=(*made.plan.refusals, *refused))
    return replace(looked, made=replace(made, plan=plan), error=error, exit_code=exit_code)


def _may_have_reset(came: Came, shown: Container[AttemptKey]) -> int:
    """Count what was put back, or may have been, of what was shown: not what an earlier pass has left open."""
    concluded = came.made.concluded if came.made else ()
    return sum(one.key in shown and one.outcome in (Outcome.RESET, Outcome.UNKNOWN) for one in concluded)


def _after(looked: Pass, acted: Pass) -> Pass:
    """Return what came of a queue as a whole: what was refused at the look was never asked for again."""
    plan = replace(acted.plan, refusals=(*looked.plan.refusals, *acted.plan.refusals))
    refused = {one.key: looked.candidates[one.key] for one in looked.plan.refusals}
    return replace(acted, plan=plan, candidates=MappingProxyType({**acted.candidates, **refused}))


def name_actor() -> str:
    """Name who runs this program: behind sudo, who has called it."""
    caller = os.environ.get("SUDO_USER")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.geteuid())
    return f"{caller} (as {user})" if caller else user
