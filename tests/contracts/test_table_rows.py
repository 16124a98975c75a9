"""Whatever a table is called and whatever it holds, the snapshot is bounded and true; on each kind of database."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from exporter.collector import QueueStatus, collect_queue
from exporter.jobs import Cursor, Snapshot, State
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.queues.table import statements as statements_module
from exporter.queues.table.queue import TableQueue
from exporter.slots import ServerSlots

from .tables import DIALECTS, SERVERS, MariaDbPlace, Place, place_on

HOUR = timedelta(hours=1)
NAMES = ["Größe", 'a"b', "a`b", "50%", "%s", "%(a)s", "a:b", ":after", "select", "a b", "a'b", "a\\b", "\\:id", "日本"]


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database of each kind."""
    with place_on(request.param, request) as made:
        yield made


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty database on each server."""
    with place_on(request.param, request) as made:
        yield made


def jobs(snapshot: Snapshot) -> dict[str, int]:
    """Return the waiting jobs by kind, those there are."""
    return {entry.kind: entry.jobs for entry in snapshot.waiting if entry.jobs}


def new(snapshot: Snapshot) -> int:
    """Add up what was enqueued since the cursor."""
    return sum(entry.enqueued for entry in snapshot.waiting)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names(place: Place, name: str) -> None:
    """Of a table and of its columns: quotes, colons and percent signs in them are no SQL."""
    table, column = place.quoted(name), place.quoted(name)
    place.sql(f"CREATE TABLE {table} (id INT PRIMARY KEY, {column} {place.instant}, busy INT)")
    place.sql(f"INSERT INTO {table} VALUES (1, {place.now}, 0), (2, {place.now}, 1)")
    columns = {"kind": name, "enqueued_at": name, "started_at": name, "host": name, "pid": None}
    snapshot = place.read(f"SELECT ON {table}", columns=columns, **{"from": name})
    assert sum(jobs(snapshot).values()) == 1
    (attempt,) = snapshot.started
    assert attempt.age is not None
    assert attempt.age < timedelta(seconds=5)


def test_a_table_in_another_schema_is_read(server: Place) -> None:
    """`schema.table`; on MariaDB a schema is a database."""
    schema = "lab_other_schema"
    server.sql(f"CREATE SCHEMA {schema}")
    try:
        server.make(name=f"{schema}.jobs")
        server.sql(f"INSERT INTO {schema}.jobs (made) VALUES ({server.now})")
        server.make()
        usage = "SELECT ON jobs" if server.name == "mariadb" else f"USAGE ON SCHEMA {schema}"
        assert jobs(server.read(f"SELECT ON {schema}.jobs", usage, **{"from": f"{schema}.jobs"})) == {"job": 1}
    finally:
        server.sql(f"DROP SCHEMA {schema}{'' if server.name == 'mariadb' else ' CASCADE'}")


def test_trusted_sql_is_taken_as_it_is(place: Place) -> None:
    """Colons, percent signs, backslashes before colons and a comment at the end are the database's to read."""
    place.make()
    place.sql(f"INSERT INTO jobs (kind, made, host) VALUES ('a', {place.now}, '10:30'), ('ab', {place.now}, ':id')")
    place.sql(f"INSERT INTO jobs (kind, made, host) VALUES ('b', {place.now}, '10:30')")
    condition = "(kind LIKE 'a%' AND host IN ('10:30', ':id', '\\:id', '%s', '%(x)s', ':after')) -- jobs: 100%"
    snapshot = place.read(waiting_when=condition, columns={"kind": {"sql": "host -- x: %"}})
    assert jobs(snapshot) == {"10:30": 1, ":id": 1}


def test_postgresql_casts_and_slices_are_taken_as_they_are(request: pytest.FixtureRequest) -> None:
    """`::` is no parameter, neither is the colon of a slice."""
    with place_on("postgres", request) as place:
        place.make("tags text[]")
        place.sql(f"INSERT INTO jobs (made, pid, tags) VALUES ({place.now}, '7', '{{a,b,c}}')")
        snapshot = place.read(
            waiting_when="pid::int = 7 AND tags[1:2] = '{a,b}'::text[]",
            columns={"kind": {"sql": "pid::int::text || ':x'"}},
        )
        assert jobs(snapshot) == {"7:x": 1}


