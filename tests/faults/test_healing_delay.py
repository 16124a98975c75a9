"""How soon a job is put back: the second proof is taken when it counts, not when the next round happens to come."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.lab.hosts import Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.waiting import wait_until

from .healed_queue import ASKED, CONFIRM_AFTER_SECONDS, Site, add_host, judged, start_worker

pytestmark = pytest.mark.timeout(240)

EVERY_SECONDS = 10


def test_the_second_proof_waits_for_no_round(hosts: Hosts, mariadb: MariaDb, tmp_path: Path) -> None:
    """Rounds are far apart, so that they would bring it much later than `confirm_after`."""
    host = add_host(hosts, "web15")
    with Site(mariadb, tmp_path) as site:
        pid = start_worker(host)
        job = site.claim(host.name, pid)
        with site.healing({host.name: host.options(**ASKED) | {"ask_every": f"{EVERY_SECONDS}s"}}) as served:
            judged(served, host.name, "alive", "running")
            host.kill(pid)
            resets = wait_until(lambda: site.resets(job), within=4 * EVERY_SECONDS, what="the job is put back")
            first, second = resets[0].intent.proofs
            apart = second.seen_at - first.seen_at
            assert timedelta(seconds=CONFIRM_AFTER_SECONDS) <= apart < timedelta(seconds=EVERY_SECONDS - 2)
