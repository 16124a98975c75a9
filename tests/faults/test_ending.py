"""SIGTERM at the worst moments of a program that heals: it ends in time, and leaves nothing running anywhere."""

import time
from pathlib import Path

import pytest

from healers.outcomes import Outcome
from tests.lab.administrator import Statement
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.queuemedic import serving, write_config
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


FOR_EVER = {"mariadb": "BENCHMARK(1000000000000, MD5('a')) = 0", "postgres": "pg_sleep(1000) IS NULL"}
"""What no server ends by itself: while it sleeps, MariaDB looks whether anybody still waits for it."""


@pytest.mark.parametrize("system", FOR_EVER)
def test_a_poll_that_never_ends_is_left_to_the_server(
    system: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It keeps nobody from ending, and when its limit is over the server ends the statement that nobody waits for."""
    server: MariaDb | Postgres = request.getfixturevalue(system)
    with server.database() as database:
        server.sql("CREATE TABLE jobs (id INT PRIMARY KEY, a TIMESTAMP NULL, b TIMESTAMP NULL)", database=database)
        server.sql("INSERT INTO jobs (id) VALUES (1)", database=database)
        queue = {
            "system": "table",
            "url": server.account(database, ["SELECT ON jobs"]),
            "from": "jobs",
            "columns": {"id": "id", "enqueued_at": "a", "started_at": "b"},
            "waiting_when": FOR_EVER[system],
            "started_when": "b IS NOT NULL",
            "poll_timeout": "5s",
        }

        def is_there() -> bool:
            found = server.activity() if isinstance(server, Postgres) else server.processlist()
            return any(one.database == database for one in found)

        with serving(write_config(tmp_path, {"q": queue}), tmp_path) as served:
            wait_until(is_there, within=SEEN_SECONDS, what="the server is asked")
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < ENDS_SECONDS
        wait_until(lambda: not is_there(), within=2 * LIMIT_SECONDS, what="the server has ended the statement")


def is_sleeping(host: Host) -> bool:
    """Tell whether a probe that does not end is on a host."""
    return any(one.name == "sleep" for one in host.processes())


def running(site: Site) -> list[Statement]:
    """Return the program's sessions on the server."""
    return [one for one in site.server.processlist(idle=True) if one.database == site.database]
