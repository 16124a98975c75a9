"""What one worker does: take a job, work, finish it, or die of it; with the statements of Matomo and of Meltano.

A worker knows of its jobs only what the database tells it, and says in the log what it is about to do. It reaches the
database through its socket; while there is a file `no_way` it waits, as if its packets were lost. Half of the workers
die of an error of the database, as Matomo's do; the others try again until it answers.
"""

import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

import psycopg
import pymysql

TABLE: Final = "matomo_archive_invalidations"
BAD: Final = "donebad"
"""How the name of a job begins that kills each worker that takes it."""
SLICE_SECONDS: Final = 0.05
CRASHES, LEAVES_CHILD, IS_STUBBORN = 0.2, 0.15, 0.5
CHILD_SECONDS: Final = 6.0
"""Long enough to be put back in vain, if children did not count."""
WORKS_ON_SECONDS: Final = 8.0
SHORT_SECONDS, LONG_SECONDS, IS_LONG = (0.3, 2.5), (6.0, 12.0), 0.3
"""How long a job takes: most of them a moment, some long enough to be put back in vain, if their worker seemed dead."""
BEAT_SECONDS: Final = 1.0

T = TypeVar("T")


@dataclass(kw_only=True)
class Worker:
    """One worker: its name, which no database has, its settings, its luck, and its log."""

    name: str
    settings: Mapping[str, Any]
    chance: random.Random
    say: Callable[..., None]
    is_ending: bool = False
    works_on_until: float = 0.0

    def __post_init__(self) -> None:
        self.is_stubborn = self.chance.random() < IS_STUBBORN
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGUSR1, self._work_on)

    def _work_on(self, *_: object) -> None:
        self.works_on_until = time.monotonic() + WORKS_ON_SECONDS

    def _end(self, *_: object) -> None:
        self.is_ending = True

    def find_way(self) -> None:
        """Wait until packets arrive."""
        while Path(self.settings["no_way"]).exists():
            time.sleep(SLICE_SECONDS)

    def insist(self, connect: Callable[[], Any], act: Callable[[Any], T]) -> T:
        """Do something in a session; a stubborn worker does it again, in a new one, until it is answered."""
        while True:
            self.find_way()
            try:
                with connect() as session:
                    return act(session)
            except (pymysql.MySQLError, psycopg.Error, OSError):
                if not self.is_stubborn:
                    raise
                time.sleep(0.2)

    def crash(self, job: str) -> NoReturn:
        """Die at once, as of a lack of memory."""
        self.say("crashing", worker=self.name, job=job)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")

    def work(self, seconds: float, job: str, *, crashes: bool) -> None:
        """Work for so long, or die at some time within."""
        ends = time.monotonic() + (seconds * self.chance.random() if crashes else seconds)
        while time.monotonic() < max(ends, self.works_on_until) and not (self.is_ending and not crashes):
            time.sleep(SLICE_SECONDS)
        if crashes:
            self.crash(job)


def wait_for_ever(_: Worker) -> None:
    """Have a pid, and do nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        signal.pause()


def archive(worker: Worker) -> None:
    """Take up to four jobs of Matomo's, one after the other."""

    def connect() -> Any:
        return pymysql.connect(
            unix_socket=worker.settings["socket"],
            user="root",
            database=worker.settings["database"],
            autocommit=True,
            connect_timeout=5,
            read_timeout=20,
            write_timeout=20,
            init_command=f"SET @chaos_worker = '{worker.name}'",
        )

    for _ in range(worker.chance.randint(1, 4)):
        found = None
        while found is None and not worker.is_ending:
            found = worker.insist(connect, lambda session: _claim(worker, session))
            if found is None:
                time.sleep(0.3)
        if found is None:
            return
        number, name = found
        worker.say("working", worker=worker.name, job=name)
        child = _leave_child(worker) if worker.chance.random() < LEAVES_CHILD else None
        crashes = name.startswith(BAD) or worker.chance.random() < CRASHES
        seconds = worker.chance.uniform(*(LONG_SECONDS if worker.chance.random() < IS_LONG else SHORT_SECONDS))
        worker.work(seconds, name, crashes=crashes)
        if child is not None:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        worker.say("finishing", worker=worker.name, job=name)
        statement = f"DELETE FROM {TABLE} WHERE idinvalidation = %s"
        deleted = worker.insist(connect, lambda session: _execute(session, statement, number))  # noqa: B023  done at once
        worker.say("finished", worker=worker.name, job=name, deleted=deleted)
        if worker.is_ending:
            return


