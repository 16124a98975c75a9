"""Whatever Matomo's table holds, and in whatever version's shape, the snapshot is bounded and true."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from exporter.address import Address
from exporter.database import Reader
from exporter.errors import BadSchema, Refused
from exporter.jobs import Kind, QueueName, Snapshot, State
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.queues.matomo.statements import SIGNALS
from exporter.secrets import read_url
from tests.lab import matomo
from tests.lab.mariadb import MariaDb

from .benches import SELECT

OLD_SELECT = SELECT.replace(", processing_host, process_id", "")
HOUR = timedelta(hours=1)


@pytest.fixture
def open_queue(mariadb: MariaDb) -> Iterator[Callable[..., MatomoQueue]]:
    """Open a queue on a database with an account that has just these grants."""
    queues = []

    def make(database: str, *grants: str, **options: object) -> MatomoQueue:
        url = mariadb.account(database, grants or [SELECT])
        queue = MatomoQueue(QueueName("q"), MatomoOptions.model_validate({"url": url, **options}))
        queues.append(queue)
        return queue

    yield make
    for queue in queues:
        queue.close()


def jobs(snapshot: Snapshot) -> dict[str, int]:
    """Return the waiting jobs by kind, those there are."""
    return {entry.kind: entry.jobs for entry in snapshot.waiting if entry.jobs}


@pytest.mark.parametrize(
    ("version", "upgraded", "schema", "has_worker"),
    [
        ("4.0", False, "4.0", False),
        ("4.0", True, "4.0", False),
        ("5.2", False, "4.0", False),
        ("5.3", False, "5.3", True),
        ("5.7", False, "5.7", True),
        ("6.0", False, "5.7", True),
    ],
)
def test_every_version_is_read_by_its_columns(
    mariadb: MariaDb,
    open_queue: Callable[..., MatomoQueue],
    version: str,
    upgraded: bool,
    schema: str,
    has_worker: bool,
) -> None:
    """Host and pid are there since 5.3, archiving_metrics since 5.7; the schema names the oldest that fits."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version=version, upgraded=upgraded)
        worker = {"processing_host": "web1", "process_id": "77"} if has_worker else {}
        matomo.insert_rows(mariadb, database, {}, {"status": 1, "ts_started": HOUR, **worker})
        grants = [SELECT if has_worker else OLD_SELECT]
        if schema == "5.7":
            grants.append("SELECT ON matomo_archiving_metrics")
        snapshot = open_queue(database, *grants).read(None)
    assert snapshot.schema == schema
    assert jobs(snapshot) == {"day": 1}
    (attempt,) = snapshot.started
    assert (attempt.host, attempt.pid) == (("web1", 77) if has_worker else (None, None))
    assert attempt.age is not None
    assert HOUR <= attempt.age < HOUR + timedelta(seconds=5)


@pytest.mark.parametrize("prefix", ["", "piwik_", "wp_2_matomo_", "Größe$_"])
def test_any_prefix_is_read(mariadb: MariaDb, open_queue: Callable[..., MatomoQueue], prefix: str) -> None:
    """The empty prefix is one, too."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, prefix=prefix)
        matomo.insert_rows(mariadb, database, {}, {}, prefix=prefix)
        grant = f"SELECT ON `{prefix}archive_invalidations`"
        assert jobs(open_queue(database, grant, tables_prefix=prefix).read(None)) == {"day": 2}


def test_an_upgrade_while_we_watch_is_seen(mariadb: MariaDb, open_queue: Callable[..., MatomoQueue]) -> None:
    """5.2 to 5.3 adds two columns; the next look at the columns finds them, and nothing fails in between."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version="5.2")
        matomo.insert_rows(mariadb, database, {"status": 1, "ts_started": HOUR})
        queue = open_queue(database, "SELECT ON matomo_archive_invalidations")
        assert queue.read(None).schema == "4.0"
        matomo.upgrade_to_5_3(mariadb, database)
        assert queue.read(None).started[0].host is None
        queue._detected._due = 0.0
        assert queue.read(None).schema == "5.3"