def test_what_is_started_does_not_wait_and_null_is_neither(place: Place) -> None:
    """Of two conditions that hold at once `started_when` counts; one that is NULL does not hold."""
    place.make()
    place.sql(
        "INSERT INTO jobs (kind, made, busy, host) VALUES"
        f" ('both', {place.now}, 1, 'x'), ('null', {place.now}, 1, NULL), ('none', {place.now}, 2, 'x')"
    )
    snapshot = place.read(waiting_when="busy = 1", started_when="busy = 1 AND host = 'x'")
    assert jobs(snapshot) == {"null": 1}
    assert [attempt.kind for attempt in snapshot.started] == ["both"]
    assert {entry.kind for entry in snapshot.waiting} == {"both", "null"}


def test_kinds_that_differ_only_in_case_or_spaces_are_different(place: Place) -> None:
    """MariaDB's collations think otherwise, and would name either for both."""
    place.make()
    for kind in ("Mail", "mail", "mail ", "máil", "", None):
        place.sql(f"INSERT INTO jobs (kind, made) VALUES (%s, {place.now})", kind)
        place.sql(f"INSERT INTO jobs (kind, made, begun, busy) VALUES (%s, {place.now}, {place.now}, 1)", kind)
    snapshot = place.read(max_started=6)
    assert jobs(snapshot) == {"Mail": 1, "mail": 1, "mail ": 1, "máil": 1, "job": 2}
    assert sorted(attempt.kind for attempt in snapshot.started) == ["Mail", "job", "job", "mail", "mail ", "máil"]
    limited = place.read(max_started=2)
    assert sum(limited.started_left_out.values()) == 4


def test_values_of_any_type_are_texts(place: Place) -> None:
    """Numbers, and bytes that are no UTF-8; a pid is one only if it looks like one."""
    blob = "bytea" if place.name == "postgres" else "BLOB"
    place.make(f"raw {blob}, number INT")
    text = "x'66ff'" if place.name != "postgres" else "'\\x66ff'"
    place.sql(f"INSERT INTO jobs (made, begun, busy, raw, number) VALUES ({place.now}, {place.now}, 1, {text}, 4711)")
    (attempt,) = place.read(columns={"host": "raw", "pid": "number", "kind": "number"}).started
    assert (attempt.host, attempt.pid, attempt.pid_text, attempt.kind) == ("f\ufffd", 4711, "4711", "4711")


@pytest.mark.parametrize("host", ["'; DROP TABLE jobs; --", "a\nb", "%s:x", "\\", "日本", "x" * 50])
def test_values_are_data(place: Place, host: str) -> None:
    """Read back as they are, and bound again where rows are looked after."""
    place.make()
    place.sql(
        f"INSERT INTO jobs (made, begun, busy, host, kind) VALUES ({place.now}, {place.now}, 1, %s, %s)", host, host
    )
    (attempt,) = place.read().started
    assert (attempt.host, attempt.kind) == (host, host)


@pytest.mark.parametrize("system", ["mariadb", "sqlite"])
def test_values_may_hold_nul(request: pytest.FixtureRequest, system: str) -> None:
    """PostgreSQL takes none; elsewhere it is a character of an id, a kind and a host."""
    with place_on(system, request) as place:
        place.make("name VARCHAR(20)")
        odd = "a\0b"
        place.sql(
            f"INSERT INTO jobs (made, begun, busy, host, kind, name) VALUES ({place.now}, {place.now}, 1, %s, %s, %s)",
            *(odd, odd, odd),
        )
        queue = place.queue(columns={"id": "name"})
        first = queue.read(None)
        assert [(attempt.job_id, attempt.host, attempt.kind) for attempt in first.started] == [(odd, odd, odd)]
        place.sql("UPDATE jobs SET busy = 0")
        assert queue.read(first.cursor).left_started == {odd: State.WAITING}


