"""What happens to a queue so that somebody is told, and what happens after that so that it is over.

A scenario is named as its alert is. It makes a queue of its own, so that all scenarios run side by side and none
explains what is told of another; a thread of its own leads it from the cause to the message that all is well again.
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit

from tests.contracts.benches import SELECT
from tests.contracts.reset_benches import MATOMO_GRANTS
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import HOST, Worker
from tests.lab.waiting import wait_until
from tests.lab.webhook import Notification

from .scale import limit
from .watch import DOCS, GRAFANA, Watch

JOB: Final = "queuemedic"
TABLE: Final = "matomo_archive_invalidations"
DAY, WEEK = 1, 2
SECONDS_TO_BE_TOLD: Final = 300.0
SECONDS_TO_BE_OVER: Final = 300.0
FLOWING: Final = 4
"""How many steps a job of the flow stays: no poll misses it."""
QUICK: Final = {"poll_every": "2s", "poll_timeout": "20s", "max_duty": 1, "stale_after": limit("3h")}
LIMITS: Final = {
    "stuck_after": limit("2h"),
    "timeout_after": limit("4h"),
    "worker_timeout_after": limit("24h"),
    "run_expected_every": limit("1h"),
    "timeout_window": limit("1h"),
    "breakdown_every": "1s",
}
"""The program's own for Matomo, shortened like the rules."""
NEVER: Final = "1d"
NEVER_LATE: Final[Mapping[str, str]] = MappingProxyType({"stuck_after": NEVER, "timeout_after": NEVER})

Values = dict[str, Any]


class Scenario(ABC):
    """One alert from its cause to its end. `also` are alerts that the same cause may raise beside it.

    `hushes` are those that are on while it fires, and are silenced by it. `is_long`: it takes minutes, as there is a
    day or more in it.
    """

    also: ClassVar[frozenset[str]] = frozenset()
    hushes: ClassVar[frozenset[str]] = frozenset()
    is_long: ClassVar[bool] = False
    board: ClassVar[str] = "queuemedic-queue?var-queue"
    labels: ClassVar[Values] = {}

    def __init__(self, watch: Watch, undo: ExitStack) -> None:
        self.watch, self.undo = watch, undo
        self.alert = f"Queuemedic{type(self).__name__}"
        self.queue = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def prepare(self) -> None:
        """Make what the program is to watch, before it runs."""

    def begin(self) -> None:
        """Bring the cause about."""
        return

    def keep(self) -> None:
        """Go on, about each second until the alert is told."""
        return

    @abstractmethod
    def end(self) -> None:
        """Remove the cause."""

    def tidy(self) -> None:
        """Leave nothing of which more could be told, as others go on."""
        return

    def expected(self) -> dict[str, str]:
        """Return the labels that the alert has beside its name and severity."""
        return {"job": JOB, "queue": self.queue, **self.labels}

    def play(self, severity: str) -> tuple[Notification, Notification]:
        """Lead the scenario through; return what was told when it fired, and when it was over."""
        labels = {"alertname": self.alert, "severity": severity, **self.expected()}
        self.begin()
        told = wait_until(
            lambda: self._go_on(labels),
            within=self.seconds_to_be_told(),
            what=f"{labels} is told",
            every_seconds=1.0,
        )
        self.told = told
        if self.hushes:
            self._assert_hushed()
        before = len(self.watch.webhook.notifications)
        self.end()
        over = wait_until(
            lambda: self.watch.webhook.told(labels, is_firing=False, since=before),
            within=SECONDS_TO_BE_OVER,
            what=f"{labels} is told to be over",
            every_seconds=0.5,
        )
        self.tidy()
        return told, over

    def seconds_to_be_told(self) -> float:
        """Return how long it may take until the alert is told."""
        return 1200.0 if self.is_long else SECONDS_TO_BE_TOLD

    def _go_on(self, labels: dict[str, str]) -> Notification | None:
        told = self.watch.webhook.told(labels, is_firing=True)
        if told is None:
            self.keep()
        return told

    def _assert_hushed(self) -> None:
        """Assert that the others are on, and are silenced."""
        wait_until(
            lambda: self.watch.alertmanager.silenced(queue=self.queue) >= self.hushes,
            within=SECONDS_TO_BE_TOLD,
            what=f"{set(self.hushes)} of {self.queue} are silenced",
            every_seconds=0.5,
        )

    def assert_links(self, told: Notification) -> None:
        """Assert that the links lead to the runbook of this alert, and to a dashboard that shows what it is about."""
        assert told.annotations["runbook_url"] == f"{DOCS}/{self.alert}.md"
        board, _, variable = self.board.partition("?")
        link = urlsplit(told.annotations["dashboard_url"])
        assert f"{link.scheme}://{link.netloc}{link.path}" == f"{GRAFANA}/d/{board}"
        shown = {variable: [self.expected()[variable.removeprefix("var-")]]} if variable else {}
        assert parse_qs(link.query, strict_parsing=bool(shown)) == shown


