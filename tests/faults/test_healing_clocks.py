"""Clocks that are set, zones, replicas and a person's pause: what is old or new by them is no reason to put back."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import installed
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Serving
from tests.lab.waiting import wait_until

from .healed_queue import ASKED, QUEUE, SEEN_SECONDS, TABLE, Site, add_host, heals, judged, now, outlast, start_worker

pytestmark = pytest.mark.timeout(240)

DAY = timedelta(days=1)
SITECUSTOMIZE = """
import datetime, importlib, os, pathlib
real = datetime.datetime
class Off(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=float(pathlib.Path(os.environ["LAB_OFF"]).read_text()))
scheduling = ("executors.base", "schedulers.base", "triggers.date", "triggers.interval")
for name in ("exporter.clock", *("apscheduler." + part for part in scheduling)):
    importlib.import_module(name).datetime = Off
"""
"""Lets the wall clock be as far off as a file says, for all of a program that reads it."""


class SetClock:
    """The wall clock of a `serve` that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "off"
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self.environment = {"PYTHONPATH": str(folder), "LAB_OFF": str(self._file)}
        self.set(timedelta(0))

    def set(self, off: timedelta) -> None:
        """Let it be so far off from now on."""
        draft = self._file.with_suffix(".new")
        draft.write_text(str(off.total_seconds()))
        draft.replace(self._file)


@pytest.fixture(scope="module")
def machine(hosts: Hosts) -> Host:
    """One host for all."""
    return add_host(hosts, "web08")


@pytest.fixture
def site(mariadb: MariaDb, tmp_path: Path) -> Iterator[Site]:
    """A queue."""
    with Site(mariadb, tmp_path) as made:
        made.add_bystanders()
        yield made


def await_refusal(site: Site, job: int, *reasons: str) -> None:
    """Wait until a job was refused for all of these reasons."""
    wait_until(
        lambda: set(reasons) <= site.refusals(job),
        within=SEEN_SECONDS,
        what=f"job {job} is refused for {reasons}",
    )


def polls(served: Serving) -> float:
    """Return how many polls there were."""
    return served.scrape().total("polls_total", queue=QUEUE)


def await_polls(served: Serving, more: int) -> None:
    """Wait for more polls."""
    until = polls(served) + more
    wait_until(lambda: polls(served) >= until, within=SEEN_SECONDS, what=f"{more} more polls", every_seconds=0.2)


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forth", "back"])
def test_the_clock_of_the_watchdog_is_set(machine: Host, site: Site, tmp_path: Path, step: timedelta) -> None:
    """The pass that finds it out heals nothing, nobody grows old by it, and watching goes on.

    The worker that died is too young to be put back, on the database's clock.
    """
    clock = SetClock(tmp_path)
    living, dying = start_worker(machine), start_worker(machine)
    site.claim(machine.name, living)
    job = site.claim(machine.name, dying)
    before = site.contents()
    asked = {machine.name: machine.options(**ASKED)}
    with site.healing(asked, environment=clock.environment, heal_after="1h") as served:
        judged(served, machine.name, "alive", "running", jobs=2)
        machine.kill(dying)
        judged(served, machine.name, "dead", "no_process")
        await_refusal(site, job, "too_young")
        clock.set(step)
        await_refusal(site, job, "clock")
        await_polls(served, 5)
        judged(served, machine.name, "alive", "running")
        page = served.scrape()
        assert page.value("blocked_heals", queue=QUEUE, reason="too_young") == 1
        assert heals(page) == {}
    assert site.contents() == before
    assert machine.state(living) == "S"


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forth", "back"])
def test_the_clock_of_the_database_is_set(machine: Host, site: Site, step: timedelta) -> None:
    """What looks a day old all at once is not old, and what looks as if it began tomorrow is not known to be dead."""
    living = start_worker(machine)
    job = site.claim(machine.name, living)
    before = site.contents()
    with site.healing({machine.name: machine.options(**ASKED)}) as served:
        judged(served, machine.name, "alive", "running")
        site.server.set_clock(now() + step, database=site.database)
        end_sessions(site)
        verdict = ("alive", "running") if step > timedelta(0) else ("unknown", "clock")
        wait_until(
            lambda: (served.scrape().value("database_clock_offset_seconds", queue=QUEUE) or 0) * step.days > 80_000,
            within=SEEN_SECONDS,
            what="the clock is seen to be off",
        )
        judged(served, machine.name, *verdict)
        page = outlast(served)
        assert heals(page) == {}
        assert site.refusals(job) <= {"unknown"}
    assert site.contents() == before


def end_sessions(site: Site) -> None:
    """End the sessions on the queue's database: those that come after them have the clock as it is set."""
    for session in site.server.processlist(idle=True):
        if session.database == site.database:
            site.server.sql(f"KILL {session.connection_id}")


