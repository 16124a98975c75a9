"""Jobs go on when the clock is set, or the machine has slept."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from exporter import clock
from queuemedic.scheduling import Scheduler
from tests.lab.waiting import wait_until


class Clock:
    """A wall clock that is ahead of the real one by as much as it is set."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the program reads, and APScheduler too."""
    found = Clock()
    monkeypatch.setattr(clock, "now", found.now)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return found.now() if tz is not None else found.now().replace(tzinfo=None)

    for module in ("apscheduler.schedulers.base", "apscheduler.triggers.interval"):
        monkeypatch.setattr(f"{module}.datetime", Shifted)
    return found


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """A scheduler as the program's own."""
    running = Scheduler()
    running.start()
    yield running
    running.shutdown(wait=True)


@pytest.mark.parametrize("days", [-1, 120])
def test_a_job_goes_on_after_the_clock_was_set(wall: Clock, scheduler: Scheduler, days: int) -> None:
    """Once, and at its interval from then on: of what was missed nothing is made up for, nor listed one by one."""
    runs: list[datetime] = []
    ran = threading.Event()

    def run() -> None:
        runs.append(wall.now())
        ran.set()

    scheduler.add_job(run, "interval", seconds=1, next_run_time=wall.now())
    assert ran.wait(20)
    ran.clear()
    before = len(runs)
    wall.ahead = timedelta(days=days)
    scheduler.wakeup()
    assert ran.wait(20)
    wait_until(lambda: len(runs) >= before + 3, within=20, what="the job goes on at its interval")
    gaps = [later - earlier for earlier, later in zip(runs[before + 1 :], runs[before + 2 :], strict=False)]
    assert all(gap > timedelta(seconds=0.5) for gap in gaps), gaps
