"""Read from the ledger what holds a pass back, and keep the breaker there. What cannot be read is None, which refuses.

The breaker steps at every pass, also where nothing would be reset. It is kept only where it changed, and instead of the
one that was read: what another instance or `resume` changed meanwhile is read and stepped again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from exporter.errors import LedgerError, NoLedger
from exporter.jobs import Attempt, QueueName

from .beliefs import Moment
from .breaker import BreakerState, Tally, resume, step
from .ledger import Brakes, Ledger
from .options import HealingOptions

HOUR: Final = timedelta(hours=1)
TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the ledger says; None where it could not be read, and then `fault` says why.

    `resets_by_job` is of the jobs that were asked about, and of them only.
    """

    is_usable: bool = False
    is_paused: bool | None = None
    pause_detail: str = ""
    resets_last_hour: int | None = None
    resets_by_job: Mapping[tuple[str, ...], int] | None = None
    has_open_intents: bool = False
    fault: str = ""

    def count_resets(self, attempt: Attempt) -> int | None:
        """Return how often the job of an attempt was put back lately."""
        return None if self.resets_by_job is None else self.resets_by_job.get(attempt.natural_key)


class BudgetClock:
    """Tells from when budgets count back: the least that it can be now by the wall clock and the boot clock.

    A wall clock that is set forth must refill no budget. What it said is believed for the longest span that any budget
    counts, twice that at most, as one that was behind at the start would else hold all resets back for ever.
    """

    def __init__(self, options: HealingOptions, began: Moment) -> None:
        self._longest_seconds = max(HOUR, options.max_resets_per_job.within).total_seconds()
        self._earlier = self._later = began

    def read(self, now: Moment) -> datetime:
        """Return the instant; raises nothing."""
        if now.boottime_seconds - self._later.boottime_seconds >= self._longest_seconds:
            self._earlier, self._later = self._later, now
        return min(now.at, *(_brought_forward(one, now) for one in (self._earlier, self._later)))


def _brought_forward(then: Moment, now: Moment) -> datetime:
    return then.at + timedelta(seconds=now.boottime_seconds - then.boottime_seconds)


def read_brakes(
    get_ledger: Callable[[], Ledger],
    queue: QueueName,
    options: HealingOptions,
    *,
    now: datetime,
    jobs: Collection[tuple[str, ...]] | None,
    looks_for_open_intents: bool = False,
) -> Held:
    """Read pauses, the budgets of the queue and of these `jobs`, and whether some pass has left an intent open.

    Without `jobs` no budget is read. A ledger that is not there yet holds nothing back.
    """
    try:
        ledger = get_ledger()
        is_paused, detail = read_pause(ledger, queue)
        has_open = looks_for_open_intents and bool(ledger.journal.open_intents(queue))
        held = Held(is_usable=True, is_paused=is_paused, pause_detail=detail, has_open_intents=has_open)
        if jobs is None:
            return held
        by_job = ledger.journal.resets_by_job(queue, since=now - options.max_resets_per_job.within, jobs=jobs)
        last_hour = ledger.journal.count_resets(queue, since=now - HOUR)
    except NoLedger:
        return Held(is_usable=True, is_paused=False, resets_last_hour=0, resets_by_job=dict.fromkeys(jobs or (), 0))
    except LedgerError as error:
        return Held(fault=str(error))
    return replace(held, resets_last_hour=last_hour, resets_by_job=by_job)


def read_pause(ledger: Ledger, queue: QueueName) -> tuple[bool, str]:
    """Tell whether a queue, or all of them, are paused, and by whom; raises LedgerError."""
    pauses = ledger.brakes.pauses()
    pause = pauses.get(None) or pauses.get(queue)
    if pause is None:
        return False, ""
    return True, f"{pause.why} ({pause.actor}, {pause.at:%Y-%m-%d %H:%M:%SZ})"


def step_breaker(
    get_ledger: Callable[[], Ledger],
    queue: QueueName,
    tallied: Tally,
    options: HealingOptions,
    *,
    now: datetime,
    keeps: bool,
) -> BreakerState | None:
    """Step the breaker by what a pass saw, and keep it if it `keeps`; None where it could be neither read nor kept."""
    try:
        ledger = get_ledger()
        for _ in range(TRIES):
            before = ledger.brakes.breaker(queue, BreakerState)
            after = step(before or BreakerState(), tallied, options=options.breaker, now=now)
            if not keeps or after == (before or BreakerState()):
                return after
            if ledger.brakes.keep_breaker(queue, after, instead_of=before):
                return after
    except NoLedger:
        return step(BreakerState(), tallied, options=options.breaker, now=now)
    except LedgerError:
        pass
    return None


def close_breaker(brakes: Brakes, queue: QueueName) -> bool:
    """Close the breaker of a queue for a person; tells whether it was open. Raises LedgerError."""
    while (before := brakes.breaker(queue, BreakerState)) is not None and before.is_open:
        if brakes.keep_breaker(queue, resume(before), instead_of=before):
            return True
    return False