@pytest.mark.parametrize("form", ["text", "uuid", "binary"])
def test_ids_that_are_no_numbers(place: Place, form: str) -> None:
    """Started rows are found by them; what is new is told by `enqueued_at`, and first of all nothing is."""
    types = {
        "mariadb": {"text": "VARCHAR(60) COLLATE latin1_german1_ci", "uuid": "UUID", "binary": "BINARY(16)"},
        "postgres": {"text": "text", "uuid": "uuid", "binary": "bytea"},
        "sqlite": {"text": "TEXT", "uuid": "CHAR(36)", "binary": "BLOB"},
    }
    place.sql(
        f"CREATE TABLE jobs (id {types[place.name][form]} PRIMARY KEY, made {place.instant}, begun {place.instant},"
        " busy INT)"
    )

    def add(number: int, ago: int) -> str:
        key = uuid.UUID(int=(0xFE << 120) + number)
        bound = {"text": f"jöb,{number}'%s" * 2, "uuid": str(key), "binary": key.bytes}[form]
        place.sql("INSERT INTO jobs (id, made, busy) VALUES (%s, %s, 0)", bound, f"2026-01-01 00:00:{60 - ago:02d}")
        read = {"text": bound, "uuid": bound, "binary": ("\\x" if place.name == "postgres" else "") + key.hex}[form]
        return str(read)

    queue = place.queue(columns={"kind": None, "host": None, "pid": None})
    ids = [add(number, 50 - number) for number in (9, 1, 5)]
    place.sql(f"UPDATE jobs SET busy = 1, begun = {place.now}")
    first = queue.read(None)
    assert new(first) == 0
    assert {attempt.job_id for attempt in first.started} == set(ids)
    add(3, 5)
    place.sql(
        "UPDATE jobs SET busy = 0 WHERE busy = 1 AND made = (SELECT made FROM (SELECT min(made) AS made FROM jobs) x)"
    )
    second = queue.read(first.cursor)
    assert (new(second), len(second.started)) == (1, 2)
    assert second.left_started == {ids[1]: State.WAITING}
    assert new(queue.read(second.cursor)) == 0
    if place.name != "sqlite":
        assert queue.read(Cursor(last_id=5, started=frozenset())).waiting[0].enqueued == 0


@pytest.mark.parametrize(
    ("form", "key"),
    [("DECIMAL(20,0)", "7"), ("DECIMAL(10,2)", "7.50"), ("DOUBLE PRECISION", "7.5"), ("DATE", "2026-01-07")],
)
def test_ids_that_are_neither_whole_numbers_nor_texts(server: Place, form: str, key: str) -> None:
    """Applications that came from Oracle have such; they are found again, too."""
    server.make(f"odd {form}")
    server.sql(f"INSERT INTO jobs (made, begun, busy, odd) VALUES ({server.now}, {server.now}, 1, '{key}')")
    queue = server.queue(columns={"id": "odd"})
    first = queue.read(None)
    assert [attempt.job_id for attempt in first.started] == [key]
    server.sql("UPDATE jobs SET busy = 0")
    assert queue.read(first.cursor).left_started == {key: State.WAITING}


@pytest.mark.parametrize("form", ["INT", "VARCHAR(20)"])
def test_a_row_without_an_id_is_a_job(place: Place, form: str) -> None:
    """A view can have such; it is not found again, which must not fail every poll to come."""
    place.make(f"odd {form} NULL")
    for odd in (None, 7):
        place.sql(f"INSERT INTO jobs (made, begun, busy, odd) VALUES ({place.now}, {place.now}, 1, %s)", odd)
    queue = place.queue(columns={"id": "odd"})
    first = queue.read(None)
    assert [attempt.job_id for attempt in first.started] == ["", "7"]
    assert first.started_left_out == {}
    place.sql("UPDATE jobs SET busy = 0")
    assert queue.read(first.cursor).left_started == {"7": State.WAITING}


