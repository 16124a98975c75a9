"""SIGTERM at the worst moments of a program that heals: it ends in time, and leaves nothing running anywhere."""

import time
from pathlib import Path

import pytest

from healers.outcomes import Outcome
from tests.lab.administrator import Statement
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.waiting import wait_until

from .healed_queue import ASKED, QUEUE, SEEN_SECONDS, TABLE, Site, add_host, judged, start_worker

pytestmark = pytest.mark.timeout(240)

ENDS_SECONDS = 5.0
LIMIT_SECONDS = 8
SLOW_PROBE = f"timeout {LIMIT_SECONDS} sh -c 'read line; sleep 1000'"
"""A probe that hangs, under `timeout` as on a host that was prepared: sshd itself would leave it running for ever."""


def test_it_leaves_no_probe_and_no_statement(hosts: Hosts, mariadb: MariaDb, tmp_path: Path) -> None:
    """In the middle of a reset that waits for a row, beside a host that is silent and one whose probe does not end.

    The next start tells what became of the reset, and puts the job back.
    """
    web, silent, slow = (add_host(hosts, name) for name in ("end01", "end02", "end03"))
    with Site(mariadb, tmp_path) as site:
        pid = start_worker(web)
        job = site.claim(web.name, pid)
        asked = {host.name: host.options(**ASKED) for host in (web, silent, slow)}
        with mariadb.connect(site.database) as connection, connection.cursor() as cursor:
            with site.healing(asked) as served:
                judged(served, web.name, "alive", "running")
                connection.begin()
                cursor.execute(f"SELECT * FROM {TABLE} WHERE idinvalidation = %s FOR UPDATE", (job,))
                web.kill(pid)
                wait_until(
                    lambda: site.resets(job)[-1].outcome is None, within=SEEN_SECONDS, what="the reset is intended"
                )
                silent.freeze_sshd()
                slow.set_command(SLOW_PROBE)
                slow.kill_connections()
                wait_until(lambda: is_sleeping(slow), within=SEEN_SECONDS, what="a probe does not end")
                wait_until(
                    lambda: any(one.text and "UPDATE" in one.text for one in running(site)),
                    within=SEEN_SECONDS,
                    what="a reset waits for the row",
                )
                began = time.monotonic()
                assert served.stop() == 0
                assert time.monotonic() - began < ENDS_SECONDS
            wait_until(lambda: not is_sleeping(slow), within=2 * LIMIT_SECONDS, what="no probe is left on its host")
            wait_until(lambda: running(site) == [], within=ENDS_SECONDS, what="no session is left on the server")
            connection.rollback()
        assert site.row(job)["status"] == 1
        silent.thaw_sshd()
        slow.set_command("sh /etc/probe.sh")
        with site.healing(asked) as served:
            served.scrape_until("heals_total", 1, within=SEEN_SECONDS, queue=QUEUE, outcome=Outcome.RESET)
        assert all(one.outcome is not None for one in site.resets(job))
        assert site.row(job)["status"] == 0


def is_sleeping(host: Host) -> bool:
    """Tell whether a probe that does not end is on a host."""
    return any(one.name == "sleep" for one in host.processes())


def running(site: Site) -> list[Statement]:
    """Return the program's sessions on the server."""
    return [one for one in site.server.processlist(idle=True) if one.database == site.database]
