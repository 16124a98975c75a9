"""Each statement of a poll of Matomo's table reads what it has to and no more: the table once, everything else by key.

Held on MariaDB for the columns of each release, without an index of the administrator's and with either of the two that
help. Where the cost is a multiple of the started rows, it says so.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from exporter.jobs import Kind, QueueName, Snapshot
from exporter.poller import Polled, Poller
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.slots import ServerSlots
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.waiting import wait_until

from .benches import SELECT
from .plans import Cost, mariadb_costs, statements

ROWS, STARTED, NEW, GONE, OPTIONS, SITES = 20_000, 30, 40, 3, 400, 200
TABLE = "matomo_archive_invalidations"
TABLE_ROWS = ROWS + NEW
GROUPS = 40  # of a scan: at most so many periods and started rows
BREAKDOWN_SECONDS = 1.0
COVERING, LISTING = "(status, period, date2, ts_invalidated)", "(status, ts_started)"
CASES = {
    "5.2": ("5.2", ""),
    "5.3": ("5.3", ""),
    "5.7": ("5.7", ""),
    "5.2, covering index": ("5.2", COVERING),
    "5.7, listing index": ("5.7", LISTING),
}
SEED = f"""
INSERT INTO {TABLE} (name, idsite, date1, date2, period, ts_invalidated, ts_started, status, report)
SELECT IF(seq MOD 3, CONCAT('done', MD5(seq MOD 5)), 'done'), seq MOD {SITES}, '2026-01-01' + INTERVAL seq MOD 300 DAY,
  '2026-01-01' + INTERVAL seq MOD 300 DAY, 1 + seq MOD 4, UTC_TIMESTAMP() - INTERVAL seq SECOND, NULL, 0,
  IF(seq MOD 7, NULL, CONCAT('r', seq MOD 20))
