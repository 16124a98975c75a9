"""What is told of single jobs: alerts/rules/jobs.yml."""

from typing import ClassVar, Final

from tests.lab.orphans import HOST

from .scale import limit
from .scenario import NEVER, NEVER_LATE, MatomoScenario, Values

ELSEWHERE: Final = "web99"
"""A host that is not configured."""
PID: Final = 4711


class JobRunsLong(MatomoScenario):
    """A worker is at one job for longer than `stuck_after`."""

    labels: ClassVar[Values] = {"host": HOST}
    options: ClassVar[Values] = {"stuck_after": limit("1h")}

    def begin(self) -> None:
        self.claim(self.worker().pid)

    def end(self) -> None:
        self.clear()


class JobStuck(MatomoScenario):
    """The same on a host that nobody can ask."""

    labels: ClassVar[Values] = {"host": ELSEWHERE}
    also = frozenset({"QueuemedicJobUnjudged"})
    options: ClassVar[Values] = {"stuck_after": limit("30m")}

    def begin(self) -> None:
        self.claim(PID, host=ELSEWHERE)

    def end(self) -> None:
        self.clear()


class JobWithoutStartTime(MatomoScenario):
    """A row is claimed, and its start time is missing; its worker lives."""

    labels: ClassVar[Values] = {"host": HOST}

    def begin(self) -> None:
        self.claim(self.worker().pid, ts_started=None)

    def end(self) -> None:
        self.clear()


class JobOrphaned(MatomoScenario):
    """A worker is killed where nothing is put back by itself; a person does it."""

    board = "queuemedic-healing?var-queue"
    labels: ClassVar[Values] = {"host": HOST}
    options: ClassVar[Values] = {**NEVER_LATE}
    healing: ClassVar[Values] = {"mode": "disabled"}

    def begin(self) -> None:
        self.claim_and_die()

    def end(self) -> None:
        done = self.watch.command("heal", "--queue", self.queue, "--apply", "--yes")
        assert done.code == 0, done


class JobUnjudged(MatomoScenario):
    """A job is stuck on a host that nobody can ask; a person vouches, with the command that the alert names."""

    board = "queuemedic-healing?var-queue"
    labels: ClassVar[Values] = {"host": ELSEWHERE}
    also = frozenset({"QueuemedicJobStuck"})
    options: ClassVar[Values] = {"stuck_after": limit("30m")}
    healing: ClassVar[Values] = {"mode": "disabled"}

    def begin(self) -> None:
        self.claim(PID, host=ELSEWHERE)

    def end(self) -> None:
        told = self.told.annotations["description"]
        named = told.partition("queuemedic ")[2].split()
        assert named[:3] == ["heal", "--queue", self.queue], told
        done = self.watch.command(*named, "--apply", "--yes")
        assert done.code == 0, done


class TimeoutRateHigh(MatomoScenario):
    """Four jobs take longer than `timeout_after` beside those that are done."""

    options: ClassVar[Values] = {"stuck_after": NEVER, "timeout_after": limit("18m")}
    also = frozenset({"QueuemedicNothingEnding"})

    def begin(self) -> None:
        self._slow = [job for _ in range(2) for job in self.claim(self.worker().pid, 2)]

    def keep(self) -> None:
        self.flow()

    def end(self) -> None:
        self.finish(*self._slow)


__all__ = ["JobOrphaned", "JobRunsLong", "JobStuck", "JobUnjudged", "JobWithoutStartTime", "TimeoutRateHigh"]
