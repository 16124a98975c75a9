"""The scheduler of a running program, which goes on when somebody sets the clock, or the machine has slept.

APScheduler (3.11) dates on the wall clock what is due next: set back by a day, it would do nothing for that day; and of
a job that is late it lists every time that was missed, one by one, while nothing else is begun.
Pools of threads keep what hangs away from what does not (docs/decisions/0001): a queue that failed polls among
`failing` until it succeeds, a host that was silent is asked among `silent` until it answers, and a queue whose account
that writes did not answer is healed among `ailing`. A pool begins no thread before it is needed.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, timedelta
from types import MappingProxyType
from typing import Any, Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter import clock

POLLING, FAILING, PROBING, SILENT = "polling", "failing", "probing", "silent"
HEALING, AILING, BEATING = "healing", "ailing", "beating"
THREADS: Final[Mapping[str, int]] = MappingProxyType(
    {POLLING: 16, FAILING: 4, PROBING: 32, SILENT: 64, HEALING: 4, AILING: 2, BEATING: 1}
)
JITTER: Final = 0.05
"""Of an interval."""

SET_SECONDS: Final = 1.0
LOOKS_EVERY_SECONDS: Final = 1.0
VERY_LATE: Final = timedelta(minutes=1)


class Scheduler(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Makes all jobs due at once where the wall clock was set back, and those that are very late due just now."""

    def __init__(self) -> None:
        super().__init__(
            executors={name: ThreadPoolExecutor(threads) for name, threads in THREADS.items()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        # A poll that takes longer than its interval is no fault; how long it took is published.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._lead = _read_lead()
        self._looked_at = 0.0

    def _process_jobs(self) -> Any:
        lead, seconds = _read_lead(), clock.boottime_seconds()
        was_set, was_set_back, now = abs(lead - self._lead) > SET_SECONDS, lead < self._lead - SET_SECONDS, clock.now()
        self._lead = lead
        is_due = was_set or seconds - self._looked_at >= LOOKS_EVERY_SECONDS
        self._looked_at = seconds if is_due else self._looked_at
        for job in self.get_jobs() if is_due else ():
            if was_set_back or (job.next_run_time is not None and now - job.next_run_time > VERY_LATE):
                with suppress(JobLookupError):
                    self.modify_job(job.id, next_run_time=now)
        return super()._process_jobs()


def _read_lead() -> float:
    """Return how far the wall clock is ahead of one that nobody sets."""
    return clock.now().timestamp() - clock.boottime_seconds()
