"""Jobs that move while they are put back, and many healers of one queue: each row is put back once, or left alone."""

import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.page import Format
from healers.gathering import gather
from healers.ledger import Ledger, RecordedReset
from healers.outcomes import Outcome
from queuemedic.app import App
from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.contracts.ledgers import SYSTEMS, address_of, empty_database
from tests.lab.hosts import Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.processes import look
from tests.lab.queuemedic import Page, serving
from tests.lab.waiting import wait_until

from .healed_queue import (
    ASKED,
    CONSOLE,
    EVERY_SECONDS,
    QUEUE,
    SEEN_SECONDS,
    TABLE,
    Site,
    add_host,
    heals,
    judged,
    outlast,
    start_worker,
)

pytestmark = pytest.mark.timeout(240)

HEALERS, JOBS = 8, 12
THIS_HOST = socket.gethostname()
CLAIMED_AGAIN = f"UPDATE {TABLE} SET ts_started = ts_started + INTERVAL 1 SECOND, process_id = %s"
LEDGERS = pytest.mark.parametrize("system", SYSTEMS)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        pytest.param(f"DELETE FROM {TABLE}", Outcome.GONE, id="finished"),
        pytest.param(CLAIMED_AGAIN, Outcome.LOST_RACE, id="claimed again"),
    ],
)
def test_a_job_that_moves_between_intent_and_reset(
    hosts: Hosts, mariadb: MariaDb, tmp_path: Path, change: str, outcome: Outcome
) -> None:
    """Somebody has the row locked when it is to be put back, and when it is let go it is another's: it stays as it is.

    The row may have to be tried more than once, as no reset waits for long.
    """
    host = hosts.by_name.get("web09") or add_host(hosts, "web09")
    with Site(mariadb, tmp_path) as site:
        site.add_bystanders()
        pid, heir = start_worker(host), start_worker(host)
        job = site.claim(host.name, pid)
        with site.healing({host.name: host.options(**ASKED)}) as served:
            judged(served, host.name, "alive", "running")
            with mariadb.connect(site.database) as connection, connection.cursor() as cursor:
                connection.begin()
                cursor.execute(f"SELECT * FROM {TABLE} WHERE idinvalidation = %s FOR UPDATE", (job,))
                host.kill(pid)
                wait_until(
                    lambda: site.resets(job)[-1].outcome is None, within=SEEN_SECONDS, what="the reset is intended"
                )
                where = f"{change} WHERE idinvalidation = %s"
                cursor.execute(where, (job,) if outcome is Outcome.GONE else (str(heir), job))
                connection.commit()
            changed = site.contents()
            served.scrape_until("heals_total", 1, within=SEEN_SECONDS, queue=QUEUE, outcome=outcome)
            page = outlast(served)
            assert heals(page).keys() <= {outcome, Outcome.FAILED}
            assert {one.outcome for one in site.resets(job)} <= {outcome, Outcome.FAILED}
            assert site.contents() == changed
            assert page.total("orphaned_jobs") == 0


@contextmanager
def local_worker() -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a worker on this very host; once killed it is gone."""
    text = "read line; exit"
    worker = subprocess.Popen(
        ["sh", "-c", text, CONSOLE, "core:archive"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


@contextmanager
def ledger_on(system: str, folder: Path, mariadb: MariaDb, postgres: Callable[[], Postgres]) -> Iterator[str]:
    """Yield the URL of an empty ledger."""
    with empty_database(system, folder, mariadb=lambda: mariadb, postgres=postgres) as address:
        url = address.url.render_as_string(hide_password=False)
        Ledger.open(address_of(url)).close()
        yield url


@pytest.fixture
def get_postgres(request: pytest.FixtureRequest) -> Callable[[], Postgres]:
    """A getter of the run's PostgreSQL, which is started only if it is asked for."""
    return lambda: request.getfixturevalue("postgres")


def kill(worker: "subprocess.Popen[bytes]") -> None:
    """Kill and reap it."""
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert look(worker.pid) is None


def assert_each_once(site: Site, jobs: list[int], expected: dict[str, object]) -> None:
    """Assert that each job was put back once, that the journal says so, and that nothing else was written."""
    assert site.contents(put_back=tuple(jobs)) == expected
    with closing(Ledger.open(address_of(site.ledger))) as ledger:
        records = list(ledger.journal.history(queue=QUEUE))
        assert ledger.journal.open_intents(QUEUE) == ()
        assert ledger.journal.verify() is None
    resets = [one for one in records if isinstance(one, RecordedReset) and one.outcome is Outcome.RESET]
    assert Counter(one.intent.key.job_id for one in resets) == {str(job): 1 for job in jobs}
    rest = {one.outcome for one in records if isinstance(one, RecordedReset)}
    assert rest <= {Outcome.RESET, Outcome.LOST_RACE}


