"""Real processes that call themselves something else, and a probe that sees nothing: no job is put back by either.

What a process is called may keep its job from being put back, and is never a reason to do so.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.jobs import JobId
from healers.probes.local import LocalProbe
from healers.probes.protocol import HostAnswer, NoAnswer, Request
from healers.verdicts import Liveness, Reason
from tests.lab.waiting import wait_until
from tests.lab.watchdog import Watchdog

from .healing_benches import HOST, HealingBench, on_sqlite, played_host

HERE = "here"
OPTIONS = {"via": "local", "aliases": [socket.gethostname()], "pid_namespace": "own"}
ARCHIVER = ("/srv/matomo/console", "core:archive")
OTHER = ("sh", "-c", "echo; read -r line")
RENAMED = ("sh", "-c", "echo; read -r line; exec sleep 1000", *ARCHIVER)
TEXT = """
import ctypes, pathlib, time
first, last = map(int, pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
print(flush=True)
input()
ctypes.memset(first, 0, last - first)
time.sleep(1000)
"""
NAMELESS = (sys.executable, "-I", "-S", "-c", TEXT, *ARCHIVER)
RUNNING, NOT_IDENTIFIABLE = (Liveness.ALIVE, Reason.RUNNING), (Liveness.UNKNOWN, Reason.NOT_IDENTIFIABLE)
BLIND = {
    "no proc": "mount -t tmpfs none /proc",
    "subset of proc": "mount -t proc -o subset=pid proc /proc",
    "empty proc below": "mount -t tmpfs none /proc && mkdir -p /proc/self && mount -t proc proc /proc/self",
}


class Changing:
    """A process, the leader of a session of its own, that changes what it calls itself when it is told to."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        self.pid = self._process.pid
        assert self._process.stdout
        self._process.stdout.readline()

    @property
    def words(self) -> list[bytes]:
        """Its command line."""
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")

    def change(self, *words: bytes) -> None:
        """Let it change, and wait until these are its words."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        wait_until(lambda: self.words == list(words), within=20, what=f"it calls itself {words}")

    def end(self) -> None:
        """Kill it, and take leave of it."""
        self._process.kill()
        self._process.communicate()


class Exchangeable:
    """The probe of this machine, in whose place another can be put."""

    def __init__(self) -> None:
        self.probe = LocalProbe(timeout=timedelta(seconds=30))

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:
        """Ask by the one that is there now."""
        return self.probe.ask(request, fresh=fresh)

    def close(self) -> None:
        """Nothing is open."""


Begin = Callable[[tuple[str, ...]], Changing]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A beginner of processes, none of which outlives the test."""
    with ExitStack() as begun:

        def make(command: tuple[str, ...]) -> Changing:
            process = Changing(command)
            begun.callback(process.end)
            return process

        yield make


def claim(bench: HealingBench, process: Changing, *, seconds_ago: int = 0) -> JobId:
    """Add a job that this process has taken; the table keeps whole seconds."""
    (job,) = bench.table.enqueue()
    bench.table.start(job, host=HERE, pid=str(process.pid))
    bench.table.sql("UPDATE jobs SET begun = datetime('now', ? || ' seconds') WHERE id = ?", -seconds_ago, int(job))
    return JobId(job)


@contextmanager
def watched(bench: HealingBench) -> Iterator[tuple[Watchdog, Exchangeable]]:
    """Begin a run of the program beside this machine."""
    config = bench.write_config(more_hosts={HERE: OPTIONS}, heal_after="1s")
    probe = Exchangeable()
    with Watchdog(config, {HOST: played_host(), HERE: probe}) as dog:
        yield dog, probe


def judged(dog: Watchdog, *jobs: JobId) -> list[tuple[Liveness, Reason]]:
    """Return what is held of these jobs."""
    return [dog.verdicts("q")[job] for job in jobs]


def test_a_worker_that_changed_its_name_keeps_its_job_until_it_dies(tmp_path: Path, begin: Begin) -> None:
    """One becomes another program, and one wipes out its command line."""
    bench = on_sqlite(tmp_path / "q")
    renamed, nameless = begin(RENAMED), begin(NAMELESS)
    jobs = claim(bench, renamed), claim(bench, nameless)
    before = bench.rows()
    with watched(bench) as (dog, _):
        dog.look()
        assert judged(dog, *jobs) == [RUNNING, RUNNING]
        renamed.change(b"sleep", b"1000")
        nameless.change(b"")
        dog.look_twice()
        assert judged(dog, *jobs) == [RUNNING, RUNNING]
        assert bench.rows() == before
        renamed.end()
        nameless.end()
        dog.look_until(lambda: bench.resets() == dict.fromkeys(jobs, 1), what="both are put back")
        assert bench.rows() == bench.put_back(before, [*jobs])


def test_a_process_that_nobody_knows_is_no_proof_whatever_it_is_called(tmp_path: Path, begin: Begin) -> None:
    """It has a recorded pid: under a worker's name it counts as one, under no name or another as nothing."""
    bench = on_sqlite(tmp_path / "q")
    forged, nameless, other = begin((*OTHER, *ARCHIVER)), begin(NAMELESS), begin(OTHER)
    nameless.change(b"")
    jobs = [claim(bench, process, seconds_ago=3600) for process in (forged, nameless, other)]
    before = bench.rows()
    with watched(bench) as (dog, _):
        dog.look_twice()
        assert judged(dog, *jobs) == [RUNNING, NOT_IDENTIFIABLE, NOT_IDENTIFIABLE]
    assert bench.rows() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("how", BLIND)
def test_who_cannot_see_proves_nobody_dead(how: str, tmp_path: Path, begin: Begin) -> None:
    """Two workers were seen, and one of them has died since: of neither anything is known."""
    bench = on_sqlite(tmp_path / "q")
    living, dying = begin(RENAMED), begin(RENAMED)
    jobs = claim(bench, living), claim(bench, dying)
    before = bench.rows()
    with watched(bench) as (dog, probe):
        dog.look()
        assert judged(dog, *jobs) == [RUNNING, RUNNING]
        dying.end()
        seeing = probe.probe
        shell = ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", f"{BLIND[how]} && exec sh $0")
        probe.probe = LocalProbe(timeout=timedelta(seconds=30), shell=shell)
        dog.look_twice()
        assert {value for value, _ in judged(dog, *jobs)} == {Liveness.UNKNOWN}
        assert bench.rows() == before
        probe.probe = seeing
        dog.look_until(lambda: bench.resets() == {jobs[1]: 1}, what="the dead one's is put back")
        assert judged(dog, jobs[0]) == [RUNNING]
