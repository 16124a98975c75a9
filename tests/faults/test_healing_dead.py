"""A worker that died is found, however it died, and its job is put back in time: once, whole, and nothing else.

One `serve` for all of them, and beside each death a worker that lives and rows that nobody may touch.
"""

import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.lab.hosts import Host, Hosts, Partition
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Serving
from tests.lab.waiting import wait_until

from .afflictions import PYTHON
from .healed_queue import (
    ASKED,
    CONSOLE,
    QUEUE,
    SEEN_SECONDS,
    Site,
    add_host,
    assert_healed_once,
    heals,
    judged,
    now,
    outlast,
    start_worker,
)

pytestmark = pytest.mark.timeout(240)

HOST = "web07"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic:
    """A host with one worker that goes on living, and the program that heals its queue."""

    site: Site
    served: Serving
    host: Host
    living: int

    def begin(self, pid: int, *, alive: int = 2) -> int:
        """Let a worker take a job, and wait until it was seen alive; `alive` jobs are then."""
        job = self.site.claim(HOST, pid)
        judged(self.served, HOST, "alive", "running", jobs=alive)
        return job

    def assert_healed(self, job: int, died: Callable[[], datetime], *, reason: str) -> None:
        """Let the worker of a job die, and assert that the job is put back, and nothing but that changes."""
        original, expected = self.site.row(job), self.site.contents(put_back=(job,))
        resets = heals(self.served.scrape()).get("reset", 0)
        assert_healed_once(self.site, self.served, original, died_at=died(), reason=reason)
        assert self.site.contents(put_back=(job,)) == expected
        page = self.served.scrape()
        assert heals(page) == {"reset": resets + 1}
        assert page.value("heal_delay_seconds_count", queue=QUEUE) == resets + 1
        assert page.total("blocked_heals") == 0
        self.site.remove(job)


@pytest.fixture(scope="module")
def clinic(hosts: Hosts, mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """The module's one program."""
    host = add_host(hosts, HOST)
    with Site(mariadb, tmp_path_factory.mktemp("dead")) as site:
        site.add_bystanders()
        living = start_worker(host)
        site.claim(HOST, living)
        with site.healing({HOST: host.options(**ASKED)}) as served:
            judged(served, HOST, "alive", "running")
            yield Clinic(site=site, served=served, host=host, living=living)
        assert host.state(living) == "S"


@contextmanager
def limited_memory(most_bytes: int) -> Iterator[Path]:
    """Yield a control group whose processes may have so much memory; skips where none can be made."""
    root = Path("/sys/fs/cgroup")
    is_first = (root / "memory").is_dir()
    group = (root / "memory" if is_first else root) / f"lab-{secrets.token_hex(6)}"
    limit = group / ("memory.limit_in_bytes" if is_first else "memory.max")
    try:
        group.mkdir()
    except OSError as reason:
        pytest.skip(f"no control group can be made here: {reason}")
    try:
        if not limit.exists():
            pytest.skip("control groups do not limit memory here")
        limit.write_text(str(most_bytes))
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), within=SEEN_SECONDS, what="it is empty")
        group.rmdir()


def kills_in(group: Path) -> int:
    """Return how many processes of a control group the kernel has killed."""
    events = next(file for name in ("memory.oom_control", "memory.events") if (file := group / name).exists())
    return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed(clinic: Clinic, number: signal.Signals) -> None:
    """By whichever signal."""
    pid = start_worker(clinic.host)

    def die() -> datetime:
        clinic.host.send(pid, number)
        wait_until(lambda: clinic.host.state(pid) is None, within=SEEN_SECONDS, what="it has ended")
        return now()

    clinic.assert_healed(clinic.begin(pid), die, reason="no_process")


def test_a_pid_that_another_worker_has_at_once(clinic: Clinic) -> None:
    """The process under the pid is an archiver, too, and not the one that took the job."""
    pid = start_worker(clinic.host)
    job = clinic.begin(pid)

    def die() -> datetime:
        clinic.host.kill(pid)
        start_worker(clinic.host, pid=pid)
        return now()

    clinic.assert_healed(job, die, reason="pid_reused")
    assert clinic.host.state(pid) == "S"
    clinic.host.kill(pid)


def test_a_zombie(clinic: Clinic) -> None:
    """Its parent does not take leave of it, and nothing of it runs."""
    pid = start_worker(clinic.host, reap=False)
    job = clinic.begin(pid)

    def die() -> datetime:
        clinic.host.kill(pid)
        return now()

    clinic.assert_healed(job, die, reason="no_process")
    assert clinic.host.state(pid) == "Z"


def test_out_of_memory(clinic: Clinic) -> None:
    """The kernel kills it, alone, in a control group that has too little."""
    with limited_memory(16 << 20) as group:
        text = (
            f"import signal; open({str(group / 'cgroup.procs')!r}, 'w').write('0');"
            " signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); signal.sigwait({signal.SIGUSR1});"
            " b'x' * (1 << 30)"
        )
        pid = clinic.host.spawn([PYTHON, "-I", "-S", "-c", text, CONSOLE, "core:archive"])

        def die() -> datetime:
            clinic.host.send(pid, signal.SIGUSR1)
            wait_until(lambda: clinic.host.state(pid) is None, within=SEEN_SECONDS, what="it has ended")
            assert kills_in(group) == 1
            return now()

        clinic.assert_healed(clinic.begin(pid), die, reason="no_process")


def test_cut_off_and_then_dead(clinic: Clinic) -> None:
    """While nobody can look nothing is done; once the host answers again, the job is put back."""
    pid = start_worker(clinic.host)
    job = clinic.begin(pid)

    def die() -> datetime:
        clinic.host.partition(Partition.BOTH)
        clinic.host.kill(pid)
        judged(clinic.served, HOST, "unknown", "timeout", jobs=2)
        outlast(clinic.served)
        assert clinic.site.resets(job) == []
        clinic.host.connect()
        return now()

    clinic.assert_healed(job, die, reason="no_process")