def is_convinced(app: App) -> bool:
    """Tell whether every job of this host is dead by both proofs."""
    (poller,) = app.pollers
    seen = app.see(poller)
    assert seen is not None
    mine = [one for one in gather(seen, count_resets=lambda _: 0) if one.attempt.host == THIS_HOST]
    return len(mine) == JOBS and all(one.is_confirmed for one in mine)


@LEDGERS
def test_eight_healers_on_one_ledger(
    system: str, mariadb: MariaDb, get_postgres: Callable[[], Postgres], tmp_path: Path
) -> None:
    """All are convinced, and go at once, again and again on what they once read; none of it is done twice.

    A healer never takes its own work for another's.
    """
    with (
        ledger_on(system, tmp_path, mariadb, get_postgres) as ledger,
        Site(mariadb, tmp_path) as site,
        local_worker() as worker,
        ExitStack() as undo,
    ):
        site.ledger = ledger
        site.add_bystanders()
        jobs = [site.claim(THIS_HOST, worker.pid, ts_started=timedelta(0)) for _ in range(JOBS)]
        host = {"via": "local", "pid_namespace": "own"}
        config = load(site.configure({THIS_HOST: host}, confirm_after="1s"), os.environ, OPTIONS)
        apps = [App(config) for _ in range(HEALERS)]
        for app in apps:
            undo.callback(app.close, within_seconds=SEEN_SECONDS)
            app.poll_once()
            app.healing.keeper.keep()
        kill(worker)

        def are_convinced() -> bool:
            for app in apps:
                app.poll_once()
            return all(is_convinced(app) for app in apps)

        wait_until(are_convinced, within=SEEN_SECONDS, what="all are convinced")
        expected = site.contents(put_back=tuple(jobs))
        start = threading.Barrier(HEALERS)

        def heal(app: App) -> None:
            start.wait()
            for _ in range(4):
                app.healing.run_pass(app.pollers[0], app.see)

        threads = [threading.Thread(target=heal, args=(app,)) for app in apps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert_each_once(site, jobs, expected)
        outcomes = [heals(Page(app.get_page(Format.TEXT, False).decode(), is_openmetrics=False)) for app in apps]
        assert sum(each.get("reset", 0) for each in outcomes) == JOBS
        assert all(sum(each.values()) <= JOBS for each in outcomes), outcomes
        assert {name for each in outcomes for name in each} <= {"reset", "lost_race"}


@pytest.mark.long
@LEDGERS
def test_eight_programs_on_one_ledger(
    system: str, mariadb: MariaDb, get_postgres: Callable[[], Postgres], tmp_path: Path
) -> None:
    """The same with eight processes, each in its own time."""
    with (
        ledger_on(system, tmp_path, mariadb, get_postgres) as ledger,
        Site(mariadb, tmp_path) as site,
        local_worker() as worker,
        ExitStack() as programs,
    ):
        site.ledger = ledger
        site.add_bystanders()
        jobs = [site.claim(THIS_HOST, worker.pid) for _ in range(JOBS)]
        all_served = []
        for number in range(HEALERS):
            folder = tmp_path / str(number)
            folder.mkdir()
            config = site.configure({THIS_HOST: {"via": "local", "pid_namespace": "own", "ask_every": "1s"}})
            own = folder / config.name
            own.write_text(config.read_text())
            all_served.append(programs.enter_context(serving(own, folder)))
        for served in all_served:
            judged(served, THIS_HOST, "alive", "running", jobs=JOBS)
        expected = site.contents(put_back=tuple(jobs))
        kill(worker)
        for served in all_served:
            served.scrape_until("jobs", JOBS + 1, within=SEEN_SECONDS, queue=QUEUE, state="waiting", kind="day")
        pages = [outlast(served, seconds=2 * EVERY_SECONDS) for served in all_served]
        assert_each_once(site, jobs, expected)
        assert sum(heals(page).get("reset", 0) for page in pages) == JOBS
        assert all("Traceback" not in served.log for served in all_served)
