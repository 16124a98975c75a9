"""What the stand-in for Matomo's `console` does: it takes rows, works and dies as the real one does.

`core:archive` claims up to three rows at once, lets a process of its own do each, and deletes them when all have
answered. Order, command lines and parents are those of core/CronArchive.php and core/CliMulti.php as recorded from
5.3.0-rc1: several workers at once go to the background and become children of pid 1 in the archiver's process group;
a single one is a child of `sh` and carries neither `pid` nor `runid`. SIGTERM ends it as by default in 5.3: at once.
Not imitated: the limit of archivers per host, the shared list of sites, deleting twins before a start, real archives.

`matomo.Archiver` starts it and tells it by environment variables. Nothing slow is imported: it starts often.
"""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from . import processes
from .invalidations import Invalidation, Invalidations

URL = "LAB_MATOMO_URL"
PREFIX = "LAB_MATOMO_PREFIX"
WORK_SECONDS = "LAB_MATOMO_WORK_SECONDS"
RECOVERY_SECONDS = "LAB_MATOMO_RECOVERY_SECONDS"
FOLDER = "LAB_MATOMO_FOLDER"

FINISH = signal.SIGUSR1
CONCURRENT = "--concurrent-requests-per-website="
PERIODS = {1: "day", 2: "week", 3: "month", 4: "year", 5: "range"}
START_SECONDS = 8.0
POLL_SECONDS = 0.02


def main(argv: Sequence[str]) -> int:
    """Run one command of `console` and return its exit code."""
    command = next(argument for argument in argv[1:] if not argument.startswith("-"))
    if command == "climulti:request":
        answer(argv[-1])
        return 0
    limits = [argument.removeprefix(CONCURRENT) for argument in argv if argument.startswith(CONCURRENT)]
    with _invalidations() as table:
        return Archiving(table, console=argv[0], at_once=int(limits[-1]) if limits else 3).run()


def answer(request: str) -> None:
    """Do one worker's work: be seen to run, take the time it takes or until told to end, answer in JSON.

    In the background a worker says how far it is by its mark file: empty before, its pid while it works, gone after.
    It is at work as long as it has a handler for FINISH; `matomo.Archiver.workers` looks for that.
    """
    query = dict(parse_qsl(request))
    mark = Path(os.environ[FOLDER]) / f"{query['pid']}.pid" if "pid" in query else None
    if mark is not None:
        mark.write_text(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, {FINISH})
    signal.signal(FINISH, signal.default_int_handler)  # never called, only seen: the signal is waited for
    signal.sigtimedwait({FINISH}, float(os.environ[WORK_SECONDS]))
    signal.signal(FINISH, signal.SIG_IGN)
    print(json.dumps([{"idSite": query["idSite"], "nb_visits": 1}]), flush=True)
    if mark is not None:
        mark.unlink()


