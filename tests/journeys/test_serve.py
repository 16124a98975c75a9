"""`serve` as it is installed: scraped by clients and by a real Prometheus, and right through what a database does."""

import gzip
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.catalogue import METRICS
from tests.contracts.benches import SELECT
from tests.lab import matomo, matomo_tables, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.prometheus import Prometheus, promtool_check_metrics
from tests.lab.queuemedic import Page, Serving
from tests.lab.waiting import wait_until

FAST = {"poll_every": "1s", "poll_timeout": "2s", "stale_after": "6s", "max_duty": 1}
HOUR = timedelta(hours=1)


class Site:
    """A Matomo database on a server of the test's own."""

    def __init__(self, server: MariaDb, database: str) -> None:
        self.server, self.database = server, database
        self.url = server.account(database, [SELECT])

    def queue(self, **options: object) -> dict[str, object]:
        """Return its section of the configuration."""
        return {"system": "matomo", "url": self.url, **FAST, **options}

    def insert(self, *rows: dict[str, object]) -> None:
        """Insert invalidations."""
        matomo.insert_rows(self.server, self.database, *rows)

    def sql(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        """Run a statement as the administrator."""
        return self.server.sql(statement, *params, database=self.database)

    def sessions(self) -> list[str | None]:
        """Return what the exporter's sessions are doing; None is idle."""
        sessions = self.server.processlist(idle=True)
        return [session.text for session in sessions if session.database == self.database]


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    """Two waiting jobs and one started an hour ago; on a server of its own where the test asks for `own_server`."""
    if "own_server" in request.fixturenames:
        server, database = request.getfixturevalue("own_server"), "matomo"
        server.sql(f"CREATE DATABASE {database}")
        matomo.create_tables(server, database)
    else:
        server, database = request.getfixturevalue("mariadb"), request.getfixturevalue("matomo_database")
    made = Site(server, database)
    made.insert({}, {}, {"status": 1, "ts_started": HOUR, "processing_host": "web1", "process_id": "77"})
    return made


@pytest.fixture
def own_server(private_mariadb: Callable[..., MariaDb]) -> MariaDb:
    """A server that the test may stop, freeze or lock."""
    return private_mariadb()


@pytest.fixture
def served(site: Site, tmp_path: Path) -> Iterator[Serving]:
    """`serve` on that site, and on a second queue that lives elsewhere."""
    other: dict[str, object] = {"system": "table", "url": f"sqlite:///{tmp_path / 'other.db'}", "from": "jobs", **FAST}
    other |= {"columns": {"id": "id", "enqueued_at": "a", "started_at": "b"}, "waiting_when": "b IS NULL"}
    other |= {"started_when": "b IS NOT NULL"}
    make_sqlite(tmp_path / "other.db")
    config = queuemedic.write_config(tmp_path, {"site": site.queue(), "other": other})
    with queuemedic.serving(config, tmp_path) as server:
        server.scrape_until("up", 1, queue="site")
        server.scrape_until("up", 1, queue="other")
        yield server


def make_sqlite(file: Path) -> None:
    """Make a queue of one waiting job on SQLite."""
    import sqlite3  # noqa: PLC0415
    from contextlib import closing  # noqa: PLC0415

    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, a TEXT, b TEXT)")
        connection.execute("INSERT INTO jobs (a) VALUES (datetime('now'))")


def wait_for_polls(served: Serving, queue: str, number: int) -> None:
    """Wait until so many more polls of a queue were good."""
    begin = served.scrape().value("polls_total", queue=queue, outcome="ok") or 0
    wait_until(
        lambda: (served.scrape().value("polls_total", queue=queue, outcome="ok") or 0) >= begin + number,
        within=20,
        what=f"{number} more polls of {queue}",
    )


def test_both_formats_are_valid_compressed_or_not(served: Serving) -> None:
    """Text, OpenMetrics and gzip, by content negotiation; promtool has nothing to say."""
    text = served.get("/metrics", **{"Accept-Encoding": "identity"})
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert promtool_check_metrics(text.text) == (0, "")
    openmetrics = served.scrape(is_openmetrics=True)
    assert openmetrics.value("jobs", queue="site", state="waiting", kind="day") == 2
    with served._client.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())).startswith(b"# HELP queuemedic_up")