def test_a_column_that_goes_away_is_looked_up_anew_at_once(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """A statement that names a missing column is not a failed poll, if the table can be read without it."""
    queue = open_queue(matomo_database, "SELECT ON matomo_archive_invalidations")
    matomo.insert_rows(mariadb, matomo_database, {"status": 1, "ts_started": HOUR})
    assert queue.read(None).schema == "5.3"
    mariadb.sql(
        "ALTER TABLE matomo_archive_invalidations DROP COLUMN processing_host, DROP COLUMN process_id",
        database=matomo_database,
    )
    assert queue.read(None).schema == "4.0"


def test_a_table_that_is_not_matomos_is_said_so(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """Without a column that must be there, in the server's own words; all is well again when it is back."""
    queue = open_queue(matomo_database, "SELECT ON matomo_archive_invalidations")
    mariadb.sql("ALTER TABLE matomo_archive_invalidations RENAME COLUMN status TO state", database=matomo_database)
    with pytest.raises(BadSchema, match="status"):
        queue.read(None)
    mariadb.sql("ALTER TABLE matomo_archive_invalidations RENAME COLUMN state TO status", database=matomo_database)
    assert jobs(queue.read(None)) == {}


def test_a_missing_right_is_refused(matomo_database: str, open_queue: Callable[..., MatomoQueue]) -> None:
    """A column that is there but may not be read is an error that names it."""
    with pytest.raises(Refused, match="status"):
        open_queue(matomo_database, SELECT.replace(" status,", "")).read(None)


def test_a_missing_right_on_the_workers_columns_is_said(
    matomo_database: str, open_queue: Callable[..., MatomoQueue], capsys: pytest.CaptureFixture[str]
) -> None:
    """MariaDB cannot tell such an account whether they exist, so the queue is read without, and says what to grant."""
    assert open_queue(matomo_database, OLD_SELECT).read(None).schema == "4.0"
    assert "grant SELECT on them" in capsys.readouterr().out


def test_the_account_cannot_write(mariadb: MariaDb, matomo_database: str) -> None:
    """With the documented grants the server refuses everything but reading the columns that are read."""
    matomo.insert_rows(mariadb, matomo_database, {})
    url = mariadb.account(matomo_database, [SELECT])
    for statement in (
        "UPDATE matomo_archive_invalidations SET status = 1",
        "DELETE FROM matomo_archive_invalidations",
        "INSERT INTO matomo_archive_invalidations (name, idsite, date1, date2, period) VALUES ('done', 1, 0, 0, 1)",
        "TRUNCATE matomo_archive_invalidations",
        "DROP TABLE matomo_archive_invalidations",
        "SELECT idarchive FROM matomo_archive_invalidations",
        "SELECT option_value FROM matomo_option",
        "SET GLOBAL max_connections = 1",
    ):
        reader = Reader(lambda: Address(url=read_url(url)), limit=timedelta(seconds=5))
        with pytest.raises(Exception, match=r"denied|READ ONLY"), reader.transaction() as transaction:
            transaction.connection.exec_driver_sql(statement)
    assert mariadb.sql("SELECT COUNT(*), SUM(status) FROM matomo_archive_invalidations", database=matomo_database) == [
        (1, 0)
    ]


def test_hostile_rows_are_read_as_what_they_are(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """NULL everywhere, zero dates, absurd values: nothing fails, nothing is invented."""
    mariadb.sql(
        "ALTER TABLE matomo_archive_invalidations MODIFY name VARCHAR(255) NULL, MODIFY idsite INT UNSIGNED NULL,"
        " MODIFY date1 DATE NULL, MODIFY date2 DATE NULL, MODIFY period TINYINT UNSIGNED NULL",
        database=matomo_database,
    )
    insert = "SET NAMES utf8mb4; SET sql_mode = ''; INSERT INTO matomo_archive_invalidations ({}) VALUES {};"
    columns = (
        "name, idsite, date1, date2, period, ts_invalidated, ts_started, status, report, processing_host, process_id"
    )
    rows = [
        "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL)",
        "('done', 1, 0, 0, 1, 0, 0, 1, '', '', '')",
        "('done', 1, 0, 0, 9, 0, 0, 0, '', NULL, NULL)",
        "('', 0, '9999-12-31', '9999-12-31', 255, '9999-12-31', '9999-12-31', 1, 'x', '\"\\n\\\\', '-1')",
        f"('done', 1, '2026-01-01', '2026-01-01', 1, '1000-01-01', '1000-01-01', 1, NULL, '{'😀' * 100}', '²')",
        "('done', 1, '2026-01-01', '2026-01-01', 1, '2026-01-01', '2026-01-01', 0, NULL, NULL, NULL)",
        "('done', 1, '2026-01-01', '2026-01-01', 1, '2026-01-01', '2026-01-01', 7, NULL, NULL, NULL)",
    ]
    mariadb.script(insert.format(columns, ", ".join(rows)), matomo_database)
    snapshot = open_queue(matomo_database).read(None)
    assert jobs(snapshot) == {"day": 1, "other": 1}
    assert len(snapshot.started) == 4
    assert all(attempt.pid is None for attempt in snapshot.started)
    assert all(attempt.age is None for attempt in snapshot.started)
    assert {attempt.host for attempt in snapshot.started} == {None, "", '"\n\\', "😀" * 100}
    assert {attempt.kind for attempt in snapshot.started} == {"day", "other"}
    oldest = {entry.kind: entry.oldest_age for entry in snapshot.waiting}
    assert oldest[Kind("other")] is None
    assert oldest[Kind("day")] is not None


def test_forty_thousand_reports_stay_bounded_and_add_up(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """The largest reports have labels, the rest is `other`; labels are kept when others grow larger."""
    mariadb.sql(
        "INSERT INTO matomo_archive_invalidations (name, idsite, date1, date2, period, ts_invalidated, report)"
        " SELECT 'done.Actions', 1, '2026-01-01', '2026-01-01', 1, UTC_TIMESTAMP(), CONCAT('r', seq)"
        " FROM seq_1_to_40000 UNION ALL"
        " SELECT 'done.Actions', 1, '2026-01-01', '2026-01-01', 1, UTC_TIMESTAMP(), CONCAT('r', seq MOD 3)"
        " FROM seq_1_to_3000",
        database=matomo_database,
    )
    queue = open_queue(matomo_database, max_reports=3, breakdown_every="1s")
    breakdown = queue.read(None).breakdown
    assert breakdown is not None
    waiting = {entry.report: entry.jobs for entry in breakdown.reports if entry.state is State.WAITING}
    assert waiting == {"r1": 1001, "r2": 1001, "r0": 1000, "other": 39998}
    assert breakdown.reports_left_out == 39998
    mariadb.sql("UPDATE matomo_archive_invalidations SET report = 'r7' WHERE report = 'r0'", database=matomo_database)
    queue._breakdown_due = 0.0
    breakdown = queue.read(None).breakdown
    assert breakdown is not None
    waiting = {entry.report: entry.jobs for entry in breakdown.reports if entry.state is State.WAITING}
    assert waiting == {"r1": 1001, "r2": 1001, "r0": 0, "other": 40998}


def test_signals_come_through_the_view_only_where_there_is_a_grant(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """Numbers only, through a view of the administrator's; without the right they are left out."""
    mariadb.sql(
        "CREATE SQL SECURITY DEFINER VIEW matomo_queuemedic_signals AS " + SIGNALS.format(option="matomo_option"),
        database=matomo_database,
    )
    for name, value in {
        "LastFullArchivingStartTime": "1795330941",
        "LastCompletedFullArchiving": "",
        "SharedSiteIdsToArchive_AllWebsites": "2,3,17",
        "ReArchiveList": "a:0:{}",
        "x1_report_to_invalidate_2_2026-10-31_435": "1",
        "report_to_invalidate_3_2026-10-31_435": "1",
        "secret_salt": "hush",
    }.items():
        mariadb.sql(
            "INSERT INTO matomo_option (option_name, option_value, autoload) VALUES (%s, %s, 0)",
            name,
            value,
            database=matomo_database,
        )
    expected = {
        "matomo_archiving_started_timestamp_seconds": 1795330941.0,
        "matomo_sites_left": 3.0,
        "matomo_rearchive_list_bytes": 6.0,
        "matomo_pending_invalidations": 2.0,
    }
    for grants, signals in (
        ([SELECT], {}),
        ([SELECT, "SELECT ON matomo_queuemedic_signals"], expected),
        ([SELECT, "SELECT ON matomo_option"], expected),
    ):
        snapshot = open_queue(matomo_database, *grants).read(None)
        assert {signal.name: signal.value for signal in snapshot.signals} == signals


def test_what_a_view_says_is_data(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """Other names, the same twice, no numbers: only known names count, each once, and only numbers."""
    mariadb.sql(
        "CREATE VIEW matomo_queuemedic_signals AS SELECT 'up' AS name, '1' AS value UNION ALL SELECT NULL, '1'"
        " UNION ALL SELECT 'matomo_sites_left', 'abc' UNION ALL SELECT 'matomo_sites_left', '4'"
        " UNION ALL SELECT 'matomo_sites_left', '5' UNION ALL SELECT 'matomo_pending_invalidations', 'nan'"
        " UNION ALL SELECT 'matomo_pending_invalidations', NULL",
        database=matomo_database,
    )
    queue = open_queue(matomo_database, SELECT, "SELECT ON matomo_queuemedic_signals")
    assert [(signal.name, signal.value) for signal in queue.read(None).signals] == [("matomo_sites_left", 4.0)]


def test_of_very_many_started_jobs_the_oldest_are_read(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """However the ids lie: the stuck ones are among those that are read."""
    mariadb.sql(
        "INSERT INTO matomo_archive_invalidations (name, idsite, date1, date2, period, ts_invalidated, ts_started,"
        " status) SELECT 'done', 1, '2026-01-01', '2026-01-01', 1, UTC_TIMESTAMP(), NOW() - INTERVAL seq SECOND, 1"
        " FROM seq_1_to_30000",
        database=matomo_database,
    )
    snapshot = open_queue(matomo_database, max_started=5).read(None)
    assert [attempt.job_id for attempt in snapshot.started] == ["30000", "29999", "29998", "29997", "29996"]
    assert snapshot.started_left_out == {"day": 29995}


def test_a_view_that_is_broken_is_left_out(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """The administrator who made it has left, and his account was dropped: the queue is read all the same."""
    mariadb.sql("CREATE OR REPLACE USER lab_definer")
    mariadb.sql(
        "CREATE DEFINER = lab_definer SQL SECURITY DEFINER VIEW matomo_queuemedic_signals AS "
        + SIGNALS.format(option="matomo_option"),
        database=matomo_database,
    )
    mariadb.sql("DROP USER lab_definer")
    matomo.insert_rows(mariadb, matomo_database, {})
    queue = open_queue(matomo_database, SELECT, "SELECT ON matomo_queuemedic_signals")
    for _ in range(2):
        snapshot = queue.read(None)
        assert (snapshot.signals, jobs(snapshot)) == ((), {"day": 1})


def test_rights_on_optional_tables_that_go_away_are_no_failure(
    mariadb: MariaDb, open_queue: Callable[..., MatomoQueue]
) -> None:
    """Without archiving_metrics the queue is read as one of 5.3."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version="5.7")
        queue = open_queue(database, SELECT, "SELECT ON matomo_archiving_metrics")
        first = queue.read(None)
        assert first.schema == "5.7"
        mariadb.sql("DROP TABLE matomo_archiving_metrics", database=database)
        assert queue.read(first.cursor).schema == "5.3"


def test_what_a_row_without_start_time_or_overdue_holds_back_is_counted(
    mariadb: MariaDb, matomo_database: str, open_queue: Callable[..., MatomoQueue]
) -> None:
    """Same site, overlapping dates, same or higher period; two different segments do not block each other."""
    day = {"date1": "2026-01-15", "date2": "2026-01-15"}
    month = {"date1": "2026-01-01", "date2": "2026-01-31", "period": 3}
    one, two = "done" + "a" * 32, "done" + "b" * 32
    matomo.insert_rows(
        mariadb,
        matomo_database,
        {**day, "status": 1, "ts_started": None},
        {**day, "idsite": 2, "status": 1, "ts_started": timedelta(hours=5), "name": one},
        {**day, "idsite": 3, "status": 1, "ts_started": timedelta(hours=1)},
        month,
        {**month, "name": two},
        {**day, "date1": "2026-01-16", "date2": "2026-01-16"},
        {**month, "idsite": 2, "name": one + ".Actions"},
        {**month, "idsite": 2, "name": two},
        {**month, "idsite": 2},
        {**month, "idsite": 3},
    )
    breakdown = open_queue(matomo_database).read(None).breakdown
    assert breakdown is not None
    assert breakdown.blocked_jobs == 4


def test_finished_archives_are_read_once_each(mariadb: MariaDb, open_queue: Callable[..., MatomoQueue]) -> None:
    """From 5.7 on `archiving_metrics` has real durations, in milliseconds; those before the first poll do not count."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version="5.7")

        def finish(period: int, milliseconds: int) -> None:
            mariadb.sql(
                "INSERT INTO matomo_archiving_metrics (idarchive, idsite, archive_name, date1, date2, period,"
                " ts_started, ts_finished, total_time, total_time_exclusive) VALUES (1, 1, 'done', '2026-01-01',"
                " '2026-01-01', %s, UTC_TIMESTAMP(), UTC_TIMESTAMP(), %s, %s)",
                period,
                milliseconds,
                milliseconds,
                database=database,
            )

        finish(1, 9000)
        queue = open_queue(database, SELECT, "SELECT ON matomo_archiving_metrics")
        first = queue.read(None)
        assert first.finished == ()
        finish(1, 1500)
        finish(4, 7_200_000)
        second = queue.read(first.cursor)
        assert [(job.kind, job.duration) for job in second.finished] == [
            ("day", timedelta(seconds=1.5)),
            ("year", timedelta(hours=2)),
        ]
        assert queue.read(second.cursor).finished == ()
        mariadb.sql("TRUNCATE matomo_archiving_metrics", database=database)
        emptied = queue.read(second.cursor)
        finish(1, 2500)
        assert [job.duration for job in queue.read(emptied.cursor).finished] == [timedelta(seconds=2.5)]