def test_an_id_of_another_type_ends_no_polling(server: Place) -> None:
    """A migration from numbers to UUIDs and back, with started jobs: they are over, and nothing is new."""
    made = "uuid()" if server.name == "mariadb" else "gen_random_uuid()"
    server.make(f"other UUID DEFAULT {made}")
    server.sql(f"INSERT INTO jobs (made, begun, busy) VALUES ({server.now}, {server.now}, 1)")
    queue = server.queue()
    snapshot = queue.read(None)
    for _ in range(2):
        for old, new_name in (("id", "former"), ("other", "id"), ("former", "other")):
            server.sql(f"ALTER TABLE jobs RENAME COLUMN {old} TO {new_name}")
        queue.close()
        snapshot = queue.read(snapshot.cursor)
        assert (len(snapshot.started), snapshot.left_started, new(snapshot)) == (1, {}, 0)


def test_ids_of_all_types_in_one_column_of_sqlite(request: pytest.FixtureRequest) -> None:
    """Numbers, texts, bytes, and what is no UTF-8: all are read, and what is new is told by how many there are."""
    with place_on("sqlite", request) as place:
        place.sql("CREATE TABLE jobs (id PRIMARY KEY, kind, made, begun, busy)")
        for number, odd in enumerate(("1", "'x'", "x'7a'", "1.5", "CAST(x'61ff' AS TEXT)")):
            place.sql(f"INSERT INTO jobs VALUES ({odd}, {number}, datetime('now'), datetime('now'), 1)")
        queue = place.queue(columns={"host": None, "pid": None})
        first = queue.read(None)
        assert {attempt.job_id for attempt in first.started} == {"1", "x", "7a", "1.5", "a\ufffd"}
        place.sql("UPDATE jobs SET busy = 0 WHERE id IN (1, 'x')")
        second = queue.read(first.cursor)
        assert (second.left_started, new(second)) == ({"1": State.WAITING, "x": State.WAITING}, 0)


@pytest.mark.parametrize("instant", ["TIMESTAMP", "TIMESTAMP(6)", "DATETIME", "DATE"])
def test_what_is_new_is_told_by_times_of_any_type(request: pytest.FixtureRequest, instant: str) -> None:
    """On MariaDB an instant is compared as a number, which is no id for all that."""
    with place_on("mariadb", request) as place:
        place.make(f"name VARCHAR(20), at {instant} NULL")
        queue = place.queue(columns={"id": "name", "enqueued_at": "at"})
        place.sql("INSERT INTO jobs (name, at) VALUES ('b', '2026-01-01')")
        first = queue.read(None)
        place.sql("INSERT INTO jobs (name, at) VALUES ('a', '2026-01-02')")
        second = queue.read(first.cursor)
        assert (new(first), new(second), new(queue.read(second.cursor))) == (0, 1, 0)


@pytest.mark.parametrize("form", ["numbers", "texts"])
def test_a_list_of_ids_that_is_cut_loses_no_started_job(request: pytest.FixtureRequest, form: str) -> None:
    """MariaDB cuts it at a length; what is missing is read by a second scan."""
    with place_on("mariadb", request) as place:
        place.make("name VARCHAR(20)")
        for number in range(30):
            name = f"job-{number:03d}"
            place.sql(f"INSERT INTO jobs (made, begun, busy, name) VALUES ({place.now}, {place.now}, 1, '{name}')")
        queue = place.queue(columns={"id": "id" if form == "numbers" else "name"})
        queue.read(None)
        for length in range(4, 40):
            assert queue._detected._connection is not None
            queue._detected._connection.exec_driver_sql(f"SET SESSION group_concat_max_len = {length}")
            queue._detected._connection.rollback()
            snapshot = queue.read(None)
            assert (len(snapshot.started), snapshot.started_left_out) == (30, {})


