"""What is told of putting jobs back: alerts/rules/healing.yml."""

from collections import deque
from typing import ClassVar, Final

from tests.faults.healed_queue import start_worker
from tests.lab.orphans import HOST, Worker, changed
from tests.lab.proxy import Mode, Proxy
from tests.lab.waiting import wait_until

from .scale import limit
from .scenario import NEVER_LATE, TABLE, MatomoScenario, Values

FEW, MANY = 4, 22
WHY: Final = "moving the database"
NO_PID: Final = 30_001
ON_THE_WAY: Final = frozenset(
    f"Queuemedic{name}" for name in ("JobOrphaned", "HealingBlocked", "HostWithoutLiveWorker", "NothingEnding")
)
"""Two proofs, each of them a poll and a round, take longer than the quarter of an hour that is two seconds here.

And a job that was put back waits, as no archiver comes for it.
"""


class HealingScenario(MatomoScenario):
    """A queue whose jobs are put back."""

    board = "queuemedic-healing?var-queue"
    options: ClassVar[Values] = {**NEVER_LATE}
    healing: ClassVar[Values] = {"mode": "reset"}
    also = ON_THE_WAY

    def command(self, *arguments: str) -> None:
        """Run a command, which has to succeed."""
        done = self.watch.command(*arguments, "--queue", self.queue)
        assert done.code == 0, f"{arguments}: {done}"

    def until_back(self, job: int) -> None:
        """Wait until a job was put back."""
        wait_until(
            lambda: self.sql(f"SELECT 1 FROM {TABLE} WHERE idinvalidation = %s AND status = 0", job),
            within=60,
            what=f"job {job} is put back",
            every_seconds=0.5,
        )


class HealingStopped(HealingScenario):
    """What the account that writes asks gets no answer, so that a pass does not end."""

    options: ClassVar[Values] = {**NEVER_LATE, "stale_after": limit("2h"), "poll_timeout": "2m"}

    def section(self) -> Values:
        self._proxy = self.undo.enter_context(Proxy(self.server.port))
        self.write_url = changed(self.write_url, port=self._proxy.port)
        return super().section()

    def begin(self) -> None:
        worker = self.worker()
        self.claim(worker.pid)
        self.until_judged("alive")
        self._proxy.mode = Mode.BLACK_HOLE
        worker.kill()

    def end(self) -> None:
        self._proxy.mode = Mode.FORWARD
        self._proxy.cut()


class HealingBlocked(HealingScenario):
    """More jobs are orphaned than may be put back within an hour; a person puts them back."""

    healing: ClassVar[Values] = {"mode": "reset", "max_resets_per_hour": 1}
    labels: ClassVar[Values] = {"reason": "rate"}

    def begin(self) -> None:
        self.claim_and_die(3)

    def end(self) -> None:
        self.command("heal", "--apply", "--yes")


class HealingPaused(HealingScenario):
    """Somebody pauses healing, and forgets it."""

    def begin(self) -> None:
        self.command("pause", "--why", WHY)

    def end(self) -> None:
        self.command("resume")


class BreakerOpen(HealingScenario):
    """On two of three hosts a job's worker is not there, and nobody has ever seen it; a person says that this is so."""

    healing: ClassVar[Values] = {"mode": "reset", "confirm_after": "10s"}
    hushes = frozenset({"QueuemedicJobOrphaned"})

    def prepare(self) -> None:
        super().prepare()
        self._hosts = [self.watch.add_host(f"web{number}") for number in (1, 2, 3)]

    def begin(self) -> None:
        self.watch.until('count(queuemedic_host_up{host=~"web[123]"} == 1) == 3')
        worker = start_worker(self._hosts[2])
        self.claim(worker, host="web3")
        self.until_judged("alive")
        for host in self._hosts[:2]:
            self.claim(NO_PID, host=host.name)

    def end(self) -> None:
        self.command("resume")


class JobQuarantined(HealingScenario):
    """A job kills its worker, is put back, and kills the next one; Matomo's administrator takes it out."""

    healing: ClassVar[Values] = {"mode": "reset", "max_resets_per_job": {"resets": 1, "within": "24h"}}

    def begin(self) -> None:
        (self._job,) = self.claim_and_die()
        self.until_back(self._job)
        worker = self.worker()
        self.sql(
            f"UPDATE {TABLE} SET status = 1, ts_started = NOW(), processing_host = %s, process_id = %s"
            " WHERE idinvalidation = %s",
            HOST,
            worker.pid,
            self._job,
        )
        self.until_judged("alive")
        worker.kill()

    def end(self) -> None:
        self.finish(self._job)


class ResetFailed(HealingScenario):
    """Somebody has a transaction open in which rows are locked, while one worker after the other dies."""

    def begin(self) -> None:
        self._workers: deque[Worker] = deque()
        self._session = self.undo.enter_context(self.server.connect(self.database))
        self._execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self._session.begin()

    def keep(self) -> None:
        self._workers.append(self.worker())
        self.claim(self._workers[-1].pid)
        self._execute(f"SELECT 1 FROM {TABLE} FOR UPDATE")
        if len(self._workers) > FEW:
            self._workers.popleft().kill()

    def end(self) -> None:
        self._session.rollback()

    def _execute(self, statement: str) -> None:
        with self._session.cursor() as cursor:
            cursor.execute(statement)


class ManyResets(HealingScenario):
    """A worker is killed with many jobs at once."""

    options: ClassVar[Values] = {**NEVER_LATE, "stale_after": limit("12h")}
    also = ON_THE_WAY | {"QueuemedicWorkerHoldsTooManyJobs"}

    def begin(self) -> None:
        self.claim_and_die(MANY)

    def end(self) -> None:
        self.clear()
