"""The scheduler of a running program, which goes on when somebody sets the clock back.

APScheduler (3.11) dates on the wall clock what is due next: set back by a day, it would do nothing for that day.
"""

from contextlib import suppress
from typing import Any, Final

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter import clock

SET_BACK_SECONDS: Final = 1.0


class Scheduler(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Makes all jobs due at once where the wall clock was set back; where it was set forth, they are anyway."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._lead = _read_lead()

    def _process_jobs(self) -> Any:
        lead = _read_lead()
        if lead < self._lead - SET_BACK_SECONDS:
            self._make_all_due()
        self._lead = lead
        return super()._process_jobs()

    def _make_all_due(self) -> None:
        now = clock.now()
        for job in self.get_jobs():
            with suppress(JobLookupError):
                self.modify_job(job.id, next_run_time=now)


def _read_lead() -> float:
    """Return how far the wall clock is ahead of one that nobody sets."""
    return clock.now().timestamp() - clock.boottime_seconds()