def test_a_view_is_read(place: Place) -> None:
    """As a table is, with rights on nothing else."""
    place.make()
    place.sql(f"INSERT INTO jobs (made, busy, begun) VALUES ({place.now}, 0, NULL), ({place.now}, 1, {place.now})")
    place.sql("CREATE VIEW seen AS SELECT id, kind, made, begun, busy, host, pid FROM jobs")
    snapshot = place.read("SELECT ON seen", **{"from": "seen"})
    assert (jobs(snapshot), len(snapshot.started)) == ({"job": 1}, 1)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_query_is_read(place: Place, is_plain: bool) -> None:
    """Its rows are those of a table named `source`; the jobs of the last poll are found again."""
    place.make()
    for busy in (0, 1, 1):
        place.sql(f"INSERT INTO jobs (made, begun, busy) VALUES ({place.now}, {place.now}, {busy})")
    query = "SELECT id, kind AS what, made, begun, busy, host, pid FROM jobs WHERE busy < 2 -- %"
    queue = place.queue(
        columns={"id": {"sql": "source.id + 100"}, "kind": "what"},
        started_when="source.busy = 1",
        **{"from": query if is_plain else {"sql": query}},
    )
    first = queue.read(None)
    assert (jobs(first), [attempt.job_id for attempt in first.started]) == ({"job": 1}, ["102", "103"])
    place.sql("UPDATE jobs SET busy = 0 WHERE id = 2")
    place.sql("DELETE FROM jobs WHERE id = 3")
    second = queue.read(first.cursor)
    assert second.left_started == {"102": State.WAITING}
    assert new(second) == 0


def test_the_heartbeat_and_what_the_claim_rests_on(place: Place) -> None:
    """None where there was none; one in the future is fresh, and the claim holds it as read."""
    place.make(f"beat {place.instant} NULL")
    hour = {"mariadb": "INTERVAL 1 HOUR", "postgres": "interval '1 hour'"}
    later = {name: f"{place.now} + {span}" for name, span in hour.items()} | {"sqlite": "datetime('now', '+1 hour')"}
    earlier = {name: f"{place.now} - {span}" for name, span in hour.items()} | {"sqlite": "datetime('now', '-1 hour')"}
    for beat in ("NULL", later[place.name], earlier[place.name]):
        place.sql(f"INSERT INTO jobs (made, begun, busy, beat) VALUES ({place.now}, {place.now}, 1, {beat})")
    queue = place.queue(columns={"heartbeat_at": "beat"})
    assert queue.signs.has_heartbeats
    never, future, past = sorted(queue.read(None).started, key=lambda attempt: int(attempt.job_id))
    assert (never.heartbeat_age, never.claim.rests_on) == (None, (None,))
    assert future.heartbeat_age == timedelta(0)
    assert past.heartbeat_age is not None
    assert HOUR <= past.heartbeat_age < HOUR + timedelta(seconds=5)
    assert isinstance(past.claim.rests_on[0], str if place.name == "sqlite" else datetime)
    assert not place.queue().signs.has_heartbeats


def test_a_job_that_becomes_due_is_no_new_one_unless_it_comes_above_the_cursor(place: Place) -> None:
    """It is in the queue from then on; the tracker counts it as enqueued late."""
    place.make()
    place.sql(f"INSERT INTO jobs (made, busy) VALUES ({place.now}, 9), ({place.now}, 0)")
    queue = place.queue()
    first = queue.read(None)
    place.sql("UPDATE jobs SET busy = 0 WHERE id = 1")
    second = queue.read(first.cursor)
    assert (new(second), jobs(second)) == (0, {"job": 2})