@pytest.fixture(scope="module")
def own_server() -> Iterator[MariaDb]:
    """A server whose settings may be changed."""
    with installed(), MariaDb() as server:
        yield server


@pytest.mark.parametrize("zone", ["-09:00", "+09:00"])
def test_a_database_in_another_time_zone(machine: Host, own_server: MariaDb, tmp_path: Path, zone: str) -> None:
    """A job is as old as it is, and is put back no sooner, wherever the server is."""
    own_server.sql("SET GLOBAL time_zone = %s", zone)
    with Site(own_server, tmp_path) as site:
        living, dying = start_worker(machine), start_worker(machine)
        site.claim(machine.name, living)
        job = site.claim(machine.name, dying)
        before = site.contents()
        with site.healing({machine.name: machine.options(**ASKED)}, heal_after="1h") as served:
            judged(served, machine.name, "alive", "running", jobs=2)
            machine.kill(dying)
            judged(served, machine.name, "dead", "no_process")
            page = outlast(served)
            age = page.value("oldest_started_age_seconds", queue=QUEUE, host=machine.name)
            assert age is not None
            assert 0 <= age < 600
            assert page.value("blocked_heals", queue=QUEUE, reason="too_young") == 1
            assert heals(page) == {}
            assert site.refusals(job) == {"too_young"}
        assert site.contents() == before


def test_a_paused_queue(machine: Host, site: Site) -> None:
    """While a person has stopped it nothing is put back, whoever is dead; then it is."""
    pid = start_worker(machine)
    job = site.claim(machine.name, pid)
    before, expected = site.contents(), site.contents(put_back=(job,))
    with site.opened() as ledger:
        ledger.brakes.pause(QUEUE, why="the hosts are moved", actor="somebody", at=now())
    with site.healing({machine.name: machine.options(**ASKED)}) as served:
        judged(served, machine.name, "alive", "running")
        machine.kill(pid)
        judged(served, machine.name, "dead", "no_process")
        page = outlast(served)
        assert page.value("healing_mode", queue=QUEUE, mode="paused") == 1
        assert page.value("blocked_heals", queue=QUEUE, reason="paused") == 1
        assert page.value("heal_refusals_total", queue=QUEUE, reason="paused") == 1
        assert heals(page) == {}
        assert site.contents() == before
        with site.opened() as ledger:
            ledger.brakes.resume(QUEUE)
        served.scrape_until("heals_total", 1, within=SEEN_SECONDS, queue=QUEUE, outcome="reset")
        assert site.contents(put_back=(job,)) == expected


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[MariaDb, MariaDb]]:
    """A primary, and a replica of it."""
    with (
        installed(),
        MariaDb(options=["--server-id=1", "--log-bin=changes"]) as primary,
        MariaDb(options=["--server-id=2"]) as replica,
    ):
        replica.sql(
            f"CHANGE MASTER TO MASTER_HOST = '{primary.host}', MASTER_PORT = {primary.port}, MASTER_USER = 'root',"
            " MASTER_USE_GTID = slave_pos"
        )
        replica.sql("START SLAVE")
        yield primary, replica


@pytest.mark.parametrize(
    ("read_only", "reason"), [pytest.param(1, "replica", id="read-only"), pytest.param(0, "lock", id="writable")]
)
def test_a_replica_that_lags(
    machine: Host, replicated: tuple[MariaDb, MariaDb], tmp_path: Path, read_only: int, reason: str
) -> None:
    """What is watched says that a dead worker has the job, but on the primary a living one has it: nothing is written.

    Also where the replica does not say that it is one: what would be written to is another server.
    """
    primary, replica = replicated
    replica.sql(f"SET GLOBAL read_only = {read_only}")
    replica.sql("START SLAVE")
    with Site(primary, tmp_path) as site:
        dying, living = start_worker(machine), start_worker(machine)
        job = site.claim(machine.name, dying)
        wait_until(lambda: site.contents_on(replica) == site.contents(), within=SEEN_SECONDS, what="it is copied")
        site.url = site.url.replace(f":{primary.port}/", f":{replica.port}/")
        with site.healing({machine.name: machine.options(**ASKED)}) as served:
            judged(served, machine.name, "alive", "running")
            replica.sql("STOP SLAVE SQL_THREAD")
            primary.sql(f"UPDATE {TABLE} SET process_id = %s", living, database=site.database)
            before, behind = site.contents(), site.contents_on(replica)
            machine.kill(dying)
            judged(served, machine.name, "dead", "no_process")
            page = outlast(served)
            assert page.value("blocked_heals", queue=QUEUE, reason=reason) == 1
            assert heals(page) == {}
            assert site.resets(job) == []
            assert (site.contents(), site.contents_on(replica)) == (before, behind)
        assert machine.state(living) == "S"
