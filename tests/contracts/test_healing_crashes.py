"""The watchdog killed with SIGKILL while it heals: nothing is put back without an intent, nor twice, and all is told.

A pass is killed at one system call after the other. Right after, the database and the ledger are looked at as they
were left; then the program runs again.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from healers.ledger import Ledger
from healers.outcomes import Outcome
from tests.conftest import installed
from tests.lab import run
from tests.lab.mariadb import MariaDb
from tests.lab.programs import program
from tests.lab.waiting import wait_until
from tests.lab.watchdog import Written, ledger_of, read_ledger

from .healing_benches import HealingBench, on_server, on_sqlite, watch
from .ledgers import address_of
from .ledgers import opened as opened_ledger

ROOT = Path(__file__).parents[2]
SIDE_BY_SIDE = 4
MOST_CALLS = 400
SYNCS, WRITES, REQUESTS = ("fsync", "fdatasync", "unlink"), ("pwrite64", "ftruncate"), ("sendto",)
BUDGET = 3
END_SECONDS = 60.0


class Worker:
    """A process of `healing_worker`, which forks the program again and again."""

    def __init__(self) -> None:
        with installed():
            program("strace", package="strace")
        self._log = run.scratch("healing") / "log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.contracts.healing_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return self._log.read_text()

    def heal(self, config: Path, *, inject: str | None = None) -> bool:
        """Run the program until it has healed; tell whether it was killed before its end."""
        self.say({"config": str(config), "inject": inject})
        code = self.hear()["ended"]
        assert code == 0 or (code == -9 and inject is not None), f"{code}: {self.log[-3000:]}"
        return bool(code)

    def say(self, order: dict[str, Any]) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Wait for an answer."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a killed program has left: how often the job was put back, and each intent with its outcome."""

    resets: int
    outcomes: tuple[Outcome | None, ...]