def test_more_kinds_than_are_kept_are_counted_as_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest have their name; the sums are those of the table."""
    monkeypatch.setattr(statements_module, "MOST_KINDS", 2)
    monkeypatch.setattr("exporter.queues.table.queue.MOST_KINDS", 2)
    place.make()
    queue = place.queue()
    first = queue.read(None)
    for kind, number in (("a", 4), ("b", 3), ("c", 2), ("d", 1)):
        for _ in range(number):
            place.sql(f"INSERT INTO jobs (kind, made) VALUES ('{kind}', {place.now})")
        place.sql(f"INSERT INTO jobs (kind, made, begun, busy) VALUES ('{kind}', {place.now}, {place.now}, 1)")
    snapshot = queue.read(first.cursor)
    assert jobs(snapshot) == {"a": 4, "b": 3, "other": 3}
    assert sorted(attempt.kind for attempt in snapshot.started) == ["a", "b", "other", "other"]
    assert (new(snapshot), snapshot.started_left_out) == (14, {})
    limited = place.queue(max_started=1).read(None)
    assert sum(limited.started_left_out.values()) == 3


def test_started_rows_are_told_by_their_own_limit(place: Place) -> None:
    """Beyond it those without a start time and the oldest are read, by a second scan."""
    place.make()
    for day in (3, 1, 2):
        place.sql(f"INSERT INTO jobs (made, begun, busy) VALUES ({place.now}, '2026-01-0{day} 00:00:00', 1)")
    place.sql(f"INSERT INTO jobs (made, busy) VALUES ({place.now}, 1)")
    snapshot = place.read(max_started=2)
    assert [attempt.job_id for attempt in snapshot.started] == ["4", "2"]
    assert snapshot.started_left_out == {"job": 2}


@pytest.mark.parametrize("instant", ["timestamptz", "timestamp", "date"])
def test_infinite_times_of_postgresql_have_no_age(request: pytest.FixtureRequest, instant: str) -> None:
    """They are kept as text, hide no other row's age, and a claim that rests on one is the same at the next poll."""
    with place_on("postgres", request) as place:
        place.make(f"beat {instant} NULL", instant=instant)
        for odd in ("infinity", "-infinity", "4000-01-01 BC", "20000-01-01"):
            place.sql("INSERT INTO jobs (made, begun, busy, beat) VALUES (%s, %s, 1, %s)", odd, odd, odd)
            place.sql("INSERT INTO jobs (made, busy) VALUES (%s, 0)", odd)
        place.sql("INSERT INTO jobs (made, busy) VALUES (now() - interval '50 hours', 0)")
        queue = place.queue(columns={"heartbeat_at": "beat"})
        first = queue.read(None)
        oldest = first.waiting[0].oldest_age
        assert oldest is not None
        assert timedelta(hours=49) < oldest < timedelta(hours=75)
        assert all(attempt.age is None and attempt.has_start_time for attempt in first.started)
        assert {attempt.heartbeat_age for attempt in first.started} == {timedelta(0)}
        assert "infinity" in {attempt.key.started for attempt in first.started}
        claims = [attempt.claim for attempt in first.started]
        assert [attempt.claim for attempt in queue.read(first.cursor).started] == claims


@pytest.mark.parametrize("instant", ["DATETIME", "TIMESTAMP"])
@pytest.mark.parametrize("clock", ["utc", "session"])
def test_dates_of_zeros_on_mariadb_have_no_age(request: pytest.FixtureRequest, instant: str, clock: str) -> None:
    """Old applications write them; they hide no other row's age."""
    with place_on("mariadb", request) as place:
        assert isinstance(place, MariaDbPlace)
        place.make(instant=f"{instant} NULL DEFAULT NULL")
        with place.server.connect(place.database) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = ''")
            cursor.execute("INSERT INTO jobs (made, begun, busy) VALUES ('0000-00-00', '0000-00-00 00:00:00', 1)")
            cursor.execute("INSERT INTO jobs (made, busy) VALUES ('0000-00-00', 0), (NOW() - INTERVAL 2 HOUR, 0)")
        snapshot = place.read(clock=clock)
        (attempt,) = snapshot.started
        assert (attempt.age, attempt.enqueued_age, attempt.has_start_time) == (None, None, True)
        oldest = snapshot.waiting[0].oldest_age
        assert oldest is not None
        assert 2 * HOUR <= oldest < 2 * HOUR + timedelta(seconds=5)


