"""A poll scans the table once, by an index where there is one, and holds no waiting rows."""

import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from exporter.queues.table.queue import TableQueue
from tests.lab.mariadb import MariaDb

from .tables import SERVERS, MariaDbPlace, Place, place_on

ONE = "SELECT id FROM jobs WHERE busy = 1 ORDER BY id LIMIT 1"
ROWS = {
    "mariadb": "seq_1_to_{}",
    "postgres": "generate_series(1, {}) AS numbers(seq)",
}


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database on each server."""
    with place_on(request.param, request) as made:
        yield made


@contextmanager
def statements() -> Iterator[list[tuple[str, object]]]:
    """Collect every statement that is sent, with its values."""
    sent: list[tuple[str, object]] = []

    def keep(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        sent.append((statement, values))

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", keep)


def fill(place: Place, number: int, *, started: int = 3) -> None:
    """Insert this many waiting rows, and some started ones."""
    source = ROWS[place.name].format(number)
    place.sql(f"INSERT INTO jobs (kind, made, busy) SELECT concat('kind', seq % 5), {place.now}, 0 FROM {source}")
    source = ROWS[place.name].format(started)
    place.sql(f"INSERT INTO jobs (kind, made, begun, busy) SELECT 'kind1', {place.now}, {place.now}, 1 FROM {source}")
    place.sql("ANALYZE TABLE jobs" if place.name == "mariadb" else "ANALYZE jobs")


def scans(place: Place, sent: list[tuple[str, object]]) -> list[str]:
    """Return the statements of a poll that read the whole table or a whole index, by their plans."""
    found = []
    for statement, values in sent:
        if "FROM " not in statement or "jobs" not in statement or "LIMIT 0" in statement:
            continue
        bound: Any = values
        if isinstance(place, MariaDbPlace):
            with place.server.connect(place.database) as connection, connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", bound)
                plan = [row[3] for row in cursor.fetchall() if row[2] and not row[2].startswith("<")]
            if {"ALL", "index"} & set(plan):
                found.append(statement)
        else:
            literals = {name: f"'{value}'" for name, value in bound.items()}
            written = re.sub(r"(%\(\w+\)s)::\w+", r"\1", statement) % literals
            if any("Seq Scan" in str(row[0]) for row in place.sql(f"EXPLAIN {written}")):
                found.append(statement)
    return found


def poll_twice(queue: TableQueue, change: Callable[[], object]) -> list[tuple[str, object]]:
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
    sent = poll_twice(place.queue(), release(place))
    assert len([statement for statement, _ in sent if "jobs" in statement]) == 3
    assert len(scans(place, sent)) == 1


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
    assert scans(place, poll_twice(place.queue(), release(place))) == []


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
