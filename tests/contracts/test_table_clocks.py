"""Ages are right for every type and clock, and through both nights of a change to daylight saving.

In the hour that comes twice an age may be an hour too young, never too old. MariaDB's clock can be set; those of
PostgreSQL and SQLite cannot, so there the zone is one that changes just before or after now.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from operator import sub
from zoneinfo import ZoneInfo

import pytest

from exporter.jobs import QueueName
from exporter.queues.table import TableOptions, TableQueue
from tests.lab.mariadb import MariaDb

from .tables import Place, PostgresPlace, place_on

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ZONES = {
    "Europe/Berlin": ("2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"),
    "America/New_York": ("2026-03-08T07:00:00+00:00", "2026-11-01T06:00:00+00:00"),
}
MARIADB = {("session", "local"), ("session", "instant"), ("utc", "utc"), ("utc", "instant")}


@pytest.fixture(params=["named", "system"])
def server_in(
    private_mariadb: Callable[..., MariaDb], request: pytest.FixtureRequest
) -> Callable[[str], tuple[MariaDb, str]]:
    """A server in a zone, its own or that of its machine, with a table `jobs` in the database `d`."""

    def make(zone: str) -> tuple[MariaDb, str]:
        if request.param == "system":
            server = private_mariadb(system_time_zone=zone)
        else:
            server = private_mariadb()
            server.load_time_zones(zone)
            server.sql("SET GLOBAL time_zone = %s", zone)
        server.sql("CREATE DATABASE d")
        server.sql(
            "CREATE TABLE jobs (id INT PRIMARY KEY, local DATETIME, utc DATETIME(3), instant TIMESTAMP NULL, busy INT)",
            database="d",
        )
        return server, "d"

    return make


def ages_at(server: MariaDb, now: datetime, starts: list[datetime], *, zone: str) -> dict[str, list[timedelta | None]]:
    """Insert a row for each start and read their ages at `now`, by clock and column; last, the oldest that waits."""
    with server.connect("d") as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("DELETE FROM jobs")
        rows = [
            (
                number + 1000 * busy,
                f"{start.astimezone(ZoneInfo(zone)):%F %T}",
                f"{start:%F %T}",
                f"{start:%F %T}",
                busy,
            )
            for busy in (0, 1)
            for number, start in enumerate(starts)
        ]
        cursor.executemany("INSERT INTO jobs VALUES (%s, %s, %s, %s, %s)", rows)
    server.set_clock(now, database="d")
    url = server.account("d", ["SELECT ON jobs"])
    found: dict[str, list[timedelta | None]] = {}
    for clock, column in sorted(MARIADB):
        options = {
            "url": url,
            "from": "jobs",
            "columns": {"id": "id", "enqueued_at": column, "started_at": column, "heartbeat_at": column},
            "waiting_when": "busy = 0",
            "started_when": "busy = 1",
            "clock": clock,
        }
        queue = TableQueue(QueueName("q"), TableOptions.model_validate(options))
        snapshot = queue.read(None)
        queue.close()
        by_id = {int(attempt.job_id): attempt for attempt in snapshot.started}
        for attempt in by_id.values():
            assert attempt.age == attempt.enqueued_age == attempt.heartbeat_age
        found[f"{clock} {column}"] = [by_id[number].age for number in sorted(by_id)] + [snapshot.waiting[0].oldest_age]
    server.set_clock(None, database="d")
    return found


def steps(middle: str) -> list[datetime]:
    """Four hours before an instant to four hours after it, each twenty minutes."""
    return [datetime.fromisoformat(middle) + timedelta(minutes=20 * number) for number in range(-12, 13)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("night", ["spring", "autumn"])
def test_ages_on_mariadb(server_in: Callable[[str], tuple[MariaDb, str]], zone: str, night: str) -> None:
    """Of UTC and of TIMESTAMP exact; of local times exact in spring, and in autumn never too old."""
    server, _ = server_in(zone)
    change, instants = ZONES[zone][night == "autumn"], steps(ZONES[zone][night == "autumn"])
    for index in (9, 11, 12, 14, 15, 18, 24):
        now, before = instants[index], instants[: index + 1]
        true = [now - start for start in before]
        twice = [night == "autumn" and -HOUR <= start - datetime.fromisoformat(change) < 0 * HOUR for start in before]
        young = [max(age - HOUR, 0 * HOUR) if is_twice else age for age, is_twice in zip(true, twice, strict=True)]
        ages = ages_at(server, now, before, zone=zone)
        for name, expected in (
            ("session local", young),
            ("session instant", true),
            ("utc utc", true),
            ("utc instant", true),
        ):
            assert ages[name] == [*expected, true[0]], (name, now)


def zone_around(change: datetime, *, night: str, offset: timedelta) -> str:
    """Return a POSIX zone, this far ahead of UTC and in summer an hour more, that changes at this instant."""
    other = change + timedelta(days=100 if night == "spring" else -100)
    starts, ends = (change, other) if night == "spring" else (other, change)
    changes = (starts + offset, ends + offset + HOUR)
    dates = (f"{local.timetuple().tm_yday - 1}/{local:%H:%M:%S}" for local in changes)
    names = (f"{name}{-span // HOUR}" for name, span in (("XST", offset), ("XDT", offset + HOUR)))
    return f"{''.join(names)},{','.join(dates)}"


def cases(night: str) -> Iterator[tuple[str, datetime, Callable[[datetime], str], Callable[[datetime], timedelta]]]:
    """Yield zones that change around now, with what turns an instant into its local time, and into its age."""
    now = datetime.now(UTC).replace(microsecond=0)
    for minutes, offset in product((-90, -40, 20, 50, 80, 170), (HOUR, -5 * HOUR)):
        change = now - minutes * MINUTE

        def wall(instant: datetime, change: datetime = change, offset: timedelta = offset) -> str:
            is_summer = (instant < change) is (night == "autumn")
            return f"{instant + offset + (HOUR if is_summer else 0 * HOUR):%F %T}"

        def age(instant: datetime, change: datetime = change) -> timedelta:
            is_twice = night == "autumn" and change - HOUR <= instant < change
            return max(now - instant - (HOUR if is_twice else 0 * HOUR), 0 * HOUR)

        yield zone_around(change, night=night, offset=offset), now, wall, age


def check_ages(place: Place, now: datetime, age: Callable[[datetime], timedelta], **options: object) -> None:
    """Compare the age of each started job, one for each 20 minutes, and of the oldest that waits."""
    snapshot = place.read(**options)
    assert len(snapshot.started) == 13
    for attempt in snapshot.started:
        expected = age(now - int(attempt.job_id) * 20 * MINUTE)
        assert attempt.age is not None
        assert abs(attempt.age - expected) < 30 * timedelta(seconds=1), (options, attempt.job_id, attempt.age)
    oldest = snapshot.waiting[0].oldest_age
    assert oldest is not None
    assert abs(oldest - age(now - 260 * MINUTE)) < 30 * timedelta(seconds=1)


def insert(place: Place, now: datetime, wall: Callable[[datetime], str]) -> None:
    """Insert jobs that were started each 20 minutes, and one that waits for longer than any."""
    place.sql("DELETE FROM jobs")
    for number in range(13):
        text = wall(now - number * 20 * MINUTE)
        place.sql("INSERT INTO jobs (id, made, begun, busy) VALUES (%s, %s, %s, 1)", number, text, text)
    place.sql("INSERT INTO jobs (id, made) VALUES (99, %s)", wall(now - 260 * MINUTE))


@pytest.mark.parametrize("night", ["spring", "autumn"])
def test_ages_on_postgresql(request: pytest.FixtureRequest, night: str) -> None:
    """Of local times never too old, of UTC exact, and of `timestamptz` exact whatever the clock."""
    with place_on("postgres", request) as place:
        assert isinstance(place, PostgresPlace)
        place.make(instant="timestamp")
        place.sql("CREATE TABLE exact AS SELECT * FROM jobs")
        place.sql(
            "ALTER TABLE exact ALTER made TYPE timestamptz, ALTER begun TYPE timestamptz, ALTER busy SET DEFAULT 0"
        )
        for zone, now, wall, age in cases(night):
            place.sql(f"ALTER DATABASE {place.database} SET timezone = '{zone}'")
            insert(place, now, wall)
            check_ages(place, now, age, clock="session")
            insert(place, now, lambda instant: f"{instant:%F %T}")
            check_ages(place, now, partial(sub, now), clock="utc")
            place.sql("DELETE FROM exact")
            place.sql(
                "INSERT INTO exact (id, made, begun, busy)"
                " SELECT id, made AT TIME ZONE 'UTC', begun AT TIME ZONE 'UTC', busy FROM jobs"
            )
            for clock in ("utc", "session"):
                check_exact(place, clock)


def check_exact(place: Place, clock: str) -> None:
    """Read the table of `timestamptz`."""
    queue = place.queue("SELECT ON exact", clock=clock, **{"from": "exact"})
    for attempt in queue.read(None).started:
        assert attempt.age is not None
        assert abs(attempt.age - int(attempt.job_id) * 20 * MINUTE) < 30 * timedelta(seconds=1)


@contextmanager
def own_zone(zone: str) -> Iterator[None]:
    """Be in a zone: SQLite's local time is that of the process."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


