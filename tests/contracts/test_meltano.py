"""What is read of Meltano's runs, from SQLite and PostgreSQL, from today's table and the one before 2.2."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from exporter.errors import BadSchema, Refused
from exporter.jobs import Beginnings, Cursor, Kind, Snapshot, State
from exporter.queues.meltano import MeltanoQueue, rows
from tests.lab.postgres import Postgres
from tests.lab.waiting import wait_until

from .meltano_bench import MeltanoBench, PostgresDatabase, SqliteDatabase

SECOND = timedelta(seconds=1)
EPHEMERAL = "2026-11-22T065156--tap-slow--target-null"


@pytest.fixture(params=["sqlite-runs", "sqlite-job", "postgresql-runs", "postgresql-job"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MeltanoBench]:
    """An empty table of each kind."""
    dialect, _, table = str(request.param).partition("-")
    if dialect == "sqlite":
        yield MeltanoBench(SqliteDatabase(tmp_path / "meltano.db"), table=table)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as name:
        yield MeltanoBench(PostgresDatabase(postgres, name, table=table), table=table)


@pytest.fixture
def queue(bench: MeltanoBench) -> Iterator[MeltanoQueue]:
    """The queue over it."""
    opened = bench.queue()
    yield opened
    opened.close()


def new(snapshot: Snapshot) -> dict[str, int]:
    """Return the runs that came in since the cursor, by job."""
    return {entry.kind: entry.enqueued for entry in snapshot.waiting if entry.enqueued}


def test_an_empty_table_is_read(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """The clock is there, and nothing else; the schema is the oldest release with this table."""
    snapshot = queue.read(None)
    assert (snapshot.started, snapshot.waiting, snapshot.last_successes) == ((), (), ())
    assert snapshot.beginnings == Beginnings(started=0, initialised=0)
    assert snapshot.schema == {"runs": "2.2", "job": "1.67"}[bench.table]
    assert abs(snapshot.database_now - snapshot.read_at) < SECOND
    assert snapshot.cursor == Cursor(last_id=0, started=frozenset())


def test_a_running_row_is_an_attempt_without_a_worker(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """With its ages, its run's id as the logs have it, and what it rests on."""
    run = bench.add(started="5m", heartbeat="3s")
    (attempt,) = queue.read(None).started
    assert (attempt.job_id, attempt.kind, attempt.host, attempt.pid) == (run, "dev:tap-to-target", None, None)
    assert attempt.age is not None
    assert timedelta(minutes=5) <= attempt.age < timedelta(minutes=5, seconds=3)
    assert attempt.heartbeat_age is not None
    assert 3 * SECOND <= attempt.heartbeat_age < 6 * SECOND
    ((written, heartbeat),) = bench.database.sql(f"SELECT run_id, last_heartbeat_at FROM {bench.table}")
    run_id = str(attempt.detail["run_id"])
    assert (len(run_id), run_id.replace("-", "")) == (36, str(written).replace("-", ""))
    assert attempt.claim.rests_on == (heartbeat,)
    assert (attempt.detail["state_id"], attempt.detail["trigger"]) == ("dev:tap-to-target", "cli")