@pytest.mark.parametrize("odd", ["0001-01-01 00:00:00", "0000-01-01 00:00:00"])
def test_dates_of_nothing_have_no_age(place: Place, odd: str) -> None:
    """.NET writes year 1, MariaDB and SQLite know a year 0; the queue is published, and no other age is hidden."""
    if place.name == "postgres" and odd.startswith("0000"):
        odd = "0001-01-01 00:00:00 BC"
    place.make()
    place.sql("INSERT INTO jobs (made, begun, busy) VALUES (%s, %s, 1), (%s, NULL, 0)", odd, odd, odd)
    place.sql(f"INSERT INTO jobs (made) VALUES ({place.now})")
    queue = place.queue()
    poller = Poller(queue, QueueOptions(), aliases={}, server_slots=ServerSlots(1), publish=_collect)
    poller.poll()
    assert poller.error is None
    assert poller.status.reading is not None
    snapshot = poller.status.reading.snapshot
    assert [(attempt.age, attempt.enqueued_age, attempt.has_start_time) for attempt in snapshot.started] == [
        (None, None, True)
    ]
    oldest = snapshot.waiting[0].oldest_age
    assert oldest is not None
    assert oldest < timedelta(seconds=5)


def _collect(status: QueueStatus, _: float) -> None:
    """Make what is published of a queue."""
    list(collect_queue(status))


def test_numbers_and_nonsense_in_columns_of_sqlite_have_no_age(request: pytest.FixtureRequest) -> None:
    """SQLite's columns have no types: what does not begin with a date is no instant, and hides no other row's age."""
    with place_on("sqlite", request) as place:
        place.make(instant="BLOB")
        for odd in (1_700_000_000, 2_461_000.5, "now", "12", "2461000.5", b"2026-01-01", "soon", "2026-13-45"):
            place.sql("INSERT INTO jobs (made, begun, busy) VALUES (%s, %s, 1)", odd, odd)
            place.sql("INSERT INTO jobs (made) VALUES (%s)", odd)
        place.sql("INSERT INTO jobs (made) VALUES (datetime('now', '-2 hours'))")
        snapshot = place.read()
        assert [(attempt.age, attempt.enqueued_age) for attempt in snapshot.started[:7]] == [(None, None)] * 7
        oldest = snapshot.waiting[0].oldest_age
        assert oldest is not None
        assert 2 * HOUR <= oldest < 2 * HOUR + timedelta(seconds=5)


def test_epochs_are_instants_once_they_are_converted(place: Place) -> None:
    """As the messages and the guide say, for each database and clock."""
    place.make("created BIGINT")
    place.sql("INSERT INTO jobs (created, busy) VALUES (%s, 1)", 1_767_225_600)
    hints = {
        "mariadb": {
            "utc": "timestamp '1970-01-01 00:00:00' + interval created second",
            "session": "from_unixtime(created)",
        },
        "postgres": {"utc": "to_timestamp(created)", "session": "to_timestamp(created)"},
        "sqlite": {"utc": "datetime(created, 'unixepoch')", "session": "datetime(created, 'unixepoch', 'localtime')"},
    }
    for clock, hint in hints[place.name].items():
        snapshot = place.read(columns={"enqueued_at": {"sql": hint}, "started_at": {"sql": hint}}, clock=clock)
        (attempt,) = snapshot.started
        assert attempt.age is not None
        created = snapshot.database_now - attempt.age
        assert abs(created.timestamp() - 1_767_225_600) < 5


def test_a_queue_is_a_queue(place: Place) -> None:
    """It names its server for the limits of polls, and the index that would help."""
    place.make()
    queue = place.queue()
    assert isinstance(queue, TableQueue)
    assert queue.server.startswith({"mariadb": "mysql:", "postgres": "postgresql:", "sqlite": "sqlite:"}[place.name])
    assert queue.index_hint == "an index on jobs that waiting_when and started_when can use"
