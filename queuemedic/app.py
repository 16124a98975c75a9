"""The composition root: build the program from its configuration, and run it.

Two pools of threads keep what hangs away from what does not (docs/decisions/0001): a queue that failed polls among
`failing` until it succeeds. At most two polls at a time go to one database server.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import ProcessCollector

from exporter import clock
from exporter.collector import QueueStatus, collect_program, collect_queue
from exporter.jobs import QueueName
from exporter.page import Format, Page
from exporter.poller import Polled, Poller
from exporter.slots import ServerSlots
from healers.metrics import collect_healing

from . import __version__
from .config import Config
from .systems import make_queue

POLLS_PER_SERVER = 2
POLLING, FAILING = "polling", "failing"
PROGRAM = "/program"
PROGRAM_SECONDS = 5.0
BUSY_RETRY = timedelta(seconds=1)
JITTER = 0.05
CHECK_THREADS = 16


class App:
    """The program as built from one configuration: a poller for each queue, and the page that they publish on."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigurationError where a queue cannot be built; nothing is read yet."""
        self.config = config
        self._page = Page()
        self._configured_at = clock.now()
        self._process = ProcessCollector(registry=None)
        self._program_due = 0.0
        slots: dict[str, ServerSlots] = defaultdict(lambda: ServerSlots(POLLS_PER_SERVER))
        aliases = {alias: name for name, host in config.hosts.items() for alias in host.aliases}
        self.pollers: list[Poller] = []
        for name, section in config.queues.items():
            queue = make_queue(name, section.system, section.options)
            self.pollers.append(
                Poller(
                    queue,
                    section.options,
                    aliases=aliases,
                    server_slots=slots[queue.server],
                    publish=self._publish,
                )
            )

    def poll_once(self) -> None:
        """Poll every queue once, side by side."""
        threads = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="check")
        try:
            wait([threads.submit(_poll_surely, poller) for poller in self.pollers])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Poll every queue at its interval, beside whatever is done meanwhile."""
        scheduler = BackgroundScheduler(
            executors={POLLING: Pool(16), FAILING: Pool(4)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        # A poll that takes longer than its interval is no fault; how long it took is published.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        for poller in self.pollers:
            _schedule(scheduler, poller)
        scheduler.start()
        try:
            yield
        finally:
            scheduler.shutdown(wait=False)

    def close(self, *, within_seconds: float) -> bool:
        """Close every connection that no poll uses any more; False if some poll had not ended in time."""
        ends = clock.monotonic_seconds() + within_seconds
        has_closed = True
        for poller in self.pollers:
            has_closed &= poller.close(within_seconds=max(0.0, ends - clock.monotonic_seconds()))
        return has_closed

    def find_unready(self) -> Sequence[str]:
        """Name each queue that has no fresh snapshot, and why."""
        return [f"{poller.name}: {poller.error or poller.silence}" for poller in self.pollers if not poller.is_fresh]

    def get_page(self, page_format: Format, is_compressed: bool) -> bytes:
        """Return the page, with what the program says of itself at most five seconds old."""
        now = clock.monotonic_seconds()
        if now >= self._program_due:
            self._program_due = now + PROGRAM_SECONDS
            program = collect_program(__version__, configured_at=self._configured_at, is_configured=True)
            self._page.update(PROGRAM, [*program, *self._process.collect()])
        return self._page.get(page_format, is_compressed)

    def _publish(self, status: QueueStatus, valid_until: float) -> None:
        healing = self.config.queues[QueueName(status.name)].healing
        families = [*collect_queue(status), *collect_healing(status.name, healing)]
        self._page.update(status.name, families, valid_until=valid_until)


def _poll_surely(poller: Poller) -> None:
    while poller.poll() is Polled.SERVER_BUSY:
        pass


def _schedule(scheduler: BackgroundScheduler, poller: Poller) -> None:
    every = poller.status.options.poll_every.total_seconds()

    def run() -> None:
        polled = poller.poll()
        pool = POLLING if poller.status.is_up else FAILING
        changes: dict[str, object] = {"executor": pool}
        if polled is Polled.SERVER_BUSY:
            changes["next_run_time"] = clock.now() + BUSY_RETRY
        elif poller.seconds_to_wait > 0:
            changes["next_run_time"] = clock.now() + timedelta(seconds=poller.seconds_to_wait)
        with suppress(JobLookupError):
            scheduler.modify_job(poller.name, **changes)

    scheduler.add_job(
        run,
        "interval",
        id=poller.name,
        executor=POLLING,
        seconds=every,
        jitter=every * JITTER,
        next_run_time=clock.now(),
    )