def test_a_heartbeat_changes_the_claim_and_not_the_attempt(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """So that an attempt is followed over its heartbeats, and no reset goes by an old one."""
    run = bench.add()
    (first,) = queue.read(None).started
    bench.beat(run)
    (second,) = queue.read(None).started
    assert first.key == second.key
    assert first.claim != second.claim


@pytest.mark.parametrize(
    ("heartbeat", "age"), [(None, None), ("-2h", timedelta(0)), ("-5s", timedelta(0)), ("-1d", timedelta(0))]
)
def test_a_heartbeat_of_nothing_and_of_the_future(
    bench: MeltanoBench, queue: MeltanoQueue, heartbeat: str | None, age: timedelta | None
) -> None:
    """None was never written; one that cannot be true yet counts as just written, until it stays as it is."""
    bench.add(heartbeat=heartbeat)
    (attempt,) = queue.read(None).started
    assert attempt.heartbeat_age == age


def test_times_that_no_clock_shows_are_unknown(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """Infinite on PostgreSQL, nonsense on SQLite; the other rows are read all the same."""
    is_sqlite = bench.database.url.startswith("sqlite")
    odd = ["yesterday", "2026-13-45 99:99:99", "", "4713-01-01 BC"] if is_sqlite else ["infinity", "-infinity"]
    for text in (*odd, "4000-01-01 00:00:00.000000"):
        bench.add("odd", started=text, heartbeat=text)
        bench.add("odd", "SUCCESS", started=text, ended=text)
    bench.add("good", started="1m")
    bench.add("good", "SUCCESS", started="3m", ended="2m")
    snapshot = queue.read(None)
    assert {attempt.age for attempt in snapshot.started if attempt.kind == "odd"} == {None}
    assert [attempt.kind for attempt in snapshot.started if attempt.age] == ["good"]
    assert [success.kind for success in snapshot.last_successes] == ["good"]
    assert queue.read(Cursor(last_id=0, started=frozenset())).finished


def test_a_start_a_little_ahead_is_now(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """It is dated by the clock of another machine."""
    bench.add(started="-5s")
    (attempt,) = queue.read(None).started
    assert (attempt.age, attempt.has_start_time) == (timedelta(0), True)


def test_runs_come_in_and_end_once(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """Seen running before or not; a failed run's duration is not known, since its end may be its detection."""
    going, failing = bench.add("a", started="2m"), bench.add("b", started="2m")
    first = queue.read(None)
    assert (new(first), first.finished) == ({}, ())
    bench.end(going)
    bench.end(failing, "FAIL")
    bench.add("c", "SUCCESS", started="30s", ended="20s")
    bench.add("c")
    second = queue.read(first.cursor)
    assert new(second) == {"c": 2}
    assert second.left_started == {}
    done = {(str(run.kind), run.outcome): run.duration for run in second.finished}
    assert done.keys() == {("a", "success"), ("b", "fail"), ("c", "success")}
    assert done["b", "fail"] is None
    assert done["a", "success"] is not None
    assert abs(done["a", "success"] - timedelta(minutes=2)) < SECOND
    assert abs((done["c", "success"] or timedelta(0)) - 10 * SECOND) < SECOND
    third = queue.read(second.cursor)
    assert (new(third), third.finished) == ({}, ())


def test_edits_of_state_are_no_runs(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """`meltano state set` writes a row with state STATE_EDIT and no heartbeat (since 2.0)."""
    bench.add("a", "SUCCESS", started="2m", ended="1m")
    first = queue.read(None)
    bench.add("edited", "STATE_EDIT", started="10s", ended="10s", heartbeat=None)
    second = queue.read(first.cursor)
    assert [entry.kind for entry in second.waiting] == ["a"]
    assert (second.finished, second.beginnings) == ((), Beginnings(started=1, initialised=1))


def test_a_state_that_nobody_writes_is_other(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """DEAD is in the model and never written (4.4.1); a text of somebody else's must not become a label."""
    queue.read(None)
    for state in ("DEAD", "IDLE", "'; --"):
        bench.add("a", state)
    bench.add("a", None)
    finished = queue.read(Cursor(last_id=0, started=frozenset())).finished
    assert [(run.outcome, run.duration) for run in finished] == [("other", None)] * 3


def test_names_made_up_for_one_run_are_one_kind(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """`meltano el` without a state ID (cli/elt.py); a name that only looks like it is its own, and none is `none`."""
    bench.add(EPHEMERAL, "SUCCESS", started="9m", ended="8m")
    bench.add(EPHEMERAL.replace("22T", "23T"), "SUCCESS", started="7m", ended="6m")
    for name in ("2026-11-22--tap--target", f"dev:{EPHEMERAL}", None):
        bench.add(name, "SUCCESS", started="5m", ended="4m")
    bench.add(EPHEMERAL)
    snapshot = queue.read(None)
    assert {entry.kind for entry in snapshot.waiting} == {
        "ephemeral",
        "2026-11-22--tap--target",
        f"dev:{EPHEMERAL}",
        "none",
    }
    assert [attempt.kind for attempt in snapshot.started] == ["ephemeral"]
    (last,) = (success for success in snapshot.last_successes if success.kind == "ephemeral")
    assert abs(last.age - timedelta(minutes=6)) < 3 * SECOND


def test_the_last_success_is_the_one_that_ended_last(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """With --force two runs of one job overlap, so it need not be the one with the highest id."""
    bench.add("a", "SUCCESS", started="60m", ended="10m")
    bench.add("a", "SUCCESS", started="50m", ended="40m")
    bench.add("a", "FAIL", started="5m", ended="4m")
    (last,) = queue.read(None).last_successes
    assert abs(last.age - timedelta(minutes=10)) < 3 * SECOND
    assert last.duration is not None
    assert abs(last.duration - timedelta(minutes=50)) < timedelta(milliseconds=2)


@pytest.mark.parametrize("odd", ["-2h", "nonsense"])
def test_an_end_that_cannot_be_true_hides_no_success(bench: MeltanoBench, queue: MeltanoQueue, odd: str) -> None:
    """One run on a machine whose clock is ahead must not make a job look as if it had never succeeded."""
    is_sqlite = bench.database.url.startswith("sqlite")
    bench.add("a", "SUCCESS", started="9m", ended="8m")
    bench.add("a", "SUCCESS", started="3m", ended=odd if odd == "-2h" else "yesterday" if is_sqlite else "infinity")
    (last,) = queue.read(None).last_successes
    assert abs(last.age - timedelta(minutes=8)) < 3 * SECOND


def test_the_jobs_that_ran_last_come_first(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """So that they get a label of their own where there are too many."""
    for name in ("old", "newer", "old", "newest"):
        bench.add(name, "SUCCESS", started="2m", ended="1m")
    assert [entry.kind for entry in queue.read(None).waiting] == ["newest", "old", "newer"]


def test_beginnings_are_of_the_window(bench: MeltanoBench) -> None:
    """A run that never had a heartbeat, whatever became of it, is one that was not initialised."""
    for started in ("2h", "50m", "10m"):
        bench.add(started=started)
        bench.add(started=started, heartbeat=None)
        bench.add(state="FAIL", started=started, ended="1m", heartbeat=None)
    bench.add(started="-2h")  # by a clock that is ahead: it would be of every window to come
    with closing(bench.queue()) as hour, closing(bench.queue(timeout_window="20m")) as less:
        assert hour.read(None).beginnings == Beginnings(started=6, initialised=2)
        assert less.read(None).beginnings == Beginnings(started=3, initialised=1)


def test_a_run_that_only_fell_behind_the_limit_has_not_ended(bench: MeltanoBench) -> None:
    """The oldest are read, those without a start time first; the rest is counted by job."""
    with closing(bench.queue(max_started=2)) as queue:
        one, two = bench.add("a", started="1m"), bench.add("b", started="2m")
        first = queue.read(None)
        older, odd = bench.add("a", started="9m"), bench.add("a", started=None)
        second = queue.read(first.cursor)
        assert [attempt.job_id for attempt in second.started] == [odd, older]
        assert second.started_left_out == {"a": 1, "b": 1}
        assert second.left_started == {one: State.STARTED, two: State.STARTED}
        assert second.finished == ()


def test_a_run_that_was_never_read_counts_when_it_ends(bench: MeltanoBench) -> None:
    """It was behind the limit all the time."""
    with closing(bench.queue(max_started=1)) as queue:
        bench.add("a", started="9m")
        hidden = bench.add("b", started="2m")
        first = queue.read(None)
        assert [attempt.kind for attempt in first.started] == ["a"]
        bench.end(hidden)
        second = queue.read(first.cursor)
        assert [(run.kind, run.outcome) for run in second.finished] == [("b", "success")]
        assert queue.read(second.cursor).finished == ()


def test_more_runs_than_can_be_asked_for_at_once(bench: MeltanoBench) -> None:
    """PostgreSQL binds 65,535 values in a statement, and `max_started` may be 100,000."""
    number = 70_000
    numbers = (
        f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})"
        f" INSERT INTO {bench.table} (state, started_at) SELECT 'RUNNING', '2026-01-01 00:00:00'"
    )
    cast = "" if bench.database.url.startswith("sqlite") else "::timestamp"
    bench.database.sql(f"{numbers}{cast} FROM numbers")
    with closing(bench.queue(max_started=100_000)) as queue:
        snapshot = queue.read(None)
        assert (len(snapshot.started), snapshot.started_left_out) == (number, {})


def test_names_that_read_the_same_are_one_job(tmp_path: Path) -> None:
    """What is no UTF-8 in SQLite, and what is longer than a label may be; the numbers add up all the same."""
    bench = MeltanoBench(SqliteDatabase(tmp_path / "meltano.db"))
    with closing(bench.queue()) as queue:
        first = queue.read(None)
        for name in ("CAST(x'61ff' AS TEXT)", "CAST(x'61fe' AS TEXT)", f"'{'x' * 200}1'", f"'{'x' * 200}2'"):
            bench.database.sql(
                f"INSERT INTO runs (job_name, state, started_at) VALUES ({name}, 'RUNNING', datetime('now'))"
            )
        second = queue.read(first.cursor)
        kinds = {"a\ufffd": 2, "x" * 200: 2}
        assert (new(second), Counter(attempt.kind for attempt in second.started)) == (kinds, kinds)
        assert (len(second.waiting), second.started_left_out) == (2, {})


def test_a_deleted_run_is_gone_and_no_outcome(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """Somebody deleted a stuck row by hand."""
    run = bench.add()
    first = queue.read(None)
    bench.database.sql(f"DELETE FROM {bench.table} WHERE id = %s", run)
    second = queue.read(first.cursor)
    assert (second.started, second.left_started, second.finished) == ((), {}, ())


@pytest.mark.parametrize("bench", ["postgresql-job"], indirect=True)
def test_the_states_of_postgresql_were_a_type_of_their_own(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """Before 2.0, and without STATE_EDIT (migration 13e8639c6d2b)."""
    bench.database.sql("CREATE TYPE job_state AS ENUM ('IDLE', 'RUNNING', 'SUCCESS', 'FAIL', 'DEAD')")
    bench.database.sql("ALTER TABLE job ALTER state TYPE job_state USING state::job_state")
    for state in ("RUNNING", "SUCCESS"):
        bench.database.sql(f"INSERT INTO job (job_id, state, started_at) VALUES ('a', '{state}', now())")
    first = queue.read(None)
    assert [attempt.kind for attempt in first.started] == ["a"]
    bench.database.sql("UPDATE job SET state = 'FAIL' WHERE state = 'RUNNING'")
    assert [run.outcome for run in queue.read(first.cursor).finished] == ["fail"]


@pytest.mark.parametrize("bench", ["sqlite-runs", "postgresql-runs"], indirect=True)
def test_the_table_of_today_is_read_where_both_are(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """The migration of 2.2 renames the table; another program's `job` may be beside it."""
    bench.database.sql("CREATE TABLE job (id INTEGER)")
    assert queue.read(None).schema == "2.2"


@pytest.mark.parametrize("bench", ["sqlite-job", "postgresql-job"], indirect=True)
def test_a_migration_between_two_polls_is_followed(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """What ran before it has the same ids after it."""
    run = bench.add()
    first = queue.read(None)
    bench.database.sql("ALTER TABLE job RENAME COLUMN job_id TO job_name")
    bench.database.sql("ALTER TABLE job RENAME TO runs")
    second = queue.read(first.cursor)
    assert ([attempt.job_id for attempt in second.started], second.schema) == ([run], "2.2")


def test_another_database_is_said_to_be_none_of_meltano(bench: MeltanoBench, queue: MeltanoQueue) -> None:
    """Also where a table of that name has other columns."""
    bench.database.sql(f"ALTER TABLE {bench.table} DROP COLUMN last_heartbeat_at")
    with pytest.raises(BadSchema, match="last_heartbeat_at"):
        queue.read(None)
    bench.database.sql(f"DROP TABLE {bench.table}")
    with pytest.raises(BadSchema, match="neither a table runs nor job"):
        queue.read(None)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_the_encoding_of_the_database_does_not_matter(postgres: Postgres, encoding: str) -> None:
    """SQL_ASCII is what `initdb` takes in the locale C."""
    name = f"lab_{encoding.lower()}"
    postgres.sql(f"CREATE DATABASE {name} ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        bench = MeltanoBench(PostgresDatabase(postgres, name, table="runs"))
        bench.add("dev:tap-to-target")
        with closing(bench.queue()) as queue:
            assert [attempt.kind for attempt in queue.read(None).started] == ["dev:tap-to-target"]
    finally:
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_missing_rights_are_refused(postgres: Postgres) -> None:
    """PostgreSQL's own words."""
    with postgres.database() as name:
        bench = MeltanoBench(PostgresDatabase(postgres, name, table="runs"))
        bench.database.url = postgres.account(name, [])
        with closing(bench.queue()) as queue, pytest.raises(Refused, match="permission denied for table runs"):
            queue.read(None)


def bytes_read() -> int:
    """Return how much this process has read from files (proc(5), /proc/pid/io, rchar)."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


def test_sqlite_does_not_walk_over_the_payloads_of_finished_runs(tmp_path: Path) -> None:
    """What lies behind 160 MB of them is not asked for: a poll reads a few pages."""
    bench = MeltanoBench(SqliteDatabase(tmp_path / "meltano.db"))
    for _ in range(8):
        bench.add(state="SUCCESS", ended="30s", payload="x" * 20_000_000)
    going = bench.add()
    with closing(bench.queue()) as queue:
        cursor = queue.read(None).cursor
        bench.end(going)
        bench.add()
        before = bytes_read()
        snapshot = queue.read(cursor)
        assert (len(snapshot.started), len(snapshot.finished)) == (1, 1)
        assert bytes_read() - before < 500_000


def test_postgresql_does_not_open_the_payloads(postgres: Postgres) -> None:
    """They lie apart from the rows, and no poll goes there, for running rows neither."""
    reads = "SELECT COALESCE(toast_blks_read + toast_blks_hit, 0) FROM pg_statio_user_tables WHERE relname = 'runs'"
    with postgres.database() as name:
        bench = MeltanoBench(PostgresDatabase(postgres, name, table="runs"))
        payload = "".join(uuid4().hex for _ in range(30_000))
        for state in ("SUCCESS", "RUNNING"):
            bench.add(state=state, ended="30s", payload=payload)
        before = bench.database.sql(reads)
        with closing(bench.queue()) as queue:
            snapshot = queue.read(None)
            queue.read(snapshot.cursor)
        wait_until(lambda: not postgres.activity(idle=True), within=10, what="the reader's session is over")
        assert bench.database.sql(reads) == before
        bench.database.sql("SELECT SUM(LENGTH(payload)) FROM runs")
        wait_until(lambda: bench.database.sql(reads) > before, within=10, what="reading a payload is counted")


def test_more_jobs_than_are_told_apart_are_other(
    bench: MeltanoBench, queue: MeltanoQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs that ran last keep their names; nothing of the rest is lost, its last success the longest ago."""
    monkeypatch.setattr(rows, "MOST_KINDS", 2)
    for name, ended in (("a", "50m"), ("b", "2m"), ("c", "30m"), ("d", "4m"), ("e", "1m")):
        bench.add(name, "SUCCESS", started="1h", ended=ended, heartbeat=None if name == "b" else "2m")
    first = queue.read(None)
    assert [entry.kind for entry in first.waiting] == ["e", "d", "other"]
    ages = {success.kind: success.age for success in first.last_successes}
    assert ages.keys() == {"e", "d", "other"}
    assert abs(ages[Kind("other")] - timedelta(minutes=50)) < 3 * SECOND
    assert first.beginnings == Beginnings(started=0, initialised=0)
    runs = [bench.add(name, heartbeat=None if name == "b" else "0s") for name in ("b", "c", "d", "e")]
    second = queue.read(first.cursor)
    assert new(second) == {"e": 1, "d": 1, "other": 2}
    assert {attempt.job_id: attempt.kind for attempt in second.started} == dict(
        zip(runs, ("other", "other", "d", "e"), strict=True)
    )
    assert (second.started_left_out, second.beginnings) == ({}, Beginnings(started=4, initialised=3))