def test_every_family_on_the_page_is_in_the_catalogue(served: Serving) -> None:
    """Nothing is published that is not declared, but for the process metrics of the client library."""
    page = served.scrape()
    names = {name for name in page.families if not name.startswith("process_")}
    assert names <= {metric.full_name.removesuffix("_total") for metric in METRICS.values()}
    assert any(name.startswith("process_") for name in page.families)
    assert page.value("healing_mode", queue="site", mode="disabled") == 1


@pytest.mark.usefixtures("own_server")
def test_health_readiness_and_the_landing_page(served: Serving, site: Site) -> None:
    """Healthy is that the process answers; ready is that every queue has a fresh snapshot."""
    assert served.get("/-/healthy").status_code == 200
    assert served.get("/-/ready").status_code == 200
    landing = served.get("/")
    assert (landing.status_code, "/metrics" in landing.text) == (200, True)
    assert "default-src 'none'" in landing.headers["content-security-policy"]
    assert served.get("/nothing").status_code == 404
    site.server.stop()
    wait_until(lambda: served.get("/-/ready").status_code == 503, within=15, what="no longer ready")
    assert served.get("/-/healthy").status_code == 200
    body = served.get("/-/ready").text
    assert body.startswith("site: ")
    assert "other" not in body


def test_series_come_and_go_as_rows_do(served: Serving, site: Site) -> None:
    """A host is on the page while rows name it; what began and ended is counted."""
    page = served.scrape()
    assert page.value("host_started_jobs", queue="site", host="web1") == 1
    site.insert({"status": 1, "ts_started": timedelta(0), "processing_host": "web2", "process_id": "5"})
    page = served.scrape_until("host_started_jobs", 1, queue="site", host="web2")
    site.sql("DELETE FROM matomo_archive_invalidations WHERE status = 1")
    page = served.scrape_until("host_started_jobs", None, queue="site", host="web2")
    assert page.value("attempts_started_total", queue="site", kind="day") == 1
    assert page.value("attempts_ended_total", queue="site", kind="day", outcome="gone") == 2
    assert page.value("jobs_ended_total", queue="site", kind="day") == 2
    assert page.value("jobs_enqueued_total", queue="site", kind="day") == 1
    assert page.values("host_started_jobs", "host", queue="site") == {"none": 0}
    assert page.value("oldest_started_timestamp_seconds", queue="site", host="web1") is None


def test_hostile_rows_leave_the_page_valid_and_bounded(served: Serving, site: Site) -> None:
    """Two hundred strange hosts and reports: both formats parse, promtool is content, sums are the table's."""
    strange = ['"', "\\", "\n", "{}", "a" * 100, "😀" * 25, "other", "none", "<script>", "", " ", "\x00"]
    hosts = [*strange, *(f"host{number}" for number in range(200))]
    site.insert(
        *(
            {
                "status": 1,
                "ts_started": HOUR,
                "processing_host": host,
                "process_id": "²",
                "name": "done.Actions",
                "report": host,
            }
            for host in hosts
        )
    )
    site.sql("UPDATE matomo_archive_invalidations SET ts_started = NULL WHERE processing_host = 'host7'")
    served.scrape_until("jobs", len(hosts) + 1, queue="site", state="started", kind="day")
    for is_openmetrics in (False, True):
        page = served.scrape(is_openmetrics=is_openmetrics)
        loads = page.values("host_started_jobs", "host", queue="site")
        assert sum(loads.values()) == len(hosts) + 1
        assert len(loads) <= 51
        assert page.value("labels_dropped", queue="site", label="host") == len(set(hosts)) + 1 - 50
        assert page.total("stuck_jobs", queue="site", reason="no_start_time") == 1
    assert promtool_check_metrics(served.scrape().text) == (0, "")


def down(served: Serving, site_outcome: str) -> Page:
    """Wait until the site is down for this reason, and check what stays; a poll in mid-stop may fail for another."""

    def for_this_reason() -> Page | None:
        page = served.scrape()
        is_down = page.value("up", queue="site") == 0
        return page if is_down and page.value("polls_total", queue="site", outcome=site_outcome) else None

    page = wait_until(for_this_reason, within=20, what=f"the site is down: {site_outcome}")
    assert page.value("up", queue="other") == 1
    return page