class MatomoScenario(Scenario):
    """A Matomo with a database and accounts of its own, its limits shortened like the rules."""

    options: ClassVar[Values] = {}
    healing: ClassVar[Values] = {}
    grants: ClassVar[tuple[str, ...]] = ()

    def find_server(self) -> MariaDb:
        """Return the server that the queue is on."""
        return self.watch.mariadb

    def prepare(self) -> None:
        """Make the tables and the accounts."""
        self.server = server = self.find_server()
        self.database = self.queue
        server.sql(f"CREATE DATABASE {self.database}")
        matomo.create_tables(server, self.database)
        self.url = server.account(self.database, [SELECT, *self.grants])
        self.write_url = server.account(self.database, MATOMO_GRANTS)
        self.watch.queues[self.queue] = self.section()
        self._named = 0
        self._flow: deque[list[int]] = deque()

    def section(self) -> Values:
        """Return the queue's section of the configuration."""
        section = {"system": "matomo", "url": self.url, **QUICK, **LIMITS, **self.options}
        if self.healing:
            section["healing"] = {
                "write_url": self.write_url,
                "heal_after": "1s",
                "confirm_after": "1s",
                **self.healing,
            }
        return section

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement in the queue's database."""
        return self.server.sql(statement, *values, database=self.database)

    def add(self, number: int = 1, **row: object) -> list[int]:
        """Add waiting jobs, weeks that are over, no two the same; return their ids."""
        rows = []
        for _ in range(number):
            self._named += 1
            rows.append({"name": f"done{self._named:032x}", "period": WEEK, **row})
        return matomo.insert_rows(self.server, self.database, *rows)

    def claim(self, pid: int | None, number: int = 1, *, host: str | None = HOST, **row: object) -> list[int]:
        """Add jobs that a worker has just started."""
        started = {"status": 1, "ts_started": timedelta(0), "processing_host": host, "process_id": pid}
        return self.add(number, **{**started, **row})

    def finish(self, *jobs: int) -> None:
        """End jobs as Matomo does, by deleting them."""
        if jobs:
            self.sql(f"DELETE FROM {TABLE} WHERE idinvalidation IN ({', '.join(map(str, jobs))})")

    def clear(self) -> None:
        """End all jobs."""
        self.sql(f"DELETE FROM {TABLE}")

    def clear_and_see(self) -> None:
        """End all jobs, and wait until that is known."""
        self.clear()
        self.watch.until(f'sum(queuemedic_jobs{{queue="{self.queue}"}}) == 0')

    def tidy(self) -> None:
        """End all jobs."""
        self.clear()

    def flow(self, number: int = 1) -> None:
        """Let jobs of another site come and go; for `keep`."""
        self._flow.append(self.add(number, idsite=2))
        if len(self._flow) > FLOWING:
            self.finish(*self._flow.popleft())

    def worker(self) -> Worker:
        """Start a worker on this machine."""
        return self.undo.enter_context(Worker())

    def until_judged(self, verdict: str, jobs: int = 1) -> None:
        """Wait until so many jobs of the queue are judged so."""
        series = f'queuemedic_worker_verdicts{{queue="{self.queue}",verdict="{verdict}"}}'
        self.watch.until(f"sum({series}) == {jobs}")

    def claim_and_die(self, number: int = 1) -> list[int]:
        """Let a worker start jobs, be seen alive, and be killed."""
        worker = self.worker()
        jobs = self.claim(worker.pid, number)
        self.until_judged("alive", number)
        worker.kill()
        return jobs
