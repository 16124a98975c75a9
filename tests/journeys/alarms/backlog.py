"""What is told of the backlog: alerts/rules/backlog.yml."""

from typing import ClassVar

from tests.lab.matomo import Archiver
from tests.lab.waiting import wait_until

from .scale import limit
from .scenario import DAY, NEVER_LATE, TABLE, MatomoScenario, Values


class BacklogGrowing(MatomoScenario):
    """The archiver does a job a second, and three come in."""

    def begin(self) -> None:
        self._jobs = self.add(5)

    def keep(self) -> None:
        self._jobs += self.add(3)
        self.finish(self._jobs.pop(0))

    def end(self) -> None:
        self.clear()


class BacklogNotConverging(MatomoScenario):
    """A little more comes in than is done, for days."""

    is_long = True
    also = frozenset({"QueuemedicBacklogGrowing"})

    def begin(self) -> None:
        self._jobs = self.add(5)
        self._steps = 0

    def keep(self) -> None:
        self._steps += 1
        self._jobs += self.add(1)
        if self._steps % 2:
            self.finish(self._jobs.pop(0))

    def end(self) -> None:
        self.clear()


class NothingStarted(MatomoScenario):
    """Cron does not start the archiver any more."""

    def begin(self) -> None:
        self.add(3)

    def end(self) -> None:
        with Archiver(self.server.root_url(self.database)) as archiver:
            archiver.wait()


class RunMissed(MatomoScenario):
    """The same where cron starts it every two hours."""

    is_long = True
    options: ClassVar[Values] = {"run_expected_every": limit("2h")}

    def begin(self) -> None:
        self.add(3)

    def end(self) -> None:
        self.clear()


class NothingEnding(MatomoScenario):
    """The archiver's three workers hang, and a job waits behind them."""

    options: ClassVar[Values] = {**NEVER_LATE}

    def begin(self) -> None:
        self.add(4)
        archiver = Archiver(self.server.root_url(self.database), work_seconds=3600)
        self._archiver = self.undo.enter_context(archiver)

    def end(self) -> None:
        def has_ended() -> bool:
            for worker in self._archiver.workers():
                worker.finish()
            return not self.sql(f"SELECT 1 FROM {TABLE}")

        wait_until(has_ended, within=60, what="the archiver has done all", every_seconds=0.5)


class ReportsOutdated(MatomoScenario):
    """A day that is over waits, while others are done."""

    def begin(self) -> None:
        self._days = self.add(period=DAY)

    def keep(self) -> None:
        self.flow()

    def end(self) -> None:
        self.finish(*self._days)