def stale(served: Serving) -> None:
    """Wait until the snapshot is stale: its gauges go, counters and what lasts stay."""
    page = served.scrape_until("jobs", None, queue="site", state="waiting", kind="day")
    assert page.value("up", queue="site") == 0
    for name in ("snapshot_timestamp_seconds", "poll_interval_seconds"):
        assert page.value(name, queue="site") is not None
    assert page.value("jobs_enqueued_total", queue="site", kind="day") is not None
    assert page.values("queue_info", "schema", queue="site") == {"5.3": 1}
    assert page.values("host_started_jobs", "host", queue="site") == {}
    assert page.value("jobs", queue="other", state="waiting", kind="job") == 1


def back(served: Serving, site: Site) -> None:
    """Wait until all is back by itself; counters go on from where they were, with no burst."""
    page = served.scrape_until("up", 1, queue="site")
    assert page.value("jobs", queue="site", state="waiting", kind="day") == 2
    assert page.total("jobs_enqueued_total", queue="site") == 0
    assert page.total("jobs_ended_total", queue="site") == 0
    assert page.total("attempts_ended_total", queue="site") == 0
    wait_until(lambda: site.sessions() == [None], within=10, what="one idle session, no statement")


@pytest.mark.usefixtures("own_server")
def test_a_database_that_is_stopped_and_started_again(served: Serving, site: Site) -> None:
    """Down within one poll, stale in time, back by itself."""
    site.server.stop()
    down(served, "unreachable")
    stale(served)
    site.server.start()
    back(served, site)


@pytest.mark.usefixtures("own_server")
def test_a_database_that_is_frozen(served: Serving, site: Site) -> None:
    """Nothing else is late, no thread or socket stays, and the other queue is polled as before."""
    threads, descriptors = served.threads(), served.descriptors()
    site.server.freeze()
    down(served, "timeout")
    wait_for_polls(served, "other", 3)
    stale(served)
    assert served.threads() <= threads + 4
    site.server.thaw()
    back(served, site)
    wait_until(lambda: served.descriptors() <= descriptors, within=10, what="descriptors are back")


def test_a_locked_table_is_left_when_time_is_up(served: Serving, site: Site) -> None:
    """A poll that waits for a lock gives up, leaves no statement behind, and polls less often for a while."""
    with site.server.connect(site.database) as locker, locker.cursor() as cursor:
        cursor.execute("LOCK TABLES matomo_archive_invalidations WRITE")
        page = down(served, "timeout")
        assert (page.value("poll_interval_seconds", queue="site") or 0) >= 2
        wait_until(lambda: not any(site.sessions()), within=10, what="no statement of ours runs")
        cursor.execute("ALTER TABLE matomo_archive_invalidations ADD COLUMN lab INT")
        cursor.execute("ALTER TABLE matomo_archive_invalidations DROP COLUMN lab")
        cursor.execute("UNLOCK TABLES")
    assert "CREATE INDEX" in served.log
    back(served, site)
    served.scrape_until("poll_interval_seconds", 1, queue="site")


def test_rights_taken_away_and_given_back(served: Serving, site: Site) -> None:
    """Refused, with the server's words in the log; never the password."""
    user = re.search(r"//(lab_\w+):([^@]+)@", site.url)
    assert user is not None
    site.sql(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user[1]}")
    for (number,) in site.sql("SELECT id FROM information_schema.processlist WHERE user = %s", user[1]):
        site.sql(f"KILL {number}")
    down(served, "refused")
    site.sql(f"GRANT {SELECT} TO {user[1]}")
    back(served, site)
    assert "denied" in served.log
    assert user[2] not in served.log


def test_a_table_that_is_renamed_and_back(served: Serving, site: Site) -> None:
    """Bad schema, and back."""
    site.sql("RENAME TABLE matomo_archive_invalidations TO away")
    page = served.scrape_until("up", 0, queue="site")
    polls = page.values("polls_total", "outcome", queue="site")
    assert polls["bad_schema"] + polls["refused"] >= 1
    site.sql("RENAME TABLE away TO matomo_archive_invalidations")
    back(served, site)


