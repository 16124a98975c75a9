"""What a running program shows of itself: the views that the web side is given, made when they are asked for.

All of it is in memory but the ledger, which may be far away, slow, or hang. So it is read only while somebody looks, by
a thread and over a read-only connection of its own, and who looks sees what it said last.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from heapq import nsmallest
from typing import Final, TypeVar

from exporter import clock
from exporter.collector import Reading
from exporter.errors import NoLedger, QueuemedicError
from exporter.jobs import Attempt, QueueName
from exporter.poller import Poller
from exporter.series import Point
from exporter.showing import Glance, glance, list_queue, show_attempt, show_queue
from exporter.views import AttemptView, HealingView, HostView, ListedQueueView, PauseView, QueueView
from exporter.web.source import LookBack, Source
from healers.beliefs import QueueBeliefs
from healers.ledger import Ledger
from healers.reasons import Liveness
from healers.views import count_verdicts, show_healing, show_host, show_recorded, show_verdict, show_verdicts

from .app import App
from .building import find_ledger

T = TypeVar("T")
DISABLED: Final = HealingView(mode="disabled", breaker_open=False, quarantined=0, blocked={}, passed_at=None)
LATEST: Final = 100
LOOK_SECONDS: Final = 3.0
FIRST_LOOK_SECONDS: Final = 1.0


class LookingBack:
    """What the ledger said last; `get` is for any thread, returns at once, and has it read anew where it is old."""

    def __init__(self, app: App, *, open_ledger: Callable[[], Ledger] | None = None) -> None:
        self._app = app
        self._open = open_ledger or (lambda: Ledger.open_read_only(find_ledger(app.config, os.environ)))
        self._looking = threading.Lock()
        self._has_looked = threading.Event()
        self._looked_at = -LOOK_SECONDS
        self._last = LookBack(is_read=False)

    def get(self) -> LookBack:
        """Return what is known; who is the first to ask waits for a moment."""
        if not self._app.healing.is_needed:
            return LookBack(is_kept=False)
        is_old = clock.monotonic_seconds() - self._looked_at >= LOOK_SECONDS
        if is_old and self._looking.acquire(blocking=False):
            threading.Thread(target=self._look, name="looking-back", daemon=True).start()
            self._has_looked.wait(FIRST_LOOK_SECONDS)
        return self._last

    def _look(self) -> None:
        try:
            self._last = self._read()
        finally:
            self._looked_at = clock.monotonic_seconds()
            self._has_looked.set()
            self._looking.release()

    def _read(self) -> LookBack:
        try:
            with closing(self._open()) as ledger:
                pauses = ledger.brakes.pauses()
                heals = tuple(map(show_recorded, ledger.journal.latest(LATEST)))
        except NoLedger:
            return LookBack()
        except QueuemedicError as error:
            return LookBack(heals=self._last.heals, pauses=self._last.pauses, fault=str(error))
        return LookBack(
            heals=tuple(one.model_copy(update={"row": None}) for one in heals),
            pauses=tuple(
                PauseView(queue=queue, why=one.why, actor=one.actor, at=one.at) for queue, one in pauses.items()
            ),
        )


def make_source(app: App, looking_back: LookingBack) -> Source:
    """Return what the web side asks for."""
    return Source(
        glance=lambda name: _with(app, name, _glance, None),
        glances=lambda: [_glance(app, poller) for poller in app.pollers],
        list_queues=lambda: [_list(app, poller) for poller in app.pollers],
        show_queue=lambda name: _with(app, name, _show, None),
        worst_attempts=lambda name, number: _with(app, name, lambda it, one: _worst(it, one, number), ()),
        points=lambda name: _with(app, name, _points, ()),
        list_hosts=lambda: _list_hosts(app),
        look_back=looking_back.get,
        seconds=clock.boottime_seconds,
    )


def _with(app: App, name: str, show: Callable[[App, Poller], T], nothing: T) -> T:
    poller = app.find_poller(QueueName(name))
    return nothing if poller is None else show(app, poller)


def _list(app: App, poller: Poller) -> ListedQueueView:
    """Show a queue without its started jobs."""
    return list_queue(poller.status, poller.error).model_copy(update=_known(app, poller))


def _glance(app: App, poller: Poller) -> Glance:
    return glance(poller.status, poller.error, _known(app, poller))


def _known(app: App, poller: Poller) -> dict[str, object]:
    """Say what is known of a queue beside its reading; costs a look at each started job that is stuck or judged."""
    status, held = poller.status, app.believe(poller.name)
    known = _standing(app, poller)
    if held is not None and status.reading is not None:
        verdicts, stuck = held.verdicts, status.reading.facts.stuck
        alive = sum(key in verdicts and verdicts[key].value is Liveness.ALIVE for key in stuck)
        known |= count_verdicts(held) | {"stuck_alive": alive}
    return known


def _show(app: App, poller: Poller) -> QueueView:
    view = show_queue(poller.status, poller.error).model_copy(update=_standing(app, poller))
    return show_verdicts(view, app.believe(poller.name))


def _standing(app: App, poller: Poller) -> dict[str, object]:
    """Say what healing does, and that a queue is not up whose last reading is stale."""
    status = app.healing.status_of(poller.name)
    healing = {"healing": show_healing(status) if status else DISABLED}
    if poller.is_fresh or poller.status.reading is None:
        return {**healing, "up": poller.status.is_up}
    return {**healing, "up": False, "error": poller.error or poller.silence}


def _worst(app: App, poller: Poller, number: int) -> Sequence[AttemptView]:
    """Show the started jobs of a queue that need a person first: the dead, the stuck, the oldest."""
    reading, held = poller.status.reading, app.believe(poller.name)
    if reading is None:
        return ()
    return [
        _judged(one, reading, held) for one in nsmallest(number, reading.snapshot.started, key=_rank(reading, held))
    ]


def _judged(attempt: Attempt, reading: Reading, held: QueueBeliefs | None) -> AttemptView:
    return show_verdict(show_attempt(attempt, reading), held.verdicts.get(attempt.key) if held else None)


def _rank(reading: Reading, held: QueueBeliefs | None) -> Callable[[Attempt], tuple[bool, bool, float]]:
    def rank(attempt: Attempt) -> tuple[bool, bool, float]:
        verdict = held.verdicts.get(attempt.key) if held else None
        is_dead = verdict is not None and verdict.value is Liveness.DEAD
        age = attempt.age.total_seconds() if attempt.age is not None else 0.0
        return not is_dead, attempt.key not in reading.facts.stuck, -age

    return rank


def _points(_: App, poller: Poller) -> Sequence[Point]:
    return poller.series.points()


def _list_hosts(app: App) -> list[HostView]:
    return [show_host(asker.status, asker.silence, asker.doubt) for asker in app.askers]
