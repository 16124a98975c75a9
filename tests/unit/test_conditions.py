"""What polls and clocks did, as the guards are told it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.collector import QueueStatus
from exporter.errors import Unreachable
from exporter.jobs import QueueName, Role
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from healers.beliefs import Moment
from healers.conditions import ClockReading, Polls, compare_clocks, describe_database, follow_polls, read_clocks
from tests.builders import NOON

SECOND = timedelta(seconds=1)


class Watch:
    """A poller on a queue whose clock is set by hand, and what is known of its polls."""

    def __init__(self) -> None:
        self.at = NOON
        self.queue = MemoryQueue(QueueName("q"), now=lambda: self.at)
        self.poller = Poller(
            self.queue, QueueOptions(), aliases={}, server_slots=ServerSlots(1), publish=lambda *_: None
        )
        self.polls = Polls()

    @property
    def status(self) -> QueueStatus:
        """What was published last."""
        return self.poller.status

    def look(self) -> Polls:
        """Follow what was published last."""
        self.polls = follow_polls(self.polls, self.status)
        return self.polls

    def poll(self, *, is_up: bool = True, after: int = 15) -> Polls:
        """Poll, and follow."""
        self.at += after * SECOND
        self.queue.fails_with = None if is_up else Unreachable("no route to host")
        self.poller.poll()
        return self.look()


def test_before_the_first_poll_nothing_went() -> None:
    """A start is no outage."""
    watch = Watch()
    assert watch.look() == Polls()
    first = watch.poll()
    assert (first.is_answering, first.came_back_at) == (True, None)
    assert describe_database(first, watch.status).role is Role.PRIMARY


def test_an_outage_ends_with_the_first_poll_that_succeeds() -> None:
    """It is dated when that poll read, and stays known."""
    watch = Watch()
    watch.poll()
    assert not watch.poll(is_up=False).is_answering
    back = watch.poll()
    assert (back.is_answering, back.came_back_at) == (True, watch.at)
    assert watch.poll().came_back_at == back.came_back_at
    database = describe_database(back, watch.status)
    assert (database.is_answering, database.came_back_at, database.poll_interval) == (
        True,
        back.came_back_at,
        15 * SECOND,
    )


def test_a_first_poll_that_fails_is_an_outage() -> None:
    """Only it shows that there was one."""
    watch = Watch()
    watch.poll(is_up=False)
    assert watch.poll().came_back_at == watch.at


def test_an_outage_that_nobody_looked_at_is_one() -> None:
    """A pass may come after the poll that succeeded, and miss the one that failed."""
    watch = Watch()
    watch.poll()
    watch.queue.fails_with = Unreachable("no route to host")
    watch.poller.poll()
    assert watch.poll().came_back_at == watch.at


def test_a_second_outage_is_dated_anew() -> None:
    """The first one's end says nothing of it."""
    watch = Watch()
    for is_up in (True, False, True, False):
        watch.poll(is_up=is_up)
    assert watch.poll().came_back_at == watch.at


def test_the_same_reading_again_changes_nothing() -> None:
    """A pass after a round goes by the poll that was."""
    watch = Watch()
    watch.poll()
    known = replace(watch.polls, has_new_schema=True, came_back_at=NOON)
    assert follow_polls(known, watch.status) == known


@pytest.mark.parametrize(("before", "expected"), [(None, False), ("memory", False), ("5.2", True)])
def test_a_schema_is_new_for_one_poll(before: str | None, expected: bool) -> None:
    """It is compared with that of the last poll that succeeded."""
    watch = Watch()
    watch.polls = Polls(is_answering=True, read_at=NOON, schema=before)
    assert watch.poll().has_new_schema is expected
    assert describe_database(watch.polls, watch.status).has_new_schema is expected
    assert not watch.poll().has_new_schema


def test_an_outage_hides_no_change_of_schema() -> None:
    """It may be why there was one."""
    watch = Watch()
    watch.polls = Polls(is_answering=True, read_at=NOON, schema="5.2")
    watch.poll(is_up=False)
    assert watch.poll().has_new_schema


def clocks(*, wall: float = 0, boot: float = 0, offset: float | None = 0) -> ClockReading:
    """Return all clocks, so many seconds after noon."""
    moment = Moment(at=NOON + wall * SECOND, boottime_seconds=boot, monotonic_seconds=0)
    return ClockReading(moment=moment, offset=None if offset is None else offset * SECOND)


@pytest.mark.parametrize(
    ("last", "now", "drift", "jump"),
    [
        (None, clocks(), 0, 0),
        (None, clocks(offset=None), 0, None),
        (clocks(), clocks(wall=60, boot=60), 0, 0),
        (clocks(), clocks(wall=3660, boot=60), 3600, 0),  # set forward
        (clocks(), clocks(wall=-3540, boot=60), -3600, 0),  # set back
        (clocks(), clocks(wall=60, boot=3660), -3600, 0),  # slept, and the wall clock was not told
        (clocks(offset=3), clocks(wall=60, boot=60, offset=10), 0, 7),
        (clocks(offset=3), clocks(wall=60, boot=60, offset=-4), 0, -7),
        (clocks(offset=None), clocks(wall=60, boot=60, offset=500), 0, 0),
        (clocks(offset=3), clocks(wall=60, boot=60, offset=None), 0, None),
    ],
)
def test_how_far_clocks_moved_apart(last: ClockReading | None, now: ClockReading, drift: int, jump: int | None) -> None:
    """Since the last pass; before the first there was nothing to move from, and what is not read is not known."""
    moved = compare_clocks(last, now)
    assert (moved.drift, moved.offset_jump) == (drift * SECOND, None if jump is None else jump * SECOND)


def test_the_offset_is_the_databases_clock_minus_ours() -> None:
    """As the last poll read them; none before."""
    watch, moment = Watch(), Moment(at=NOON, boottime_seconds=0, monotonic_seconds=0)
    assert read_clocks(watch.status, moment).offset is None
    watch.poll()
    reading = watch.status.reading
    assert reading is not None
    ahead = replace(reading.snapshot, database_now=reading.snapshot.read_at + 7 * SECOND)
    status = replace(watch.status, reading=replace(reading, snapshot=ahead))
    assert read_clocks(status, moment) == ClockReading(moment=moment, offset=7 * SECOND)