def test_an_upgrade_is_not_blocked_and_not_a_failure(private_mariadb: Callable[..., MariaDb], tmp_path: Path) -> None:
    """5.2 to 5.3 while we poll ten times a second: the ALTER goes through at once, and no poll fails for it."""
    server = private_mariadb()
    server.sql("CREATE DATABASE matomo")
    matomo.create_tables(server, "matomo", version="5.2")
    matomo.insert_rows(server, "matomo", {}, {"status": 1, "ts_started": HOUR})
    url = server.account("matomo", ["SELECT ON matomo_archive_invalidations"])
    queues = {f"q{number}": {"system": "matomo", "url": url, **FAST} for number in range(10)}
    config = queuemedic.write_config(tmp_path, queues)
    with queuemedic.serving(config, tmp_path) as served:
        for name in queues:
            served.scrape_until("up", 1, queue=name)
        with server.connect("matomo") as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 1")
            cursor.execute(matomo_tables.UPDATE_5_3.format(prefix="matomo_"))
        wait_for_polls(served, "q0", 2)
        page = served.scrape()
        assert page.total("polls_total") == page.total("polls_total", outcome="ok")


def test_a_real_prometheus_scrapes(served: Serving, site: Site) -> None:
    """Target up, no scrape error, and PromQL sees what the table holds."""
    with Prometheus(served.address.removeprefix("http://")) as prometheus:
        wait_until(
            lambda: prometheus.targets() and all(target.health == "up" for target in prometheus.targets()),
            within=30,
            what="the target is up",
        )
        assert [target.last_error for target in prometheus.targets()] == [""]
        jobs = 'sum(queuemedic_jobs{queue="site",state="waiting"})'
        wait_until(lambda: prometheus.query(jobs) == [({}, 2.0)], within=10, what="two waiting jobs")
        site.insert({}, {}, {})
        wait_until(lambda: prometheus.query(jobs) == [({}, 5.0)], within=10, what="five waiting jobs")
        (sample,) = prometheus.query('time() - queuemedic_oldest_started_timestamp_seconds{host="web1"}')
        assert 3600 <= sample[1] < 3660
        assert prometheus.query("scrape_samples_post_metric_relabeling > 0")
        assert prometheus.query('min_over_time(up{job="queuemedic"}[1m])')[0][1] == 1


@pytest.mark.usefixtures("own_server")
def test_queues_that_share_a_frozen_server_are_all_down(site: Site, tmp_path: Path) -> None:
    """Two polls at a time go to a server, and none of those that wait their turn looks well meanwhile."""
    queues = {f"q{number}": site.queue() for number in range(12)}
    with queuemedic.serving(queuemedic.write_config(tmp_path, queues), tmp_path) as served:
        wait_until(lambda: served.scrape().total("up") == 12, within=30, what="all are up")
        site.server.freeze()
        wait_until(lambda: served.scrape().total("up") == 0, within=20, what="all are down")
        site.server.thaw()
        wait_until(lambda: served.scrape().total("up") == 12, within=30, what="all are up again")


def test_connections_that_say_nothing_do_not_keep_scrapes_out(served: Serving) -> None:
    """They are closed after ten seconds, and there are never so many that files run out."""
    address = served.address.removeprefix("http://").split(":")
    before = served.descriptors()
    with ExitStack() as idle:
        sockets = [
            idle.enter_context(socket.create_connection((address[0], int(address[1])), timeout=15)) for _ in range(300)
        ]
        assert served.get("/metrics").status_code == 200
        wait_until(lambda: served.descriptors() < before + 280, within=5, what="those beyond 256 are turned away")
        for one in sockets:
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""
    assert served.get("/metrics").status_code == 200


@pytest.mark.usefixtures("own_server")
def test_it_ends_at_once_also_with_a_frozen_database(served: Serving, site: Site) -> None:
    """SIGTERM ends it within five seconds and with exit code 0, whatever hangs."""
    site.server.freeze()
    served.scrape_until("up", 0, queue="site")
    served.process.terminate()
    assert served.stop() == 0
    site.server.thaw()
    assert "Traceback" not in served.log
    wait_until(lambda: site.sessions() == [], within=10, what="no session is left")