@pytest.mark.parametrize("night", ["spring", "autumn"])
def test_ages_on_sqlite(request: pytest.FixtureRequest, night: str) -> None:
    """Of local times never too old, of UTC exact."""
    with place_on("sqlite", request) as place:
        place.make()
        for zone, now, wall, age in cases(night):
            with own_zone(zone):
                insert(place, now, wall)
                check_ages(place, now, age, clock="session")
                insert(place, now, lambda instant: f"{instant:%FT%TZ}")
                check_ages(place, now, partial(sub, now), clock="utc")


@pytest.mark.parametrize(
    ("system", "instant", "noise"),
    [
        ("mariadb", "DATETIME(6)", "UTC_TIMESTAMP(6) + INTERVAL 30 SECOND"),
        ("postgres", "timestamptz", "clock_timestamp() + interval '30 seconds'"),
        ("sqlite", "TEXT", "datetime('now', '+30 seconds')"),
    ],
)
def test_a_start_a_little_in_the_future_is_no_age_at_all(
    request: pytest.FixtureRequest, system: str, instant: str, noise: str
) -> None:
    """Another machine's clock: 0 and not unknown."""
    with place_on(system, request) as place:
        place.make(instant=instant)
        place.sql(f"INSERT INTO jobs (made, begun, busy) VALUES ({noise}, {noise}, 1)")
        (attempt,) = place.read().started
        assert (attempt.age, attempt.enqueued_age) == (0 * HOUR, 0 * HOUR)
