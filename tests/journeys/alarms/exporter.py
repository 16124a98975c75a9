"""What is told of the program itself: alerts/rules/exporter.yml."""

import signal
from contextlib import ExitStack
from typing import ClassVar

from sqlalchemy import make_url

from tests.lab import queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Serving
from tests.lab.sqlite_queue import make_queue

from .scale import limit
from .scenario import MatomoScenario, Scenario, Values
from .watch import Watch, address_of


class ProgramScenario(Scenario):
    """Programs of its own, with a queue each, and a job of its own at Prometheus."""

    board = "queuemedic-fleet"
    programs = 1

    def __init__(self, watch: Watch, undo: ExitStack) -> None:
        super().__init__(watch, undo)
        self.job = f"queuemedic-{self.queue}"

    def prepare(self) -> None:
        """Start them."""
        self.served: list[Serving] = []
        for number in range(self.programs):
            folder = self.watch.folder / f"{self.queue}-{number}"
            folder.mkdir()
            config = queuemedic.write_config(folder, {self.queue: make_queue(folder / "jobs.db")})
            self.served.append(self.watch.serve(config))
        self.watch.others[self.job] = [address_of(served) for served in self.served]

    def begin(self) -> None:
        self.watch.until(f'count(up{{job="{self.job}"}} == 1) == {self.programs}')
        self.bring_about()

    def bring_about(self) -> None:
        """Bring the cause about, once all programs have been scraped."""

    def expected(self) -> dict[str, str]:
        return {"job": self.job}

    def start_again(self, number: int) -> None:
        """Start a program that has ended, where it was before."""
        self.watch.serve(self.watch.folder / f"{self.queue}-{number}" / "queuemedic.yml")


class Down(ProgramScenario):
    """The only program is killed."""

    def bring_about(self) -> None:
        self.served[0].stop(signal.SIGKILL)

    def end(self) -> None:
        self.start_again(0)


class InstanceDown(ProgramScenario):
    """One of two is stopped."""

    programs = 2

    def bring_about(self) -> None:
        self.served[1].stop()

    def expected(self) -> dict[str, str]:
        return {"job": self.job, "instance": address_of(self.served[1])}

    def end(self) -> None:
        self.start_again(1)


class ConfigurationRefused(ProgramScenario):
    """Somebody writes what is none into the configuration, and reloads."""

    def bring_about(self) -> None:
        self._file = self.watch.folder / f"{self.queue}-0" / "queuemedic.yml"
        self._right = self._file.read_text()
        self._file.write_text(f"{self._right}pols_every: 1s\n")
        self._reload()

    def end(self) -> None:
        self._file.write_text(self._right)
        self._reload()

    def _reload(self) -> None:
        self.served[0].process.send_signal(signal.SIGHUP)


class PollFailing(MatomoScenario):
    """Somebody locks the account while a job runs long, which is not told any more."""

    options: ClassVar[Values] = {"stuck_after": limit("1h"), "stale_after": limit("12h")}
    also = hushes = frozenset({"QueuemedicJobRunsLong"})

    def begin(self) -> None:
        self.claim(self.worker().pid)
        self.watch.until(f'ALERTS{{alertname="QueuemedicJobRunsLong",alertstate="firing",queue="{self.queue}"}}')
        self._account = make_url(self.url).username
        self.sql(f"ALTER USER {self._account} ACCOUNT LOCK")
        for session in self.server.processlist(idle=True):
            if session.user == self._account:
                self.sql(f"KILL {session.connection_id}")

    def end(self) -> None:
        self.clear()
        self.sql(f"ALTER USER {self._account} ACCOUNT UNLOCK")


class DataStale(MatomoScenario):
    """A database server that stands still: polls neither succeed nor fail, as they may take long."""

    options: ClassVar[Values] = {"stale_after": limit("1h"), "poll_timeout": "2m"}

    def find_server(self) -> MariaDb:
        return self.undo.enter_context(MariaDb())

    def begin(self) -> None:
        self.server.freeze()

    def end(self) -> None:
        self.server.thaw()
