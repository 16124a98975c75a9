"""A person heals: look, plan, and if asked act, with both proofs made on the spot.

What a person may lift and what not is for the guards (`healers/guards`). A look opens the ledger for reading only, and
one that is not there yet holds nothing back; to act, it is opened for writing first.
"""

import getpass
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from exporter.errors import ReadError
from exporter.jobs import Attempt, QueueName
from exporter.poller import Poller
from healers.asking import read_moment
from healers.cycle import Healer, Pass
from healers.filters import Filter, matches
from healers.gathering import Seen
from healers.proofs import is_confirmed
from healers.reasons import Liveness, Reason
from healers.runs import LOST_AFTER
from healers.situation import Person

from .app import App
from .building import make_section_reset

LOCK_SECONDS: Final = 60.0
MARGIN: Final = timedelta(milliseconds=200)
TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came of one queue: a pass, or the reason why there is none."""

    queue: QueueName
    made: Pass | None
    error: str = ""


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
        self._healers: dict[QueueName, Healer] = {}
        for poller in app.pollers:
            section, reset = config.queues[poller.name], None
            if person.is_applied:
                reset = make_section_reset(poller.name, section, get_ledger)
            self._healers[poller.name] = healing.make(
                poller, config, reset, actor=f"heal by {name_actor()}", get_ledger=get_ledger
            )

    def look(self) -> list[Came]:
        """Read every queue, ask every host, and plan; changes nothing."""
        self._app.poll_once()
        if any(Reason.HEARTBEAT_RECENT in self._reasons(poller) for poller in self._app.pollers):
            self._wait(LOST_AFTER + MARGIN, "heartbeats are watched")
            self._app.poll_once()
        looker = replace(self._person, is_applied=False)
        return [self._make_pass(poller, looker) for poller in self._app.pollers]

    def act(self) -> list[Came]:
        """Make the second proof, and put back what is proven then."""
        for _ in range(TRIES):
            ahead = max((self._until_second_proof(poller) for poller in self._app.pollers), default=timedelta(0))
            if ahead <= timedelta(0):
                break
            self._wait(ahead, "the second proof comes")
            self._app.poll_once()
        return [self._make_pass(poller, self._person) for poller in self._app.pollers]

    def _make_pass(self, poller: Poller, person: Person) -> Came:
        seen = self._app.see(poller)
        if seen is None or not seen.status.is_up:
            return Came(queue=poller.name, made=None, error=poller.error or poller.silence)
        try:
            made = self._healers[poller.name].run(
                seen, person=person, wants=lambda attempt: self._wants(attempt, seen), wait_seconds=LOCK_SECONDS
            )
        except ReadError as error:
            return Came(queue=poller.name, made=None, error=str(error))
        return Came(queue=poller.name, made=made)

    def _wants(self, attempt: Attempt, seen: Seen) -> bool:
        reading = seen.status.reading
        return reading is not None and matches(attempt, self._wanted, reading.snapshot.database_now)

    def _reasons(self, poller: Poller) -> Iterator[Reason]:
        seen = self._app.see(poller)
        for attempt in seen.held.watched.started if seen else ():
            if seen and self._wants(attempt, seen):
                yield seen.held.verdicts[attempt.key].reason

    def _until_second_proof(self, poller: Poller) -> timedelta:
        """Return how long the second proof of what is wanted has to wait; nothing where none is waited for."""
        seen, now = self._app.see(poller), read_moment().boottime_seconds
        ahead = timedelta(0)
        for attempt in seen.held.watched.started if seen else ():
            suspect = seen.held.suspects.get(attempt.key) if seen else None
            if suspect is None or not seen or not self._wants(attempt, seen) or is_confirmed(suspect, now):
                continue
            if seen.held.verdicts[attempt.key].value is Liveness.DEAD:
                confirm_after = self._app.config.queues[poller.name].healing.confirm_after
                since = timedelta(seconds=now - suspect.first.ended_seconds)
                ahead = max(ahead, confirm_after - since + MARGIN, MARGIN)
        return ahead


def name_actor() -> str:
    """Name who runs this program: behind sudo, who has called it."""
    caller = os.environ.get("SUDO_USER")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.geteuid())
    return f"{caller} (as {user})" if caller else user
