"""Jobs whose workers end with their host or their database, and jobs whose work outlives its worker: real archivers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from healers.probes.local import SCRIPT
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.matomo import Archiver, ArchiveWorker, insert_rows
from tests.lab.waiting import wait_until

from .healed_queue import (
    ASKED,
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


@pytest.fixture(scope="module")
def machines(hosts: Hosts) -> list[Host]:
    """Three hosts."""
    return [add_host(hosts, f"web{number}") for number in (1, 2, 3)]


@pytest.fixture
def start_archiver() -> Iterator[Callable[..., tuple[Archiver, int]]]:
    """A starter of archivers on hosts, which reach the database through its socket; they work until they are told."""
    started: list[Archiver] = []

    def start(host: Host, site: Site) -> tuple[Archiver, int]:
        server = site.server
        url = f"mysql://root@localhost/{site.database}?unix_socket={server.socket}"
        archiver = Archiver(url, work_seconds=1000)
        started.append(archiver)
        return archiver, host.spawn(archiver.command, environment=archiver.environment)

    yield start
    for archiver in started:
        archiver.close()


def at_work(archiver: Archiver, number: int) -> list[ArchiveWorker]:
    """Wait until so many processes of an archiver are at work."""
    return wait_until(
        lambda: found if len(found := archiver.workers()) == number else None,
        within=SEEN_SECONDS,
        what=f"{number} at work",
    )


def finish(worker: ArchiveWorker) -> None:
    """Let one end its work, and wait until it has ended."""
    worker.finish()
    wait_until(lambda: worker.process.now() is None, within=SEEN_SECONDS, what="it has ended")


def started_jobs(site: Site) -> list[int]:
    """Return the jobs that are started."""
    rows = site.server.sql(
        "SELECT idinvalidation FROM matomo_archive_invalidations WHERE status = 1", database=site.database
    )
    return sorted(job for (job,) in rows)


def await_started(site: Site, number: int) -> None:
    """Wait until so many jobs are started."""
    wait_until(lambda: len(started_jobs(site)) == number, within=SEEN_SECONDS, what=f"{number} jobs are taken")


def await_end(host: Host, pid: int) -> None:
    """Wait until a process has ended."""
    wait_until(lambda: host.state(pid) is None, within=SEEN_SECONDS, what=f"{pid} has ended")


def test_a_rebooted_host(machines: list[Host], mariadb: MariaDb, tmp_path: Path) -> None:
    """Another boot id, and up for less than since its last answer: nothing of before runs there, whatever is there now.

    A new archiver that got the very same pid keeps its own job.
    """
    host = machines[0]
    with Site(mariadb, tmp_path) as site:
        site.add_bystanders()
        pid = start_worker(host)
        job = site.claim(host.name, pid)
        with site.healing({host.name: host.options(**ASKED)}) as served:
            judged(served, host.name, "alive", "running")
            original, expected = site.row(job), site.contents(put_back=(job,))
            host.power_off()
            judged(served, host.name, "unknown", "timeout")
            outlast(served)
            assert site.resets(job) == []
            host.reboot()
            host.write("/etc/probe.sh", SCRIPT.read_text())
            start_worker(host, pid=pid)
            assert_healed_once(site, served, original, died_at=now(), reason="host_rebooted")
            assert site.contents(put_back=(job,)) == expected
            assert heals(served.scrape()) == {"reset": 1}
            assert host.state(pid) == "S"


def test_children_that_outlive_their_archiver(
    machines: list[Host], mariadb: MariaDb, start_archiver: Callable[..., tuple[Archiver, int]], tmp_path: Path
) -> None:
    """While the last of them works nothing is put back, and then all three jobs are, once each."""
    host = machines[1]
    with Site(mariadb, tmp_path) as site:
        insert_rows(mariadb, site.database, {}, {}, {})
        archiver, pid = start_archiver(host, site)
        workers = at_work(archiver, 3)
        jobs = started_jobs(site)
        before = site.contents()
        with site.healing({host.name: host.options(**ASKED)}) as served:
            judged(served, host.name, "alive", "running", jobs=3)
            host.kill(pid)
            judged(served, host.name, "alive", "child_running", jobs=3)
            for worker in workers[:2]:
                finish(worker)
            outlast(served)
            judged(served, host.name, "alive", "child_running", jobs=3)
            assert site.contents() == before
            originals, expected = [site.row(job) for job in jobs], site.contents(put_back=tuple(jobs))
            finish(workers[2])
            ended_at = now()
            for original in originals:
                assert_healed_once(site, served, original, died_at=ended_at, reason="no_process")
            assert site.contents(put_back=tuple(jobs)) == expected
            assert heals(served.scrape()) == {"reset": 3}


def test_a_database_that_restarts_under_the_archivers_of_three_hosts(
    machines: list[Host],
    private_mariadb: Callable[..., MariaDb],
    start_archiver: Callable[..., tuple[Archiver, int]],
    tmp_path: Path,
) -> None:
    """All of them die of it at once; that is no reason to suspect who looks, as each was seen alive before."""
    server = private_mariadb()
    with Site(server, tmp_path) as site:
        insert_rows(server, site.database, *({"idsite": number} for number in (1, 2, 3)))
        archivers = []
        for number, host in enumerate(machines, start=1):
            archivers.append((host, *start_archiver(host, site)))
            await_started(site, number)
        with site.healing({host.name: host.options(**ASKED) for host in machines}) as served:
            for host in machines:
                judged(served, host.name, "alive", "running")
            jobs = started_jobs(site)
            originals, expected = [site.row(job) for job in jobs], site.contents(put_back=tuple(jobs))
            server.kill()
            served.scrape_until("up", 0, within=SEEN_SECONDS, queue="q")
            for host, archiver, pid in archivers:
                finish(at_work(archiver, 1)[0])
                await_end(host, pid)
            server.start()
            back_at = now()
            for original in originals:
                assert_healed_once(site, served, original, died_at=back_at, reason="no_process")
            assert site.contents(put_back=tuple(jobs)) == expected
            page = served.scrape()
            assert heals(page) == {"reset": 3}
            assert page.value("breaker_open", queue="q") == 0
            assert "outage" in set().union(*(site.refusals(job) for job in jobs))
