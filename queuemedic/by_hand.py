"""A person heals: look, plan, and if asked act, with both proofs made on the spot.

Between the two the person says yes to what was shown, and time passes. So `act` reads and asks anew, and takes up only
what was shown as planned and still claims the same; an unknown one only if it was shown as unknown.
What a person may lift and what not is for the guards (`healers/guards`). A look opens the ledger for reading only, and
one that is not there yet holds nothing back; to act, it is opened for writing first.
"""

import getpass
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from exporter.errors import ReadError
from exporter.jobs import Attempt, AttemptKey, QueueName
from exporter.poller import Poller
from healers.asking import read_moment
from healers.candidates import Candidate
from healers.cycle import Healer, Pass
from healers.filters import Filter, matches
from healers.gathering import Seen
from healers.guards.verdict import has_heartbeat
from healers.proofs import is_confirmed
from healers.reasons import Liveness, Reason
from healers.runs import LOST_AFTER
from healers.situation import Person
from healers.verdicts import Verdict

from .app import App
from .building import make_section_reset

LOCK_SECONDS: Final = 60.0
MARGIN: Final = timedelta(milliseconds=200)
TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came of one queue: a pass, or the reason why there is none.

    Of those that were shown as planned, `moved_on` are held by others or ended by now, and `alive` turned out to be.
    """

    queue: QueueName
    made: Pass | None
    error: str = ""
    moved_on: int = 0
    alive: int = 0


class ByHand:
    """One run of `heal`. `wait` waits, and may show for what."""

    def __init__(self, app: App, person: Person, wanted: Filter, *, wait: Callable[[timedelta, str], None]) -> None:
        """Raises LedgerError where the ledger cannot be used, and ConfigurationError where nobody may write."""
        self._app = app
        self._person = person
        self._wanted = wanted
        self._wait = wait
        healing, config = app.healing, app.config
        get_ledger = healing.keeper.get if person.is_applied else healing.keeper.look
        healing.take_up_sightings(get_ledger)
        self._looked: list[Came] = []
        self._shown: dict[AttemptKey, Candidate] = {}
        self._healers: dict[QueueName, Healer] = {}
        for poller in app.pollers:
            section, reset = config.queues[poller.name], None
            if person.is_applied:
                reset = make_section_reset(poller.name, section, get_ledger)
            self._healers[poller.name] = healing.make(
                poller, config, reset, actor=f"heal by {name_actor()}", get_ledger=get_ledger
            )

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
        looker = replace(self._person, is_applied=False)
        self._looked = [self._make_pass(poller, looker, self._is_wanted) for poller in self._app.pollers]
        planned = [one for came in self._looked if came.made for one in came.made.plan.resets]
        self._shown = {one.attempt.key: one for one in planned}
        return self._looked

    def act(self) -> list[Came]:
        """Make the second proof, and put back what `look` has shown and is proven, or vouched for, then."""
        self._prove_again()
        unknown = (key for key, one in self._shown.items() if one.verdict.value is Liveness.UNKNOWN)
        person = replace(self._person, vouched=frozenset(unknown))
        pollers = {poller.name: poller for poller in self._app.pollers}
        return [self._act(pollers[looked.queue], looked, person) for looked in self._looked]

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
            return came
        spoken_of = {one.attempt.key for one in came.made.plan.resets} | {one.key for one in came.made.plan.refusals}
        silent = shown - spoken_of - {one.key for one in came.made.concluded}
        alive = sum(self._is_same(came.made.candidates.get(key)) for key in silent)
        return replace(came, made=_after(looked.made, came.made), alive=alive, moved_on=len(silent) - alive)

    def _make_pass(self, poller: Poller, person: Person, wants: Callable[[Attempt, Seen], bool]) -> Came:
        seen = self._app.see(poller)
        if seen is None or not seen.status.is_up:
            return Came(queue=poller.name, made=None, error=poller.error or poller.silence)
        try:
            made = self._healers[poller.name].run(
                seen, person=person, wants=lambda attempt: wants(attempt, seen), wait_seconds=LOCK_SECONDS
            )
        except ReadError as error:
            return Came(queue=poller.name, made=None, error=str(error))
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