UNTOLD = (Left(resets=1, outcomes=(None,)),)
"""A reset whose outcome was not written yet: where calls of the kind that is tried do not come in between.

An outcome that only waits for its sync is in the file already, which outlives the process.
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Worker]]:
    """Some workers, to be used side by side."""
    with ExitStack() as undo:
        yield [undo.enter_context(Worker()) for _ in range(SIDE_BY_SIDE)]


def kill_at_each(
    workers: list[Worker], calls: Iterable[str], crash: Callable[[Worker, str], Left | None], *, step: int
) -> list[Left]:
    """Kill at every `step`-th of each of the system calls until there are no more; return what each has left.

    strace counts each of them for itself.
    """
    left: list[Left] = []
    with ThreadPoolExecutor(len(workers)) as pool:
        for call in calls:
            numbers = count(1, step)
            found: list[Left | None] = []
            while None not in found:
                these = [next(numbers) for _ in workers]
                assert these[-1] < MOST_CALLS, f"there is no end of {call}"
                found = list(pool.map(crash, workers, [f"{call}:signal=KILL:when={number}" for number in these]))
                left += [one for one in found if one is not None]
    return left


def crash_on_sqlite(folder: Path, worker: Worker, injection: str) -> Left | None:
    """Kill the program on a table and a ledger of its own, look, run it again, and look; None if it was not killed."""
    bench = on_sqlite(folder / injection.replace(":", " "))
    (job,) = bench.kill()
    before, config = bench.rows(), bench.write_config()
    is_killed = worker.heal(config, inject=injection)
    left = look_at_copy(bench)
    if is_killed:
        worker.heal(config)
    with ledger_of(config) as ledger:
        assert_all_told(bench, job, before, left, read_ledger(ledger))
    return left if is_killed else None


def look_at_copy(bench: HealingBench) -> Left:
    """Look at copies of the files: to open them, even to read, would mend them."""
    copies = bench.folder / "copies"
    copies.mkdir()
    for file in bench.folder.glob("*.db*"):
        shutil.copy(file, copies)
    with closing(sqlite3.connect(copies / "jobs.db")) as connection:
        ((resets,),) = connection.execute("SELECT count(*) FROM resets")
    with opened_ledger(address_of(f"sqlite:///{copies / 'ledger.db'}")) as ledger:
        return what_is_left(resets, ledger)


def what_is_left(resets: int, ledger: Ledger) -> Left:
    """Look at what a killed program left: no row was put back of which the ledger does not say that it would be."""
    written = read_ledger(ledger)
    assert written.fault is None
    left = Left(resets=resets, outcomes=tuple(one.outcome for one in written.resets))
    assert left.resets <= len(left.outcomes)
    assert left.outcomes.count(Outcome.RESET) <= left.resets <= 1
    return left


def assert_all_told(bench: HealingBench, job: str, before: Any, left: Left, written: Written) -> None:
    """Hold the journal against the database, which has put the job back once, and changed nothing else."""
    assert bench.resets() == {job: 1}
    assert bench.rows() == bench.put_back(before, [job])
    outcomes = [one.outcome for one in written.resets]
    first = [] if not left.outcomes else [Outcome.RESET if left.resets else Outcome.FAILED]
    assert outcomes == (first if left.resets else [*first, Outcome.RESET])
    assert {one.intent.key.job_id for one in written.resets} == {job}
    assert written.fault is None


def assert_seen(left: list[Left], *, but: Collection[Left] = ()) -> None:
    """Make sure that the program was killed before and after each thing that it does."""
    assert set(left) == {
        Left(resets=0, outcomes=()),
        Left(resets=0, outcomes=(None,)),
        Left(resets=1, outcomes=(None,)),
        Left(resets=1, outcomes=(Outcome.RESET,)),
    } - set(but)


def test_killed_at_any_sync_of_a_pass(tmp_path: Path, workers: list[Worker]) -> None:
    """In the ledger and in the database, whose own journal then may have to be rolled back."""
    left = kill_at_each(workers, SYNCS, partial(crash_on_sqlite, tmp_path), step=1)
    assert_seen(left, but=UNTOLD)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(5, id="every fifth"),
        pytest.param(1, id="each", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_killed_at_writes_of_a_pass(tmp_path: Path, workers: list[Worker], step: int) -> None:
    """Also between a reset and its outcome."""
    assert_seen(kill_at_each(workers, WRITES, partial(crash_on_sqlite, tmp_path), step=step))


def crash_on_mariadb(server: MariaDb, folder: Path, has_ledger: bool, worker: Worker, injection: str) -> Left | None:
    """Do the same on a server; what was sent there goes on without the program."""
    with on_server(server, folder / injection.replace(":", " "), has_ledger=has_ledger) as bench:
        (job,) = bench.kill()
        before, config = bench.rows(), bench.write_config()
        is_killed = worker.heal(config, inject=injection)
        sessions = partial(server.sql, "SELECT db FROM information_schema.processlist")
        wait_until(
            lambda: not {name for (name,) in sessions()} & bench.databases,
            within=END_SECONDS,
            what="the server has noticed",
        )
        with ledger_of(config) as ledger:
            left = what_is_left(bench.resets()[job], ledger)
        if is_killed:
            worker.heal(config)
        with ledger_of(config) as ledger:
            assert_all_told(bench, job, before, left, read_ledger(ledger))
    return left if is_killed else None


@pytest.mark.parametrize(
    ("has_ledger", "step"),
    [
        pytest.param(False, 4, id="every fourth"),
        pytest.param(True, 1, id="each", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_killed_at_requests_of_a_pass(
    tmp_path: Path, workers: list[Worker], mariadb: MariaDb, has_ledger: bool, step: int
) -> None:
    """What was sent to the server goes on without the program; the ledger is a file, or there as well."""
    left = kill_at_each(workers, REQUESTS, partial(crash_on_mariadb, mariadb, tmp_path, has_ledger), step=step)
    assert_seen(left, but=() if has_ledger else UNTOLD)


def test_a_loop_of_crashes_spends_no_more_than_the_budget(tmp_path: Path, workers: list[Worker]) -> None:
    """Killed again and again, five lives put back three jobs within an hour, and say of the others why not."""
    bench = on_sqlite(tmp_path / "q")
    jobs = bench.kill(BUDGET + 3)
    config = bench.write_config(max_resets_per_hour=BUDGET)
    for worker, sync in zip(workers, (2, 5, 9, 3), strict=True):
        assert worker.heal(config, inject=f"fdatasync:signal=KILL:when={sync}")
        assert bench.resets().total() <= BUDGET
    with watch(config) as dog:
        dog.look_twice()
        dog.look_twice()
    assert bench.resets() == dict.fromkeys(jobs[:BUDGET], 1)
    with ledger_of(config) as ledger:
        written = read_ledger(ledger)
    assert [one.outcome for one in written.resets].count(Outcome.RESET) == BUDGET
    assert {job for job, reasons in written.reasons().items() if "rate" in reasons} == set(jobs[BUDGET:])
