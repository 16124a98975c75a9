"""One poll: read the queue, derive, swap in the reading. Counts failures and never raises them.

Timer-driven, not scrape-driven (docs/decisions/0001): whoever schedules calls `poll` every `poll_every`, and a call
that comes too soon returns at once. A poll that hits its limit doubles the interval; a slow one stretches it, so that a
queue never takes more than `max_duty` of one connection's time.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from typing import Final

import structlog

from . import clock
from .catalogue import FAST_BUCKETS
from .collector import QueueStatus, Reading
from .errors import NoAnswer, QueuemedicError, ReadError
from .facts import derive_facts
from .histogram import Histogram
from .jobs import AttemptKey, QueueName, State
from .options import QueueOptions
from .queues.protocol import Queue
from .series import Series
from .slots import ServerSlots
from .tracker import History, track

OUTCOMES: Final = ("ok", "timeout", "unreachable", "refused", "bad_schema", "failed")
LONGEST_INTERVAL: Final = timedelta(hours=1)
LEAST_STALE_AFTER: Final = timedelta(minutes=5)
SLOT_WAIT_SECONDS: Final = 1.0

log = structlog.get_logger()


class Polled(Enum):
    """What a call of `poll` did: it polled, it was not the time, or other polls of ours kept the server busy."""

    DONE = auto()
    NOT_NOW = auto()
    SERVER_BUSY = auto()


class Poller:
    """Polls one queue. `poll` is not for two threads at once; `status` and `series` are for any."""

    def __init__(
        self,
        queue: Queue,
        options: QueueOptions,
        *,
        aliases: Mapping[str, str],
        server_slots: ServerSlots,
        publish: Callable[[QueueStatus, float], None],
    ) -> None:
        """Publishes at once: until the first poll has ended, the queue is down."""
        self.queue = queue
        self._options = options
        self._server_slots = server_slots
        self._publish = publish
        self._aliases = aliases
        self._polling = threading.Lock()
        self._is_retired = False
        self._healed: frozenset[AttemptKey] = frozenset()
        self._earliest = 0.0
        self._ended = clock.monotonic_seconds()
        self._fresh_until = 0.0
        self.error: str | None = None
        self.series = Series()
        history = History.begin(queue.kinds, options, aliases=aliases)
        self.status = QueueStatus(
            name=queue.name,
            system=queue.system,
            signs=queue.signs,
            options=options,
            is_up=False,
            polls=dict.fromkeys(OUTCOMES, 0),
            poll_durations=Histogram(bounds=FAST_BUCKETS),
            interval=options.poll_every,
            stale_after=self._stale_after(options.poll_every),
            history=history,
            reading=None,
        )
        publish(self.status, self._fresh_until)

    @property
    def name(self) -> QueueName:
        """The queue's name."""
        return self.queue.name

    @property
    def is_fresh(self) -> bool:
        """Whether there is a snapshot younger than `stale_after`."""
        return clock.monotonic_seconds() < self._fresh_until

    @property
    def fresh_until(self) -> float:
        """Until when (monotonic seconds) the last snapshot counts."""
        return self._fresh_until

    @property
    def silence(self) -> str:
        """Say why there is no fresh snapshot although no poll has failed."""
        return "the last snapshot is stale, and no poll has ended since" if self.status.reading else "not read yet"

    @property
    def seconds_to_wait(self) -> float:
        """How long from now the next poll has to wait, where the interval in force is longer than `poll_every`."""
        return max(0.0, self._earliest - clock.monotonic_seconds())

    def poll(self) -> Polled:
        """Poll the queue once, unless it is too soon, the poller is closed, or the server has enough to do."""
        if clock.monotonic_seconds() < self._earliest or not self._polling.acquire(blocking=False):
            return Polled.NOT_NOW
        try:
            if not self._server_slots.acquire(self.name, timeout=SLOT_WAIT_SECONDS):
                self._keep_out()
                return Polled.SERVER_BUSY
            try:
                self._poll()
            finally:
                self._server_slots.release()
        finally:
            self._polling.release()
            if self._is_retired:
                self.close(within_seconds=0)
        return Polled.DONE

    def close(self, *, within_seconds: float) -> bool:
        """Close the queue's connection and poll no more; False if a poll was still under way, and nothing was done."""
        if not self._polling.acquire(timeout=within_seconds):
            return False
        self.queue.close()
        return True

    def retire(self) -> None:
        """Poll no more, and close the connection now or, where a poll is under way, as soon as that has ended."""
        self._is_retired = True
        self.close(within_seconds=0)

    def rename_hosts(self, aliases: Mapping[str, str]) -> None:
        """Use other aliases from the next poll on; they must not change the name of a host that was seen."""
        self._aliases = aliases

    def note_healed(self, keys: frozenset[AttemptKey]) -> None:
        """Count these attempts as healed when they are over; each call says all of them anew."""
        self._healed = keys

    def sees(self, hosts: Collection[str]) -> bool:
        """Whether one of these hosts was ever in the table, by its recorded name or by the one it has in labels."""
        return any(host in hosts for host in self.status.history.hosts.known)

    def _poll(self) -> None:
        began = clock.monotonic_seconds()
        last = self.status
        try:
            self._succeed(self._read(), began)
            self._publish(self.status, self._fresh_until)
        except Exception as error:  # noqa: BLE001  one queue's failure must not end the others
            self.status = last
            self._fail(error, clock.monotonic_seconds() - began)
            self._publish(self.status, self._fresh_until)
        self._ended = clock.monotonic_seconds()

    def _keep_out(self) -> None:
        """Say that the queue is down, where other polls have kept its server busy for longer than a poll may take."""
        patience = max(self._options.poll_timeout, 2 * self.status.interval).total_seconds()
        if self.status.is_up and clock.monotonic_seconds() - self._ended > patience:
            self.error = "other polls, which get no answer, keep the server busy"
            log.warning("queue.kept_out", queue=self.name, error=self.error)
            self.status = replace(self.status, is_up=False)
            self._publish(self.status, self._fresh_until)

    def _read(self) -> Reading:
        last = self.status.reading
        began = clock.boottime_seconds()
        snapshot = self.queue.read(last.snapshot.cursor if last else None)
        ended, since = clock.boottime_seconds(), clock.now() - snapshot.read_at
        history = replace(self.status.history, aliases=self._aliases)
        history = track(history, snapshot, self._options, healed=self._healed)
        facts = derive_facts(snapshot, history, self._options, self.queue.signs)
        # The wall clock may be set in between; the boot clock is not.
        read_seconds = min(max(began, ended - since.total_seconds()), ended)
        return Reading(snapshot=snapshot, read_seconds=read_seconds, facts=facts, history=history)

    def _succeed(self, reading: Reading, began: float) -> None:
        took = timedelta(seconds=clock.monotonic_seconds() - began)
        interval = max(self._options.poll_every, took / self._options.max_duty)
        if not self.status.is_up:
            log.info("queue.reached", queue=self.name, schema=reading.snapshot.schema, role=reading.snapshot.role.value)
        last = self.status.reading
        if reading.snapshot.started_left_out and not (last and last.snapshot.started_left_out):
            log.warning("attempts.left_out", queue=self.name, jobs=sum(reading.snapshot.started_left_out.values()))
        self.error = None
        self._end("ok", took, interval)
        self.status = replace(self.status, is_up=True, history=reading.history, reading=reading)
        self.series.note(
            clock.boottime_seconds(),
            waiting=reading.facts.count(State.WAITING),
            enqueued=sum(reading.history.enqueued.values()),
            ended=sum(reading.history.ended.values()),
        )
        self._fresh_until = began + self.status.stale_after.total_seconds()

    def _fail(self, error: Exception, took_seconds: float) -> None:
        outcome = error.outcome if isinstance(error, ReadError) else "failed"
        interval = self._options.poll_every
        # A server that says nothing at all is not made slower by us; a statement that runs out of time may be.
        is_statement = outcome == "timeout" and not isinstance(error, NoAnswer)
        if is_statement:
            interval = min(max(self.status.interval, interval) * 2, max(LONGEST_INTERVAL, interval))
        message = str(error) or type(error).__name__
        if self.status.is_up or message != self.error:
            seconds = interval.total_seconds()
            event = {"queue": self.name, "outcome": outcome, "error": message, "next_after_seconds": seconds}
            if is_statement:
                event["advice"] = f"where the table is large and nothing else is slow: {self.queue.index_hint}"
            unexpected = not isinstance(error, QueuemedicError)
            log.warning("poll.failed", **event, exc_info=error if unexpected else None)
        self.error = message
        self._end(outcome, timedelta(seconds=took_seconds), interval)
        self.status = replace(self.status, is_up=False)
        self.series.note(clock.boottime_seconds(), waiting=None)

    def _end(self, outcome: str, took: timedelta, interval: timedelta) -> None:
        """Count the poll. Its limit is doubled or stretched from the begin of a poll: the earliest next is dated so."""
        status = self.status
        self._earliest = clock.monotonic_seconds() - took.total_seconds()
        if interval > self._options.poll_every:
            self._earliest += interval.total_seconds()
        self.status = replace(
            status,
            polls={**status.polls, outcome: status.polls[outcome] + 1},
            poll_durations=status.poll_durations.observe(took),
            interval=interval,
            stale_after=self._stale_after(interval),
        )

    def _stale_after(self, interval: timedelta) -> timedelta:
        return max(self._options.stale_after or LEAST_STALE_AFTER, 3 * interval)
