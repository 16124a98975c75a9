"""Pids that come again: what was seen of a worker outlives the program, and no verdict outlives the claim it is of."""

import signal
from pathlib import Path

import pytest

from exporter.jobs import JobId
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.waiting import wait_until

from .healed_queue import (
    ASKED,
    QUEUE,
    SEEN_SECONDS,
    TABLE,
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

CLAIMED_AGAIN = f"UPDATE {TABLE} SET ts_started = NOW() WHERE idinvalidation = %s"


@pytest.fixture(scope="module")
def machine(hosts: Hosts) -> Host:
    """One host for all."""
    return add_host(hosts, "web10")


def is_enrolled(site: Site, job: int) -> bool:
    """Tell whether the ledger knows which process took a job."""
    with site.opened() as ledger:
        found = ledger.sightings.load().attempts
    return any(one.enrolment is not None for key, one in found.items() if key.job_id == JobId(str(job)))


def test_a_program_that_was_killed_still_knows_whose_pid_it_was(
    machine: Host, mariadb: MariaDb, tmp_path: Path
) -> None:
    """When it runs again another archiver has the pid, and looks just as much at work as the first one did."""
    asked = {machine.name: machine.options(**ASKED)}
    with Site(mariadb, tmp_path) as site:
        site.add_bystanders()
        pid = start_worker(machine)
        job = site.claim(machine.name, pid)
        original, expected = site.row(job), site.contents(put_back=(job,))
        with site.healing(asked) as served:
            judged(served, machine.name, "alive", "running")
            wait_until(lambda: is_enrolled(site, job), within=SEEN_SECONDS, what="it is kept who took the job")
            assert served.stop(signal.SIGKILL) == -signal.SIGKILL
        machine.kill(pid)
        start_worker(machine, pid=pid)
        with site.healing(asked) as served:
            assert_healed_once(site, served, original, died_at=now(), reason="pid_reused")
            assert site.contents(put_back=(job,)) == expected
            assert heals(served.scrape()) == {"reset": 1}
        assert machine.state(pid) == "S"
        machine.kill(pid)


def test_a_job_that_the_same_pid_takes_again_is_judged_anew(machine: Host, mariadb: MariaDb, tmp_path: Path) -> None:
    """Same row, host and pid, between two polls: neither the death nor the proofs of the first worker are the other's.

    A pause holds the first one's job until it is proven dead twice.
    """
    with Site(mariadb, tmp_path) as site:
        site.add_bystanders()
        pid = start_worker(machine)
        job = site.claim(machine.name, pid)
        with site.opened() as ledger:
            ledger.brakes.pause(QUEUE, why="until it is taken again", actor="somebody", at=now())
        with site.healing({machine.name: machine.options(**ASKED)}) as served:
            judged(served, machine.name, "alive", "running")
            machine.kill(pid)
            judged(served, machine.name, "dead", "no_process")
            outlast(served)
            start_worker(machine, pid=pid)
            site.server.sql(CLAIMED_AGAIN, job, database=site.database)
            again, before = site.row(job), site.contents()
            with site.opened() as ledger:
                ledger.brakes.resume(QUEUE)
            judged(served, machine.name, "alive", "running")
            outlast(served)
            assert site.contents() == before
            assert site.resets(job) == []
            machine.kill(pid)
            assert_healed_once(site, served, again, died_at=now(), reason="no_process")
