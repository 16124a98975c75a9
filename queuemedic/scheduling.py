"""The scheduler of a running program, which goes on when somebody sets the clock, or the machine has slept.

APScheduler (3.11) dates on the wall clock what is due next: set back by a day, it would do nothing for that day; and of
a job that is late it lists every time that was missed, one by one, while nothing else is begun.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter import clock

SET_BACK_SECONDS: Final = 1.0
VERY_LATE: Final = timedelta(minutes=1)


class Scheduler(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Makes all jobs due at once where the wall clock was set back, and those that are very late due just now."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._lead = _read_lead()

    def _process_jobs(self) -> Any:
        lead = _read_lead()
        was_set_back, now = lead < self._lead - SET_BACK_SECONDS, clock.now()
        self._lead = lead
        for job in self.get_jobs():
            if was_set_back or (job.next_run_time is not None and now - job.next_run_time > VERY_LATE):
                with suppress(JobLookupError):
                    self.modify_job(job.id, next_run_time=now)
        return super()._process_jobs()


def _read_lead() -> float:
    """Return how far the wall clock is ahead of one that nobody sets."""
    return clock.now().timestamp() - clock.boottime_seconds()
