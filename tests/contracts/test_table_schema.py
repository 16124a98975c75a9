"""What a database lacks, or does not let be read, is named by the key that asks for it; and it may come and go."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from exporter.errors import BadSchema, ConfigurationError, PollTimeout, ReadError, Refused
from tests.lab.waiting import wait_until

from .tables import DIALECTS, Place, PostgresPlace, place_on

NOWHERE = {
    "mariadb": "Unknown column 'jobs.nowhere' in ",
    "postgres": "column jobs.nowhere does not exist",
    "sqlite": "no such column: jobs.nowhere",
}


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database of each kind."""
    with place_on(request.param, request) as made:
        yield made


def refusal(place: Place, *grants: str, **options: object) -> ReadError:
    """Return what reading `jobs` raises."""
    with pytest.raises(ReadError) as caught:
        place.read(*grants, **options)
    return caught.value


@pytest.mark.parametrize("key", ["id", "kind", "enqueued_at", "started_at", "host", "pid", "heartbeat_at"])
def test_a_column_that_is_not_there_is_named(place: Place, key: str) -> None:
    """By its key and in the database's own words; SQLite would take it for a text, if it were not for the table."""
    place.make()
    error = refusal(place, columns={key: "nowhere"})
    assert isinstance(error, BadSchema)
    assert str(error).startswith(f"columns.{key}: {NOWHERE[place.name]}")


@pytest.mark.parametrize("key", ["waiting_when", "started_when"])
def test_a_condition_that_cannot_be_read_is_named(place: Place, key: str) -> None:
    """A column that is not there, and a fault of its grammar; no statement is in the message."""
    place.make()
    error = refusal(place, **{key: "jobs.nowhere = 's3cret'"})
    assert str(error).startswith(f"{key}: {NOWHERE[place.name]}")
    error = refusal(place, **{key: "busy = = 's3cret'"})
    assert isinstance(error, BadSchema)
    assert str(error).startswith(f"{key}: ")
    assert "s3cret" not in str(error)


def test_an_expression_that_cannot_be_read_is_named(place: Place) -> None:
    """And what looks like one without being written as such gets a hint."""
    place.make()
    error = refusal(place, columns={"host": {"sql": "nowhere_to_be_called(host)"}})
    assert str(error).startswith("columns.host: ")
    error = refusal(place, columns={"host": "substr(host, 1, 3)"})
    assert str(error).startswith("columns.host: ")
    assert str(error).endswith("; an expression is written as {sql: …}")


@pytest.mark.parametrize("name", ["nowhere", {"sql": "SELECT * FROM nowhere"}])
def test_a_table_that_is_not_there_is_named(place: Place, name: object) -> None:
    """As `from`."""
    place.make()
    error = refusal(place, **{"from": name})
    assert isinstance(error, Refused if place.name == "mariadb" else BadSchema)
    assert str(error).startswith("from: ")
    assert "nowhere" in str(error)


@pytest.mark.parametrize("system", ["mariadb", "postgres"])
def test_rights_on_columns_are_enough_and_a_missing_one_is_named(request: pytest.FixtureRequest, system: str) -> None:
    """MariaDB names the column; PostgreSQL only the table, so the key says which."""
    with place_on(system, request) as place:
        place.make()
        columns = "id, kind, made, begun, busy, host"
        assert place.read(f"SELECT ({columns}) ON jobs", columns={"pid": None}).started == ()
        error = refusal(place, f"SELECT ({columns}) ON jobs")
        assert isinstance(error, Refused)
        assert str(error).startswith("columns.pid: ")
        error = refusal(place, f"SELECT ({columns.replace('busy', 'pid')}) ON jobs")
        assert isinstance(error, Refused)
        assert str(error).startswith("waiting_when: ")


def test_columns_may_go_and_come_back_while_we_watch(place: Place) -> None:
    """A failed poll, and the next is well; no restart is needed, and a renamed table is found again, too."""
    place.make()
    place.sql(f"INSERT INTO jobs (made, busy) VALUES ({place.now}, 0), ({place.now}, 1)")
    queue = place.queue("SELECT ON jobs")
    first = queue.read(None)
    place.sql("ALTER TABLE jobs RENAME COLUMN host TO machine")
    for _ in range(2):
        with pytest.raises(BadSchema, match=r"^columns\.host: "):
            queue.read(first.cursor)
    place.sql("ALTER TABLE jobs RENAME COLUMN machine TO host")
    assert queue.read(first.cursor).waiting[0].jobs == 1
    place.sql("ALTER TABLE jobs RENAME TO away")
    with pytest.raises(ReadError, match=r"^from: "):
        queue.read(first.cursor)
    place.sql("ALTER TABLE away RENAME TO jobs")
    assert queue.read(first.cursor).waiting[0].jobs == 1


