"""A poll scans the table once, by an index where there is one, and holds no waiting rows."""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from exporter.queues.table.queue import TableQueue
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .plans import Cost, Sent, mariadb_costs, postgres_costs, statements
from .tables import SERVERS, MariaDbPlace, Place, PostgresPlace, place_on

ONE = "SELECT id FROM jobs WHERE busy = 1 ORDER BY id LIMIT 1"
ROWS = {
    "mariadb": "seq_1_to_{}",
    "postgres": "generate_series(1, {}) AS numbers(seq)",
}
STARTED, KINDS = 3, 5
GROUPS = KINDS + STARTED


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database on each server."""
    with place_on(request.param, request) as made:
        yield made


def fill(place: Place, number: int, *, started: int = STARTED) -> None:
    """Insert this many waiting rows, and some started ones."""
    source = ROWS[place.name].format(number)
    place.sql(f"INSERT INTO jobs (kind, made, busy) SELECT concat('kind', seq % 5), {place.now}, 0 FROM {source}")
    source = ROWS[place.name].format(started)
    place.sql(f"INSERT INTO jobs (kind, made, begun, busy) SELECT 'kind1', {place.now}, {place.now}, 1 FROM {source}")
    place.sql("ANALYZE TABLE jobs" if place.name == "mariadb" else "ANALYZE jobs")


def costs(place: Place, sent: Sent) -> list[Cost]:
    """Return what each statement about the jobs cost; those that return no row ask for types."""
    sent = [(statement, values) for statement, values in sent if "LIMIT 0" not in statement]
    if isinstance(place, MariaDbPlace):
        return mariadb_costs(place.server, place.database, sent, about="jobs")
    assert isinstance(place, PostgresPlace)
    assert isinstance(place.server, Postgres)
    return postgres_costs(place.server, place.database, sent, about="jobs")


def poll_twice(queue: TableQueue, change: Callable[[], object]) -> Sent:
    """Return the statements of the second poll."""
    first = queue.read(None)
    change()
    with statements() as sent:
        assert len(queue.read(first.cursor).left_started) == 1
    return sent


def release(place: Place) -> Callable[[], object]:
    """Put one started row back."""
    return lambda: place.sql(f"UPDATE jobs SET busy = 0 WHERE id = (SELECT id FROM ({ONE}) AS one)")


@pytest.mark.parametrize("key", ["id", "uuid"])
def test_a_poll_is_one_scan(place: Place, key: str) -> None:
    """Started rows, and those that were, are read by the primary key, whatever its type."""
    place.make()
    fill(place, 2000)
    if key == "uuid":
        uuid = "UUID" if place.name == "mariadb" else "uuid"
        place.sql("CREATE TABLE other AS SELECT * FROM jobs")
        place.sql("DROP TABLE jobs")
        place.sql(
            f"CREATE TABLE jobs (id {uuid} PRIMARY KEY, kind VARCHAR(50), made {place.instant} NULL,"
            f" begun {place.instant} NULL, busy INT, host VARCHAR(50), pid VARCHAR(50))"
        )
        make = "uuid()" if place.name == "mariadb" else "gen_random_uuid()"
        place.sql(f"INSERT INTO jobs SELECT {make}, kind, made, begun, busy, host, pid FROM other")
        place.sql("ANALYZE TABLE jobs" if place.name == "mariadb" else "ANALYZE jobs")
    scan, started, left = costs(place, poll_twice(place.queue(), release(place)))
    assert scan.rows == 2000 + STARTED
    assert scan.sorted <= 3 * GROUPS  # what was counted, not the rows
    assert scan.spills <= 1  # a list of ids is a long text, and MariaDB keeps such in files
    assert "IN (" in started.statement
    assert started.rows <= 2 * STARTED
    assert left.rows <= 2


def test_very_many_started_jobs_cost_a_scan_more_and_are_no_groups(place: Place) -> None:
    """They are found in the order of their start; from the second poll on, their ids are not looked for before."""
    place.make()
    fill(place, 2000, started=500)
    queue = place.queue(max_started=5)
    first = queue.read(None)
    with statements() as sent:
        snapshot = queue.read(first.cursor)
    assert len(snapshot.started) == 5
    scan, listed = costs(place, sent)
    assert [scan.rows, listed.rows] == [2500, 2500]
    assert scan.sorted <= 3 * KINDS
    assert "ORDER BY" in listed.statement


def test_ids_are_not_cut_where_the_server_usually_does(private_mariadb: Callable[..., MariaDb]) -> None:
    """MySQL cuts a list at 1024 bytes, and a second scan for each poll would be the price."""
    server = private_mariadb(options=["--group-concat-max-len=1024"])
    with server.database() as database:
        place = MariaDbPlace(server, database)
        place.make()
        fill(place, 10, started=1000)
        sent = poll_twice(place.queue(), release(place))
        place.close()
    assert len([statement for statement, _ in sent if "ORDER BY `jobs`" in statement]) == 0
    assert len([statement for statement, _ in sent if "jobs" in statement]) == 3


def test_an_index_on_the_conditions_is_used(place: Place) -> None:
    """Finished rows that stay in the table are then not read at all."""
    place.make()
    fill(place, 20)
    source = ROWS[place.name].format(20_000)
    place.sql(f"INSERT INTO jobs (made, busy) SELECT {place.now}, 2 FROM {source}")
    place.sql("CREATE INDEX states ON jobs (busy)")
    place.sql("ANALYZE TABLE jobs" if place.name == "mariadb" else "ANALYZE jobs")
    found = costs(place, poll_twice(place.queue(), release(place)))
    assert [cost.rows <= 2 * (20 + STARTED) for cost in found] == [True] * 3


def test_a_query_costs_a_scan_more_and_no_statement_for_each_row(place: Place) -> None:
    """It has no key: started rows are looked for once, and those that were, once."""
    place.make()
    fill(place, 500)
    queue = place.queue(**{"from": {"sql": "SELECT * FROM jobs"}})
    sent = poll_twice(queue, release(place))
    assert len([statement for statement, _ in sent if "jobs" in statement]) == 3


def test_memory_does_not_grow_with_the_rows_that_wait(place: Place) -> None:
    """A million need no more than a thousand, but for some tens of kilobytes."""
    place.make()
    peaks = []
    for number in (1000, 999_000):
        fill(place, number)
        queue = place.queue()
        queue.read(None)
        tracemalloc.start()
        snapshot = queue.read(None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert sum(entry.jobs for entry in snapshot.waiting) == 1_000_000
    assert peaks[1] - peaks[0] < 100_000
