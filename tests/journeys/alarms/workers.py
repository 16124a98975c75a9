"""What is told of workers and hosts: alerts/rules/workers.yml."""

import subprocess
import sys
from datetime import timedelta
from typing import ClassVar, Final

from tests.lab.hosts import Partition
from tests.lab.orphans import HOST

from .scale import limit
from .scenario import JOB, NEVER_LATE, MatomoScenario, Values

BYTES: Final = 100 << 20
LARGE: Final = f"block = b'x' * {BYTES}; import sys; sys.stdin.read()"
WEB: Final = "web4"
PID: Final = 4711


class WorkerRunsTooLong(MatomoScenario):
    """One archiver is at it for longer than `worker_timeout_after`, job after job."""

    labels: ClassVar[Values] = {"host": HOST}
    options: ClassVar[Values] = {"worker_timeout_after": limit("30m")}

    def begin(self) -> None:
        self._worker = self.worker()
        self._jobs: list[int] = []

    def keep(self) -> None:
        self._jobs += self.claim(self._worker.pid)
        if len(self._jobs) > 2:
            self.finish(self._jobs.pop(0))

    def end(self) -> None:
        self.clear()


class WorkerHoldsTooManyJobs(MatomoScenario):
    """One process holds five jobs."""

    labels: ClassVar[Values] = {"host": HOST}

    def begin(self) -> None:
        self.claim(self.worker().pid, 5)

    def end(self) -> None:
        self.clear()


class WorkerMemoryHigh(MatomoScenario):
    """A worker takes most of the memory that it may."""

    board = "queuemedic-healing?var-host"

    def begin(self) -> None:
        argv = [sys.executable, "-c", LARGE, "/srv/matomo/console", "core:archive"]
        self._child = self.undo.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True))
        self.claim(self._child.pid)

    def expected(self) -> dict[str, str]:
        return {"job": JOB, "host": HOST}

    def end(self) -> None:
        self.clear_and_see()
        self._child.communicate()


class HostImbalance(MatomoScenario):
    """Of two hosts that work on a queue, one has nearly all of it, until the other one takes its share."""

    labels: ClassVar[Values] = {"host": "left"}
    options: ClassVar[Values] = {**NEVER_LATE}

    def begin(self) -> None:
        for host, jobs in (("left", 9), ("right", 1)):
            for number in range(jobs):
                self.claim(1000 + number, host=host)

    def end(self) -> None:
        for number in range(20):
            self.claim(2000 + number, host="right")


class HostWithoutLiveWorker(MatomoScenario):
    """A job names a process that is no archiver, so that nobody can say whether it works on it."""

    board = "queuemedic-healing?var-queue"
    labels: ClassVar[Values] = {"host": HOST}
    options: ClassVar[Values] = {**NEVER_LATE}

    def begin(self) -> None:
        self._child = self.undo.enter_context(subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE))
        self.claim(self._child.pid)

    def end(self) -> None:
        self.clear_and_see()
        self._child.communicate()


class HostUnreachable(MatomoScenario):
    """A host falls silent, and a job on it looks stuck then; the host is what is told."""

    board = "queuemedic-healing?var-host"
    hushes = frozenset({"QueuemedicJobStuck"})

    def prepare(self) -> None:
        super().prepare()
        self._host = self.watch.add_host(WEB)

    def begin(self) -> None:
        self.watch.until(f'queuemedic_host_up{{host="{WEB}"}} == 1')
        self._host.partition(Partition.BOTH)
        self.watch.until(f'ALERTS{{alertname="{self.alert}",alertstate="firing",host="{WEB}"}}')
        self.claim(PID, host=WEB, ts_started=timedelta(minutes=1))

    def expected(self) -> dict[str, str]:
        return {"job": JOB, "host": WEB}

    def end(self) -> None:
        self.clear_and_see()
        self._host.connect()
