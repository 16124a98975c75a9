"""A poll never raises, is never too often, and swaps in its reading whole."""

import threading
from collections.abc import Mapping
from datetime import timedelta

import pytest

from exporter.collector import QueueStatus
from exporter.errors import BadSchema, NoAnswer, PollTimeout, ReadError, Refused, Unreachable
from exporter.jobs import Cursor, Kind, QueueName, Snapshot
from exporter.options import QueueOptions
from exporter.poller import Polled, Poller
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from tests.lab.waiting import wait_until

KIND = Kind("job")


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the monotonic clock."""
    made = Clock()
    monkeypatch.setattr("exporter.clock.monotonic_seconds", made)
    return made


class Watched:
    """A poller on a memory queue, and everything it has published."""

    def __init__(self, clock: Clock, *, slots: int = 2, **options: timedelta | float) -> None:
        self.clock = clock
        self.queue = MemoryQueue(QueueName("q"))
        self.slots = ServerSlots(slots)
        self.published: list[tuple[QueueStatus, float]] = []
        self.poller = Poller(
            self.queue,
            QueueOptions.model_validate(options),
            aliases={},
            server_slots=self.slots,
            publish=lambda status, valid_until: self.published.append((status, valid_until)),
        )

    def poll(self, *, after: float = 15.0, takes: float = 0.0) -> Polled:
        """Poll after so many seconds; the poll takes so long."""
        self.clock.seconds += after
        read = self.queue.read

        def slow(cursor: object) -> object:
            self.clock.seconds += takes
            return read(cursor)  # type: ignore[arg-type]

        self.queue.read = slow  # type: ignore[method-assign,assignment]
        try:
            return self.poller.poll()
        finally:
            self.queue.read = read  # type: ignore[method-assign]

    @property
    def polls(self) -> Mapping[str, int]:
        """Polls by outcome, those that were."""
        return {outcome: number for outcome, number in self.poller.status.polls.items() if number}


def test_before_the_first_poll_the_queue_is_down_and_counters_are_zero(clock: Clock) -> None:
    """A page is there at once: down is not empty, and known values are 0."""
    watched = Watched(clock)
    ((status, valid_until),) = watched.published
    assert (status.is_up, status.reading, valid_until) == (False, None, 0.0)
    assert status.history.enqueued == {KIND: 0}
    assert not watched.poller.is_fresh


def test_a_good_poll_publishes_its_reading(clock: Clock) -> None:
    """Snapshot, facts and history are of the same poll."""
    watched = Watched(clock)
    watched.queue.enqueue()
    assert watched.poll() is Polled.DONE
    status, valid_until = watched.published[-1]
    assert status.is_up
    assert status.reading is not None
    assert status.reading.history is status.history
    assert status.reading.history.previous is status.reading.snapshot
    assert valid_until == clock.seconds + 300
    assert watched.poller.is_fresh


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PollTimeout("late"), "timeout"),
        (Unreachable("gone"), "unreachable"),
        (Refused("no"), "refused"),
        (BadSchema("what"), "bad_schema"),
        (ReadError("hm"), "failed"),
    ],
)
def test_a_failed_poll_is_counted_and_keeps_what_was_known(clock: Clock, error: ReadError, outcome: str) -> None:
    """Down at once; the last reading and the counters stay, and the next good poll goes on from there."""
    watched = Watched(clock)
    watched.queue.enqueue()
    watched.poll()
    before = watched.poller.status
    watched.queue.fails_with = error
    watched.queue.enqueue()
    assert watched.poll() is Polled.DONE
    status = watched.poller.status
    assert (status.is_up, status.reading, watched.poller.error) == (False, before.reading, str(error))
    assert watched.polls == {"ok": 1, outcome: 1}
    watched.queue.fails_with = None
    watched.poll(after=100)
    assert watched.poller.status.is_up
    assert watched.poller.status.history.enqueued == {KIND: 1}
    assert watched.poller.error is None


def test_a_surprise_is_a_failed_poll_and_not_the_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a queue raises, polling goes on."""
    watched = Watched(clock)
    monkeypatch.setattr(watched.queue, "read", lambda _: 1 / 0)
    assert watched.poller.poll() is Polled.DONE
    assert watched.polls == {"failed": 1}
    assert watched.poller.error == "division by zero"


def test_a_timeout_doubles_the_interval_and_success_restores_it(clock: Clock) -> None:
    """A call that comes too soon returns at once; what is in force is published."""
    watched = Watched(clock)
    watched.queue.fails_with = PollTimeout()
    assert watched.poll() is Polled.DONE
    assert watched.poller.status.interval == timedelta(seconds=30)
    assert watched.poll(after=15) is Polled.NOT_NOW
    assert watched.poll(after=15) is Polled.DONE
    assert watched.poller.status.interval == timedelta(seconds=60)
    watched.queue.fails_with = None
    assert watched.poll(after=59) is Polled.NOT_NOW
    assert watched.poll(after=1) is Polled.DONE
    assert watched.poller.status.interval == timedelta(seconds=15)
    assert watched.polls == {"timeout": 2, "ok": 1}


def test_the_interval_stops_doubling(clock: Clock) -> None:
    """An hour is the longest, so that a queue always comes back by itself."""
    watched = Watched(clock)
    watched.queue.fails_with = PollTimeout()
    for _ in range(20):
        watched.poll(after=3600)
    assert watched.poller.status.interval == timedelta(hours=1)


