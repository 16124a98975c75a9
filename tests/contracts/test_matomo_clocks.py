"""Ages are right in every server time zone, and through both nights of a change to daylight saving.

In the hour that comes twice an age may be an hour too young, never too old.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from exporter.jobs import QueueName
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from tests.lab import matomo
from tests.lab.mariadb import MariaDb

from .benches import SELECT

HOUR = timedelta(hours=1)
ZONES = {
    "Europe/Berlin": ("2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"),
    "America/New_York": ("2026-03-08T07:00:00+00:00", "2026-11-01T06:00:00+00:00"),
}


@pytest.fixture(scope="module", params=["named", "system"])
def zone_is_system(request: pytest.FixtureRequest) -> bool:
    """The zone can be the server's setting or that of its machine; the server converts by different code."""
    return bool(request.param == "system")


@pytest.fixture
def server_in(
    private_mariadb: Callable[..., MariaDb], zone_is_system: bool
) -> Iterator[Callable[[str], tuple[MariaDb, str]]]:
    """A server in a zone, and a database with Matomo's tables on it."""
    databases = []

    def make(zone: str) -> tuple[MariaDb, str]:
        if zone_is_system:
            server = private_mariadb(system_time_zone=zone)
        else:
            server = private_mariadb()
            server.load_time_zones(zone)
            server.sql("SET GLOBAL time_zone = %s", zone)
        database = server.database()
        databases.append(database)
        name = database.__enter__()
        matomo.create_tables(server, name)
        return server, name

    yield make
    for database in databases:
        database.__exit__(None, None, None)


def started_ages(server: MariaDb, database: str, now: datetime, starts: list[str]) -> list[timedelta | None]:
    """Insert rows with these local start times and read their ages at `now`."""
    server.sql("DELETE FROM matomo_archive_invalidations", database=database)
    matomo.insert_rows(
        server,
        database,
        *({"status": 1, "ts_started": start, "processing_host": "h", "process_id": "1"} for start in starts),
    )
    server.set_clock(now, database=database)
    queue = MatomoQueue(QueueName("q"), MatomoOptions(url=server.account(database, [SELECT])))
    try:
        attempts = queue.read(None).started
        by_id = {int(attempt.job_id): attempt.age for attempt in attempts}
        return [by_id[job_id] for job_id in sorted(by_id)]
    finally:
        queue.close()
        server.set_clock(None, database=database)


def steps(middle: str) -> list[datetime]:
    """Four hours before an instant to four hours after it, each twenty minutes."""
    return [datetime.fromisoformat(middle) + timedelta(minutes=20 * number) for number in range(-12, 13)]


@pytest.mark.parametrize("zone", ZONES)
def test_ages_through_the_night_in_spring(server_in: Callable[[str], tuple[MariaDb, str]], zone: str) -> None:
    """An hour is missing on the wall, and no age is an hour too old or too young for it."""
    server, database = server_in(zone)
    instants = steps(ZONES[zone][0])
    for index in (6, 12, 13, 18, 24):
        now, before = instants[index], instants[: index + 1]
        starts = [f"{start.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}" for start in before]
        assert started_ages(server, database, now, starts) == [now - start for start in before]


@pytest.mark.parametrize("zone", ZONES)
def test_ages_through_the_night_in_autumn(server_in: Callable[[str], tuple[MariaDb, str]], zone: str) -> None:
    """A start in the hour that comes twice may be either; it is taken for the later, so its age is never too old."""
    server, database = server_in(zone)
    tz = ZoneInfo(zone)
    change = datetime.fromisoformat(ZONES[zone][1])
    instants = steps(ZONES[zone][1])
    for index in (9, 11, 12, 14, 15, 18, 24):
        now, before = instants[index], instants[: index + 1]
        starts = [f"{start.astimezone(tz):%Y-%m-%d %H:%M:%S}" for start in before]
        ages = started_ages(server, database, now, starts)
        for start, age in zip(before, ages, strict=True):
            is_first_time = change - HOUR <= start < change
            true = now - start
            assert age == (max(true - HOUR, timedelta(0)) if is_first_time else true), (now, start)


@pytest.mark.parametrize(
    ("zone", "offset"), [("+00:00", 0), ("+05:45", 345), ("-09:30", -570), ("+13:00", 780), ("-12:00", -720)]
)
def test_ages_at_fixed_offsets(private_mariadb: Callable[..., MariaDb], zone: str, offset: int) -> None:
    """`ts_started` is local and `ts_invalidated` UTC; freshness counts by the UTC day."""
    server = private_mariadb(options=[f"--default-time-zone={zone}"])
    now = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    with server.database() as database:
        matomo.create_tables(server, database)
        local = now.replace(tzinfo=None) + timedelta(minutes=offset) - timedelta(minutes=90)
        matomo.insert_rows(
            server,
            database,
            {"status": 1, "ts_started": local, "ts_invalidated": "2026-11-22 21:00:00"},
            {"date1": "2026-11-21", "date2": "2026-11-21", "ts_invalidated": "2026-11-22 20:30:00"},
            {"date1": "2026-11-22", "date2": "2026-11-22", "ts_invalidated": "2026-11-20 00:00:00"},
        )
        server.set_clock(now, database=database)
        queue = MatomoQueue(QueueName("q"), MatomoOptions(url=server.account(database, [SELECT])))
        snapshot = queue.read(None)
        queue.close()
        server.set_clock(None, database=database)
    (attempt,) = snapshot.started
    assert (attempt.age, attempt.enqueued_age) == (timedelta(minutes=90), timedelta(minutes=150))
    assert next(entry.oldest_age for entry in snapshot.waiting if entry.kind == "day") == timedelta(hours=3)
    assert snapshot.database_now == now
