"""A live queue on embedded SQLite: real worker processes claim and finish jobs, and now and then one is killed.

What a killed worker leaves behind is what Queuemedic is about: a row that stays started, for ever, unless somebody puts
it back; here Queuemedic does, within seconds. Everything lives in a temporary folder and ends with the demo; a worker
whose demo is gone ends by itself.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from exporter import clock

WORKERS = 3
SECONDS_PER_JOB = (0.2, 1.2)
KILL_EVERY_SECONDS = 20.0
KINDS = ("mail", "report", "thumbnail")

SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    started_at TEXT,
    worker_host TEXT,
    worker_pid INTEGER
)
"""
CLAIM = """
UPDATE jobs SET started_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), worker_host = ?, worker_pid = ?
WHERE id = (SELECT id FROM jobs WHERE started_at IS NULL ORDER BY id LIMIT 1) AND started_at IS NULL RETURNING id
"""
STILL_HELD = "SELECT COUNT(*) FROM jobs WHERE id = ? AND worker_pid = ?"
CONFIGURATION = """
web: {{listen: {listen}}}
ledger: sqlite:///{folder}/ledger.db
queues:
  demo:
    system: table
    url: sqlite:///{database}
    from: jobs
    columns: {{id: id, kind: kind, enqueued_at: created_at, started_at: started_at, host: worker_host, pid: worker_pid}}
    waiting_when: started_at IS NULL
    started_when: started_at IS NOT NULL
    worker: {{command: [queuemedic.demo]}}
    poll_every: 1s
    stuck_after: 3s
    timeout_after: 30s
    healing:
      mode: reset
      heal_after: 1s
      confirm_after: 3s
      max_resets_per_job: {{resets: 100, within: 1h}}
      reset: {{started_at: null, worker_host: null, worker_pid: null}}
hosts:
  {host}: {{via: local, pid_namespace: own, ask_every: 1s}}
"""


class Demo:
    """The queue, its workers, and the hand that kills one of them now and then."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.database = folder / "jobs.db"
        self._say = say
        self._workers: list[subprocess.Popen[bytes]] = []
        self._left_behind: dict[tuple[int, int], float] = {}
        self._has_ended = threading.Event()
        self._director = threading.Thread(target=self._direct, name="demo")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the queue live beside whatever is done meanwhile; nothing of it is left behind."""
        with closing(connect(self.database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(SCHEMA)
            enqueue(connection, 20)
        try:
            for _ in range(WORKERS):
                self._hire()
            self._director.start()
            yield
        finally:
            self._has_ended.set()
            if self._director.is_alive():
                self._director.join()
            for worker in self._workers:
                worker.kill()
                worker.wait()

    def _hire(self) -> None:
        command = [sys.executable, "-m", __name__, str(self.database), str(os.getpid())]
        self._workers.append(subprocess.Popen(command, start_new_session=True))  # noqa: S603

    def _direct(self) -> None:
        """Enqueue as many jobs as the workers can do, kill one of them at intervals, and tell when its job is back."""
        seconds = 0.0
        with closing(connect(self.database)) as connection:
            while not self._has_ended.wait(1.0):
                seconds += 1.0
                enqueue(connection, random.randint(1, 6))  # noqa: S311
                self._tell_what_is_back(connection)
                if seconds % KILL_EVERY_SECONDS == 5.0:
                    self._kill_one(connection)

    def _tell_what_is_back(self, connection: sqlite3.Connection) -> None:
        for (job, pid), since in [*self._left_behind.items()]:
            if connection.execute(STILL_HELD, (job, pid)).fetchone() == (0,):
                del self._left_behind[job, pid]
                seconds = clock.monotonic_seconds() - since
                self._say(f"job {job} was put back after {seconds:.0f} s: worker {pid} is proven dead, twice")

    def _kill_one(self, connection: sqlite3.Connection) -> None:
        """Kill a worker that is at work, and hire another."""
        pids = {worker.pid: worker for worker in self._workers}
        for job, pid in connection.execute("SELECT id, worker_pid FROM jobs WHERE started_at IS NOT NULL").fetchall():
            worker = pids.get(pid)
            if worker and worker.poll() is None:
                worker.kill()
                worker.wait()
                self._workers.remove(worker)
                self._left_behind[job, pid] = clock.monotonic_seconds()
                self._say(f"worker {pid} was killed at job {job}, which stays started")
                self._hire()
                return


def connect(database: Path) -> sqlite3.Connection:
    """Open the demo's database for writing, one transaction a statement."""
    return sqlite3.connect(database, timeout=10, isolation_level=None)


def enqueue(connection: sqlite3.Connection, number: int) -> None:
    """Add waiting jobs."""
    connection.executemany("INSERT INTO jobs (kind) VALUES (?)", [(random.choice(KINDS),) for _ in range(number)])  # noqa: S311


def work(database: Path, demo: int) -> None:
    """Claim and finish jobs, as a worker does, until the demo, our parent, is gone."""
    claim = socket.gethostname(), os.getpid()
    with closing(connect(database)) as connection:
        while os.getppid() == demo:
            jobs = connection.execute(CLAIM, claim).fetchall()
            time.sleep(random.uniform(*SECONDS_PER_JOB))  # noqa: S311
            connection.executemany("DELETE FROM jobs WHERE id = ?", jobs)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(Path(sys.argv[1]), int(sys.argv[2]))