def _execute(session: Any, statement: str, *values: object) -> int:
    with session.cursor() as cursor:
        return int(cursor.execute(statement, values))


def _claim(worker: Worker, session: Any) -> tuple[int, str] | None:
    """Claim a row as Matomo does: compare and set, and success is a row that was changed."""
    with session.cursor() as cursor:
        cursor.execute(f"SELECT idinvalidation, name FROM {TABLE} WHERE status = 0 ORDER BY idinvalidation LIMIT 30")
        rows = cursor.fetchall()
        if not rows:
            return None
        number, name = worker.chance.choice(rows)
        worker.say("claiming", worker=worker.name, job=name)
        changed = cursor.execute(
            f"UPDATE {TABLE} SET status = 1, ts_started = NOW(), processing_host = %s, process_id = %s"
            " WHERE idinvalidation = %s AND status = 0",
            (worker.settings["host"], str(os.getpid()), number),
        )
    return (number, name) if changed else None


def _leave_child(worker: Worker) -> int:
    """Start a child that goes on for a while if its parent dies, as those of Matomo's archivers do."""
    worker.say("child born", worker=worker.name)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        while os.getppid() == parent and not worker.is_ending:
            time.sleep(SLICE_SECONDS)
        if not worker.is_ending:
            time.sleep(CHILD_SECONDS)
        worker.say("child ending", worker=worker.name)
        os._exit(0)
    return pid


def run_pipeline(worker: Worker) -> None:
    """Run one pipeline of Meltano's: a row with a heartbeat each second, and a log that is held open."""

    def connect() -> Any:
        return psycopg.connect(
            host=worker.settings["socket"],
            port=worker.settings["port"],
            user="postgres",
            dbname=worker.settings["database"],
            autocommit=True,
            connect_timeout=5,
            options=f"-c chaos.worker={worker.name}",
        )

    run = uuid.UUID(int=worker.chance.getrandbits(128), version=4)
    folder = Path(worker.settings["project"]) / ".meltano/logs/elt/dev:tap-to-target" / str(run)
    folder.mkdir(parents=True)
    with (folder / "elt.log").open("w"):
        worker.say("claiming", worker=worker.name, job=str(run))
        name = f"dev:tap{worker.name}-to-target"
        worker.insist(connect, lambda session: session.execute(INSERT, (name, now(), now(), str(run))))
        worker.say("working", worker=worker.name, job=str(run))
        crashes = worker.chance.random() < CRASHES
        ends = time.monotonic() + worker.chance.uniform(3, 9) * (0.5 if crashes else 1)
        while time.monotonic() < ends and not worker.is_ending:
            time.sleep(BEAT_SECONDS)
            worker.insist(connect, lambda session: session.execute(BEAT, (now(), str(run))))
        if crashes:
            worker.crash(str(run))
        worker.say("finishing", worker=worker.name, job=str(run))
        worker.insist(connect, lambda session: session.execute(END, (now(), str(run))))
        worker.say("finished", worker=worker.name, job=str(run))
    with suppress(OSError):
        (folder / "elt.log").unlink()


INSERT: Final = (
    "INSERT INTO runs (job_name, state, started_at, payload, payload_flags, run_id, trigger, last_heartbeat_at)"
    " SELECT %s, 'RUNNING', %s, '{}', 0, id, 'cli', %s FROM (SELECT %s::uuid AS id) AS new"
    " WHERE NOT EXISTS (SELECT 1 FROM runs WHERE run_id = new.id)"
)
BEAT: Final = "UPDATE runs SET last_heartbeat_at = %s WHERE run_id = %s AND state = 'RUNNING'"
END: Final = "UPDATE runs SET state = 'SUCCESS', ended_at = %s WHERE run_id = %s"


def now() -> str:
    """Write the time as Meltano does: UTC by the worker's clock."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


BY_KIND: Final[Mapping[str, Callable[[Worker], None]]] = MappingProxyType(
    {"archive": archive, "pipeline": run_pipeline}
)