def test_a_slow_poll_never_takes_more_than_its_share(clock: Clock) -> None:
    """Two seconds at five per cent is a poll every forty."""
    watched = Watched(clock)
    watched.poll(takes=2.0)
    assert watched.poller.status.interval == timedelta(seconds=40)
    assert watched.poll(after=37.0) is Polled.NOT_NOW
    assert watched.poll(after=1.0, takes=0.1) is Polled.DONE
    assert watched.poller.status.interval == timedelta(seconds=15)


def test_a_snapshot_is_stale_three_intervals_after_it_was_read(clock: Clock) -> None:
    """Five minutes, or three intervals in force where that is more."""
    watched = Watched(clock, poll_every=timedelta(minutes=10))
    watched.poll()
    assert watched.published[-1][1] == clock.seconds + 1800
    clock.seconds += 1799
    assert watched.poller.is_fresh
    clock.seconds += 1
    assert not watched.poller.is_fresh


def test_an_own_limit_for_stale_is_never_below_three_intervals_in_force(clock: Clock) -> None:
    """A queue that is polled less often, since a poll takes long, does not lose its gauges in between."""
    watched = Watched(clock, stale_after=timedelta(seconds=60))
    watched.poll()
    assert watched.poller.status.stale_after == timedelta(seconds=60)
    watched.poll(takes=3.0)
    assert watched.poller.status.interval == timedelta(seconds=60)
    assert watched.poller.status.stale_after == timedelta(seconds=180)
    assert watched.poller.seconds_to_wait == 57.0


def test_a_busy_server_is_left_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two polls at a time go to one server; a third comes back later and is no failure."""
    monkeypatch.setattr("exporter.poller.SLOT_WAIT_SECONDS", 0.01)
    watched = Watched(clock, slots=1)
    assert watched.slots.acquire("another", timeout=0)
    assert watched.poll() is Polled.SERVER_BUSY
    watched.slots.release()
    assert watched.poll(after=0) is Polled.DONE
    assert watched.polls == {"ok": 1}


def test_a_queue_that_is_kept_out_for_long_is_down(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of its server get no answer and take every slot: nobody knows how it is, so it does not look well."""
    monkeypatch.setattr("exporter.poller.SLOT_WAIT_SECONDS", 0.01)
    watched = Watched(clock, slots=1)
    watched.poll()
    assert watched.slots.acquire("another", timeout=0)
    assert watched.poll(after=29) is Polled.SERVER_BUSY
    assert watched.poller.status.is_up
    assert watched.poll(after=2) is Polled.SERVER_BUSY
    assert not watched.published[-1][0].is_up
    assert "busy" in (watched.poller.error or "")
    watched.slots.release()
    assert watched.poll(after=1) is Polled.DONE
    assert watched.published[-1][0].is_up


def test_who_has_waited_longest_comes_first() -> None:
    """Also if it gave up in between: a queue that hangs and retries does not overtake."""
    slots = ServerSlots(1)
    assert slots.acquire("hung", timeout=0)
    assert not slots.acquire("patient", timeout=0)
    order = []

    def take(name: str) -> None:
        assert slots.acquire(name, timeout=10)
        order.append(name)
        slots.release()

    threads = [threading.Thread(target=take, args=[name]) for name in ("eager", "patient")]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(slots._present) == 2, within=5, what="both wait")
    slots.release()
    for thread in threads:
        thread.join()
    assert order == ["patient", "eager"]


def test_a_server_that_says_nothing_is_asked_again_soon(clock: Clock) -> None:
    """Only a statement that runs out of time makes the next poll later."""
    watched = Watched(clock)
    watched.queue.fails_with = NoAnswer()
    watched.poll()
    assert (watched.polls, watched.poller.status.interval) == ({"timeout": 1}, timedelta(seconds=15))


def test_what_cannot_be_published_is_a_failed_poll(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in the page must not look like a good poll."""
    watched = Watched(clock)
    publish = watched.poller._publish
    calls = iter([ValueError("twice"), None])

    def failing(status: QueueStatus, valid_until: float) -> None:
        if error := next(calls):
            raise error
        publish(status, valid_until)

    monkeypatch.setattr(watched.poller, "_publish", failing)
    watched.poll()
    assert watched.polls == {"failed": 1}
    assert not watched.published[-1][0].is_up


def test_a_poller_that_is_closed_polls_no_more(clock: Clock) -> None:
    """Closing waits for a poll under way only as long as it may."""
    watched = Watched(clock)
    watched.poll()
    assert watched.poller.close(within_seconds=0)
    assert watched.poll() is Polled.NOT_NOW
    assert watched.polls == {"ok": 1}


def test_a_poller_that_is_retired_closes_when_its_poll_has_ended(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a poll under way; the connection is closed by whoever is last."""
    closed: list[str] = []
    watched = Watched(clock)
    monkeypatch.setattr(watched.queue, "close", lambda: closed.append("closed"))
    read = watched.queue.read

    def retiring(cursor: Cursor | None) -> Snapshot:
        watched.poller.retire()
        assert closed == []
        return read(cursor)

    monkeypatch.setattr(watched.queue, "read", retiring)
    assert watched.poller.poll() is Polled.DONE
    assert closed == ["closed"]
    assert watched.poll() is Polled.NOT_NOW
    idle = Watched(clock)
    idle.poller.retire()
    assert idle.poll() is Polled.NOT_NOW


def test_hosts_that_are_renamed_go_by_their_new_name_from_the_next_poll_on(clock: Clock) -> None:
    """And it is known which hosts were seen."""
    watched = Watched(clock)
    watched.poll()
    assert not watched.poller.sees({"web03"})
    watched.poller.rename_hosts({"web03.test": "web03"})
    watched.poll()
    assert watched.poller.status.history.aliases == {"web03.test": "web03"}