FROM seq_1_to_{ROWS}
"""
STARTING = f"""
UPDATE {TABLE} SET status = 1, ts_started = NOW() - INTERVAL idinvalidation MOD 25000 SECOND
WHERE idinvalidation MOD {ROWS // STARTED} = 0
"""


FINISHING = """
INSERT INTO matomo_archiving_metrics (idarchive, idsite, archive_name, date1, date2, period, ts_started, ts_finished,
  total_time, total_time_exclusive)
SELECT 1, 1, 'done', '2026-01-01', '2026-01-01', 1, UTC_TIMESTAMP(), UTC_TIMESTAMP(), 1, 1 FROM seq_1_to_{}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPoll:
    """The second poll of a queue, and what each of its statements about a table cost."""

    snapshot: Snapshot
    costs: list[Cost]

    def of(self, mark: str) -> Cost:
        """Return the one statement that has this in it."""
        (found,) = [cost for cost in self.costs if mark in cost.statement]
        return found


@pytest.fixture
def poll(mariadb: MariaDb) -> Iterator[Callable[..., SecondPoll]]:
    """Fill a table, poll it, let rows come, start, end and go back, and poll it again."""
    queues = []

    def make(database: str, *, version: str = "5.3", index: str = "", **options: object) -> SecondPoll:
        def sql(statement: str) -> None:
            mariadb.sql(statement, database=database)

        matomo.create_tables(mariadb, database, version=version)
        sql(SEED)
        sql(STARTING)
        sql(
            "INSERT INTO matomo_option (option_name, option_value, autoload)"
            f" SELECT CONCAT('o', seq), '', 0 FROM seq_1_to_{OPTIONS}"
        )
        if version == "5.7":
            sql(FINISHING.format(OPTIONS))
        if index:
            sql(f"CREATE INDEX queuemedic ON {TABLE} {index}")
        sql(f"ANALYZE TABLE {TABLE}")
        url = mariadb.account(database, ["SELECT ON *"])
        queue = MatomoQueue(QueueName("q"), MatomoOptions.model_validate({"url": url, **options}))
        queues.append(queue)
        first = queue.read(None)
        sql(
            f"INSERT INTO {TABLE} (name, idsite, date1, date2, period) SELECT 'done', 1, '2026-01-01', '2026-01-01', 1"
            f" FROM seq_1_to_{NEW}"
        )
        sql(f"UPDATE {TABLE} SET status = 0 WHERE status = 1 ORDER BY idinvalidation LIMIT {GONE}")
        if version == "5.7":
            sql(FINISHING.format(NEW))
        queue._breakdown_due = 0.0
        with statements() as sent:
            snapshot = queue.read(first.cursor)
        sent = [(statement, values) for statement, values in sent if "information_schema" not in statement]
        return SecondPoll(snapshot=snapshot, costs=mariadb_costs(mariadb, database, sent, about="matomo_"))

    yield make
    for queue in queues:
        queue.close()


@pytest.mark.parametrize(("version", "index"), CASES.values(), ids=CASES.keys())
def test_each_statement_reads_what_it_has_to(
    mariadb: MariaDb, poll: Callable[..., SecondPoll], version: str, index: str
) -> None:
    """The table once, in order to count it; started rows by key or by an index; new ones from the last id on."""
    with mariadb.database() as database:
        polled = poll(database, version=version, index=index)
    scan = polled.of("MIN(IF(")
    assert TABLE_ROWS <= scan.rows <= TABLE_ROWS + GROUPS
    assert scan.sorted <= GROUPS  # the groups, not the rows that they are made of
    assert scan.spills == 0
    started = polled.of("UNIX_TIMESTAMP(ts_started)")
    assert ("WHERE status = 1 ORDER BY" in started.statement) == bool(index)
    assert started.rows <= 3 * STARTED
    assert polled.of("MAX(idinvalidation)").rows <= 2
    assert polled.of("idinvalidation > ").rows <= 2 * NEW
    assert polled.of("SELECT idinvalidation, status").rows <= 2 * GONE
    assert polled.of("LastFullArchivingStartTime").rows <= OPTIONS + 100
    breakdown = polled.of("CRC32")
    assert TABLE_ROWS <= breakdown.rows <= TABLE_ROWS + GROUPS
    assert breakdown.spills == 0
    # Rows of the sites that are held back, found by Matomo's own index; the other sites' are not read.
    assert polled.of("WHERE status = 0 AND (").rows <= 3 * STARTED * ROWS // SITES
    if version == "5.7":
        assert polled.of("total_time").rows <= 2 * NEW
    whole = [cost.statement for cost in polled.costs if cost.rows > TABLE_ROWS / 2]
    assert whole == [scan.statement, breakdown.statement]
    assert len(polled.snapshot.started) == STARTED - GONE
    assert sum(entry.jobs for entry in polled.snapshot.waiting) == TABLE_ROWS - STARTED + GONE


def test_very_many_started_rows_cost_one_scan_more(mariadb: MariaDb, poll: Callable[..., SecondPoll]) -> None:
    """Not one for each: which of them are the oldest is found while the table is read, with no more of them held."""
    with mariadb.database() as database:
        polled = poll(database, max_started=5)
    whole = [cost for cost in polled.costs if cost.rows > TABLE_ROWS / 2 and "CRC32" not in cost.statement]
    assert [cost.sorted <= GROUPS for cost in whole] == [True, True]
    assert len(polled.snapshot.started) == 5
    assert sum(polled.snapshot.started_left_out.values()) == STARTED - GONE - 5


def test_a_breakdown_has_its_own_pace_and_its_time_counts(mariadb: MariaDb, matomo_database: str) -> None:
    """A poll that brought one is followed by a longer pause, so that `max_duty` holds for both together."""
    url = mariadb.account(matomo_database, [SELECT])
    options = MatomoOptions.model_validate({"url": url, "poll_every": "1s", "max_duty": 0.5})
    queue = MatomoQueue(QueueName("q"), options)
    poller = Poller(queue, options, aliases={}, server_slots=ServerSlots(1), publish=lambda *_: None)
    seen = []

    def slow(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CRC32" in statement:
            seen.append(statement)
            time.sleep(BREAKDOWN_SECONDS)

    event.listen(Engine, "before_cursor_execute", slow)
    try:
        assert poller.poll() is Polled.DONE
        assert len(seen) == 1
        assert poller.status.interval.total_seconds() >= BREAKDOWN_SECONDS / options.max_duty
        assert poller.poll() is Polled.NOT_NOW
        wait_until(lambda: poller.poll() is Polled.DONE, within=10 * poller.seconds_to_wait, what="the pause is over")
    finally:
        event.remove(Engine, "before_cursor_execute", slow)
        queue.close()
    assert len(seen) == 1


def test_a_time_that_is_no_time_hides_no_other_and_costs_one_scan_once(mariadb: MariaDb, matomo_database: str) -> None:
    """The earliest is looked for among numbers, of which a date of zeros is the least."""
    mariadb.script(
        f"SET sql_mode = ''; INSERT INTO {TABLE} (name, idsite, date1, date2, period, ts_invalidated) VALUES"
        " ('done', 1, '2026-01-01', '2026-01-01', 1, 0), ('done', 1, '2026-01-01', '2026-01-01', 1,"
        " UTC_TIMESTAMP() - INTERVAL 1 HOUR), ('done', 1, '2026-01-01', '2026-01-01', 2, '1000-01-01');",
        matomo_database,
    )
    options = MatomoOptions.model_validate({"url": mariadb.account(matomo_database, [SELECT])})
    queue = MatomoQueue(QueueName("q"), options)
    scans = []
    for _ in range(2):
        with statements() as sent:
            oldest = {entry.kind: entry.oldest_age for entry in queue.read(None).waiting}
        scans.append(sum("MIN(IF(" in statement for statement, _ in sent))
        age = oldest[Kind("day")]
        assert age is not None
        assert timedelta(hours=1) <= age < timedelta(hours=1, minutes=1)
        assert oldest[Kind("week")] is None
    queue.close()
    assert scans == [2, 1]