@pytest.mark.parametrize("system", ["mariadb", "postgres"])
def test_a_column_of_another_type_is_read_as_such_at_once(request: pytest.FixtureRequest, system: str) -> None:
    """A migration from local times to instants; the look at the columns is not waited for where a statement fails."""
    with place_on(system, request) as place:
        place.make(instant="TIMESTAMP" if system == "postgres" else "DATETIME")
        place.sql("INSERT INTO jobs (made) VALUES ('2026-01-01 00:00:00')")
        queue = place.queue()
        before = queue.read(None).waiting[0].oldest_age
        change = {"postgres": "ALTER COLUMN made TYPE timestamptz", "mariadb": "MODIFY made TIMESTAMP NULL"}[system]
        place.sql(f"ALTER TABLE jobs {change}")
        queue._detected._due = 0.0
        after = queue.read(None).waiting[0].oldest_age
        assert before is not None
        assert after is not None
        assert abs(after - before) < timedelta(seconds=5)


def test_the_url_is_read_from_its_file_at_each_connection(place: Place, tmp_path: Path) -> None:
    """A changed password needs no restart; a URL in it is held to the same rules as one in the configuration."""
    place.make()
    file = tmp_path / "jobs.url"
    file.write_text(f"{place.url('SELECT ON jobs')}\n")
    queue = place.queue(url=None, url_file=file)
    assert queue.read(None).started == ()
    queue.close()
    file.write_text("mssql://reader:s3cret@db1/jobs")
    with pytest.raises(ConfigurationError, match=r"jobs\.url: url: 'mssql' is not known") as caught:
        queue.read(None)
    assert "s3cret" not in str(caught.value)
    file.write_text("s3cret")
    with pytest.raises(ConfigurationError, match=r"jobs\.url: the value is not a database URL") as caught:
        queue.read(None)
    assert "s3cret" not in str(caught.value)
    file.write_text("mysql://reader:s3cret@db1")
    with pytest.raises(ConfigurationError, match=r"jobs\.url: url: it names no database"):
        place.queue(url=None, url_file=file)


NUMBERS = {
    "mariadb": ["INT", "BIGINT UNSIGNED", "DOUBLE", "DECIMAL(20,3)"],
    "postgres": ["integer", "bigint", "numeric"],
}


@pytest.mark.parametrize(
    ("system", "column"), [(system, column) for system, columns in NUMBERS.items() for column in columns]
)
def test_a_number_is_no_instant(request: pytest.FixtureRequest, system: str, column: str) -> None:
    """The message says what to write, for the clock that is configured."""
    rights = {
        ("mariadb", "utc"): "timestamp '1970-01-01 00:00:00' + interval made second",
        ("mariadb", "session"): "from_unixtime(made)",
        ("postgres", "utc"): "to_timestamp(made)",
        ("postgres", "session"): "to_timestamp(made)",
    }
    with place_on(system, request) as place:
        place.make(instant=column)
        for clock in ("utc", "session"):
            error = refusal(place, clock=clock)
            assert isinstance(error, BadSchema)
            right = f'write {{sql: "{rights[system, clock]}"}}, if that is what it holds'
            assert str(error) == f"columns.enqueued_at: made is a number; {right}"


@pytest.mark.parametrize(
    ("system", "column", "right"),
    [
        ("mariadb", "VARCHAR(30)", "cast(made as datetime(6))"),
        ("mariadb", "TIME", "cast(made as datetime(6))"),
        ("postgres", "text", "cast(made as timestamp with time zone)"),
        ("postgres", "time", "cast(made as timestamp with time zone)"),
    ],
)
def test_a_text_is_no_instant(request: pytest.FixtureRequest, system: str, column: str, right: str) -> None:
    """Neither is a time of day."""
    with place_on(system, request) as place:
        place.make(instant=column)
        error = refusal(place)
        assert str(error).startswith("columns.enqueued_at: made is neither a date with a time nor a timestamp; ")
        assert f'{{sql: "{right}"}}' in str(error)


def test_a_statement_that_is_ended_is_no_fault_of_the_schema(request: pytest.FixtureRequest) -> None:
    """While the columns are looked up: a timeout, and no part is asked for alone."""
    with place_on("postgres", request) as place, ThreadPoolExecutor(1) as reading:
        assert isinstance(place, PostgresPlace)
        place.make()
        queue, database = place.queue(poll_timeout="20s"), place.database
        with psycopg.connect(place.server.root_url(database).replace("+psycopg", "")) as holder:
            holder.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            error = reading.submit(queue.read, None)
            sessions = "FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            wait_until(lambda: place.sql(f"SELECT pid {sessions}", database), within=10, what="a session that waits")
            place.sql(f"SELECT pg_cancel_backend(pid) {sessions}", database)
            wait([error], timeout=10)
            holder.rollback()
        with pytest.raises(PollTimeout, match="canceling statement due to user request"):
            error.result()
