"""A job that takes its worker down each time is left alone after some resets, under whatever id it comes again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.healed_queue import Site
from tests.lab.mariadb import MariaDb
from tests.lab.watchdog import PlayedHost, Watchdog, machine_id_of

from .reset_benches import MatomoResets, attempt_of

HOST, DEAD_PID, RESETS = "web1", 4380, 2
POISON, OTHER = f"done{'c' * 32}", f"done{'d' * 32}"


@pytest.fixture
def bench(mariadb: MariaDb, matomo_database: str) -> Iterator[MatomoResets]:
    """Matomo on MariaDB."""
    made = MatomoResets(mariadb, matomo_database)
    yield made
    made.queue.close()


@pytest.fixture
def site(mariadb: MariaDb, tmp_path: Path) -> Iterator[Site]:
    """A queue of a Matomo."""
    with Site(mariadb, tmp_path) as made:
        yield made


def test_a_job_of_matomo_is_the_same_under_another_id(bench: MatomoResets) -> None:
    """Matomo deletes a row and adds it again; of another site, day, period or segment it is another job."""
    first, second = (attempt_of(bench, bench.start()) for _ in range(2))
    assert first.job_id != second.job_id
    assert first.natural_key == second.natural_key
    for change in ("idsite = 2", "date1 = '2026-01-02'", "period = 2", "name = 'done1'", "report = 'Actions'"):
        other = bench.start()
        bench.sql(f"UPDATE matomo_archive_invalidations SET {change} WHERE idinvalidation = %s", int(other))
        assert attempt_of(bench, other).natural_key != first.natural_key, change
        bench.finish(other)


def test_a_job_that_kills_each_of_its_workers_is_left_alone(site: Site) -> None:
    """Twice it is put back, each time under another id; the third time it stays, and another job does not."""
    machine = {"via": "local", "machine_id": machine_id_of(HOST)}
    config = site.configure({HOST: machine}, max_resets_per_job={"resets": RESETS, "within": "24h"})

    def claim(name: str) -> int:
        return site.claim(HOST, DEAD_PID, name=name, date1="2026-11-01", date2="2026-11-01")

    with Watchdog(config, {HOST: PlayedHost(HOST)}) as dog:
        for _ in range(RESETS):
            job = claim(POISON)
            dog.look_until(lambda job=job: site.row(job)["status"] == 0, what="it is put back")  # type: ignore[misc]
            site.remove(job)
        poison, other = claim(POISON), claim(OTHER)
        dog.look_until(lambda: site.row(other)["status"] == 0, what="the other job is put back")
        dog.look_until(lambda: "quarantined" in site.refusals(poison), what="it is told")
        assert site.row(poison)["status"] == 1
        assert site.resets(poison) == []
        page = dog.page()
        assert page.value("quarantined_jobs", queue="q") == 1
        assert page.value("heals_total", queue="q", outcome="reset") == RESETS + 1