class Archiving:
    """One run of `core:archive`."""

    def __init__(self, table: Invalidations, *, console: str, at_once: int) -> None:
        self._table = table
        self._console = console
        self._at_once = at_once
        self._given_up: set[int] = set()

    def run(self) -> int:
        """Put back what failed long ago, then archive every site; 1 if a worker failed, its row is left to the next."""
        began = datetime.now(UTC)
        self._table.set_option("LastFullArchivingStartTime", str(int(began.timestamp())))
        recovery = timedelta(seconds=float(os.environ[RECOVERY_SECONDS]))
        self._table.reset_failed(before=began - recovery)
        for site in self._table.sites():
            reached = datetime.now(UTC)
            while batch := self._claim(site, reached):
                self._archive(batch)
        if self._given_up:
            print(f"{len(self._given_up)} total errors during this script execution")
            return 1
        self._table.set_option("LastCompletedFullArchiving", str(int(datetime.now(UTC).timestamp())))
        print("Done archiving!")
        return 0

    def _claim(self, site: int, reached: datetime) -> list[Invalidation]:
        batch: list[Invalidation] = []
        while len(batch) < self._at_once:
            row = self._table.next(site, until=reached, without=self._given_up)
            if row is None:
                break
            if self._table.start(row, host=socket.gethostname(), pid=os.getpid()):
                batch.append(row)
        return batch

    def _archive(self, batch: Sequence[Invalidation]) -> None:
        started = datetime.now(UTC)
        answered = self._ask(batch)
        finished = datetime.now(UTC)
        for row, is_done in zip(batch, answered, strict=True):
            if is_done:
                self._table.finish(row, started=started, finished=finished)
            else:
                print("Got invalid response from API request: the response was empty")
                self._given_up.add(row.id)
                self._table.release(row.id)

    def _ask(self, batch: Sequence[Invalidation]) -> list[bool]:
        if len(batch) == 1:
            command = f"{self._command(_request(batch[0]))} 2>&1"
            made = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
            return [_is_answer(made.stdout)]
        workers = [self._send(row) for row in batch]
        while any(worker.is_done() is None for worker in workers):
            time.sleep(POLL_SECONDS)
        return [bool(worker.is_done()) for worker in workers]

    def _send(self, row: Invalidation) -> "Worker":
        name = secrets.token_hex(50)
        worker = Worker(folder=Path(os.environ[FOLDER]), name=name, give_up_at=time.monotonic() + START_SECONDS)
        worker.mark.touch()
        request = f"{_request(row)}&pid={name}&runid={os.getpid()}"
        command = f"{self._command(request)} > {shlex.quote(str(worker.output))} 2>&1 &"
        subprocess.run(["sh", "-c", command], check=True)
        return worker

    def _command(self, request: str) -> str:
        options = ["-q", "--matomo-domain=127.0.0.1", "--superuser"]
        return shlex.join([sys.executable, "-q", self._console, "climulti:request", *options, request])


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker in the background, as its parent sees it: by two files."""

    folder: Path
    name: str
    give_up_at: float

    @property
    def mark(self) -> Path:
        """Empty, then the worker's pid, then gone."""
        return self.folder / f"{self.name}.pid"

    @property
    def output(self) -> Path:
        """What the worker printed."""
        return self.folder / f"{self.name}.output"

    def is_done(self) -> bool | None:
        """Return whether it has done its work; None while it is at it. One that has not begun in 8 s is given up."""
        try:
            pid = self.mark.read_text()
        except FileNotFoundError:
            return _is_answer(self.output.read_text())
        if not pid:
            return None if time.monotonic() < self.give_up_at else False
        if processes.look(int(pid)) is not None:
            return None
        return None if not self.mark.exists() else False


def _request(row: Invalidation) -> str:
    flag, _, plugin = row.name.partition(".")
    dates = f"{row.date1},{row.date2}" if PERIODS[row.period] == "range" else str(row.date1)
    parts = [
        "module=API&method=CoreAdminHome.archiveReports",
        f"idSite={row.site}&period={PERIODS[row.period]}&date={dates}&format=json",
        f"segment=lab%3D%3D{flag.removeprefix('done')}" if flag != "done" else "",
        f"plugin={plugin}&pluginOnly=1" if plugin else "",
        f"requestedReport={row.report}" if row.report else "",
        "trigger=archivephp",
    ]
    return "&".join(part for part in parts if part)


def _is_answer(text: str) -> bool:
    """Whether Matomo would take it for an answer: any JSON array or object, an error in JSON too."""
    try:
        return isinstance(json.loads(text), list | dict)
    except ValueError:
        return False


@contextmanager
def _invalidations() -> Iterator[Invalidations]:
    import pymysql  # noqa: PLC0415 - workers need no database, and start in a fifth of the time

    url = urlsplit(os.environ[URL])
    connection = pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        unix_socket=dict(parse_qsl(url.query)).get("unix_socket"),
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=url.path.removeprefix("/"),
        charset="utf8mb4",
        autocommit=True,
    )
    with closing(connection):
        yield Invalidations(connection, os.environ[PREFIX])
