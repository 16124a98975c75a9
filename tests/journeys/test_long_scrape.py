"""A real Prometheus scrapes `serve` for a minute while jobs come and go; runs in `make long`."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.contracts.benches import SELECT
from tests.lab import matomo, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.matomo import Archiver
from tests.lab.prometheus import Prometheus
from tests.lab.waiting import wait_until


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_minute_of_scraping_a_working_archiver(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """Up throughout, no scrape error; real worker processes are seen on their host, and throughput adds up."""
    jobs = 60
    matomo.insert_rows(
        mariadb,
        matomo_database,
        *({"ts_invalidated": timedelta(minutes=number)} for number in range(jobs)),
    )
    queue = {"system": "matomo", "url": mariadb.account(matomo_database, [SELECT]), "poll_every": "1s", "max_duty": 1}
    config = queuemedic.write_config(tmp_path, {"site": queue})
    with (
        queuemedic.serving(config, tmp_path) as served,
        Prometheus(served.address.removeprefix("http://")) as prometheus,
    ):
        wait_until(lambda: prometheus.query('up{job="queuemedic"} == 1'), within=30, what="the target is up")
        with Archiver(mariadb.root_url(matomo_database), work_seconds=2.0) as archiver:
            wait_until(
                lambda: prometheus.query("count_over_time(up[90s])")[0][1] >= 60, within=120, what="sixty scrapes"
            )
            assert archiver.wait(60) == 0
        assert prometheus.query("min_over_time(up[90s])")[0][1] == 1
        assert [target.last_error for target in prometheus.targets()] == [""]
        assert prometheus.query("max_over_time(sum(queuemedic_host_started_jobs)[90s:1s])")[0][1] == 3
        wait_until(
            lambda: prometheus.query("sum(queuemedic_jobs_ended_total)") == [({}, float(jobs))],
            within=20,
            what="every job is counted as ended",
        )
