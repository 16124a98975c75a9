"""What every queue does, whatever its table: the memory fake, Matomo on MariaDB, a described table on each database."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from exporter.jobs import Cursor, Role, Snapshot, State
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .benches import (
    MAX_STARTED,
    Bench,
    MariaDbBench,
    MatomoBench,
    MemoryBench,
    PostgresBench,
    SqliteBench,
)

SYSTEMS = ["memory", "matomo", "sqlite", "mariadb", "postgres"]
WITH_HEARTBEAT = ["sqlite", "mariadb", "postgres"]


@contextmanager
def opened(system: str, request: pytest.FixtureRequest, *, heartbeat: bool = False) -> Iterator[Bench]:
    """Give a queue of a system, empty."""
    made: Bench
    with ExitStack() as databases:
        match system:
            case "memory":
                made = MemoryBench()
            case "matomo":
                made = MatomoBench(request.getfixturevalue("mariadb"), request.getfixturevalue("matomo_database"))
            case "sqlite":
                made = SqliteBench(request.getfixturevalue("tmp_path"), heartbeat=heartbeat)
            case "mariadb":
                mariadb: MariaDb = request.getfixturevalue("mariadb")
                made = MariaDbBench(mariadb, databases.enter_context(mariadb.database()), heartbeat=heartbeat)
            case _:
                postgres: Postgres = request.getfixturevalue("postgres")
                made = PostgresBench(postgres, databases.enter_context(postgres.database()), heartbeat=heartbeat)
        databases.callback(made.queue.close)
        yield made


@pytest.fixture(params=[*SYSTEMS, *(f"{system}-heartbeat" for system in WITH_HEARTBEAT)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each kind of queue in turn, empty; tables without heartbeats, and with them."""
    system, _, heartbeat = request.param.partition("-")
    with opened(system, request, heartbeat=bool(heartbeat)) as made:
        yield made


def read(bench: Bench, after: Cursor | None = None) -> Snapshot:
    """Read the queue once."""
    return bench.queue.read(after)


def waiting(snapshot: Snapshot) -> int:
    """Add up the waiting jobs."""
    return sum(entry.jobs for entry in snapshot.waiting)


def enqueued(snapshot: Snapshot) -> int:
    """Add up what was enqueued since the cursor."""
    return sum(entry.enqueued for entry in snapshot.waiting)


def test_an_empty_queue_has_a_clock_and_every_known_kind(bench: Bench) -> None:
    """The clock is read in a statement of its own, which answers for an empty table too."""
    snapshot = read(bench)
    assert snapshot.started == ()
    assert (waiting(snapshot), enqueued(snapshot)) == (0, 0)
    assert tuple(entry.kind for entry in snapshot.waiting) == bench.queue.kinds
    assert all(entry.oldest_age is None for entry in snapshot.waiting)
    assert snapshot.role is Role.PRIMARY
    assert snapshot.database_now.utcoffset() == timedelta(0)


def test_the_clocks_are_the_databases_and_ours(bench: Bench) -> None:
    """On one machine the two differ by nothing that matters."""
    snapshot = read(bench)
    assert abs(snapshot.database_now - snapshot.read_at) < timedelta(seconds=1)


def test_waiting_jobs_are_counted_and_the_oldest_is_dated(bench: Bench) -> None:
    """Ages are taken by the database."""
    bench.enqueue(3, ago="1m")
    bench.enqueue(1, ago="2h")
    entry = next(entry for entry in read(bench).waiting if entry.kind == bench.kind)
    assert entry.jobs == 4
    assert entry.oldest_age is not None
    assert timedelta(hours=2) <= entry.oldest_age < timedelta(hours=2, seconds=5)


def test_what_is_started_does_not_make_the_backlog_old(bench: Bench) -> None:
    """However long it had waited."""
    (job_id,) = bench.enqueue(1, ago="2h")
    bench.start(job_id)
    bench.enqueue(1, ago="1m")
    entry = next(entry for entry in read(bench).waiting if entry.kind == bench.kind)
    assert entry.oldest_age is not None
    assert timedelta(minutes=1) <= entry.oldest_age < timedelta(minutes=2)


def test_a_started_job_is_an_attempt_with_its_worker_and_age(bench: Bench) -> None:
    """Host and pid as the row records them; it waits no more."""
    (job_id,) = bench.enqueue(ago="10m")
    bench.start(job_id, host="web1", pid="4380", ago="5m")
    snapshot = read(bench)
    (attempt,) = snapshot.started
    assert waiting(snapshot) == 0
    assert (attempt.job_id, attempt.kind) == (job_id, bench.kind)
    assert (attempt.host, attempt.pid, attempt.pid_text) == ("web1", 4380, "4380")
    assert (attempt.claim.key, attempt.key.host, attempt.key.pid_text) == (attempt.key, "web1", "4380")
    assert attempt.age is not None
    assert attempt.enqueued_age is not None
    assert timedelta(minutes=5) <= attempt.age < timedelta(minutes=5, seconds=5)
    assert timedelta(minutes=10) <= attempt.enqueued_age < timedelta(minutes=10, seconds=5)


def test_what_was_enqueued_since_the_cursor_is_counted_in_whatever_state(bench: Bench) -> None:
    """Nothing is new without a cursor; afterwards each job is new once, started or not."""
    bench.enqueue(2)
    first = read(bench)
    assert enqueued(first) == 0
    one, _ = bench.enqueue(2)
    bench.start(one)
    second = read(bench, first.cursor)
    assert enqueued(second) == 2
    assert enqueued(read(bench, second.cursor)) == 0


def test_an_emptied_queue_goes_on_counting_what_comes(bench: Bench) -> None:
    """The cursor holds where there is no highest id any more."""
    for job_id in bench.enqueue(2):
        bench.finish(job_id)
    first = read(bench)
    bench.enqueue(3)
    assert enqueued(read(bench, first.cursor)) == 3


def test_an_attempt_is_the_same_from_poll_to_poll(bench: Bench) -> None:
    """Its key and claim are equal as long as the row does not change."""
    (job_id,) = bench.enqueue()
    bench.start(job_id)
    first = read(bench)
    second = read(bench, first.cursor)
    assert [attempt.claim for attempt in first.started] == [attempt.claim for attempt in second.started]
    assert second.left_started == {}


@pytest.mark.parametrize("change", ["host", "pid", "start"])
def test_a_new_claim_is_another_attempt(bench: Bench, change: str) -> None:
    """The same job claimed again differs in its key, if only one value of the claim does."""
    (job_id,) = bench.enqueue()
    bench.start(job_id, host="web1", pid="100", ago="1h")
    first = read(bench)
    bench.release(job_id)
    bench.start(
        job_id,
        host="web2" if change == "host" else "web1",
        pid="101" if change == "pid" else "100",
        ago="30m" if change == "start" else "1h",
    )
    second = read(bench, first.cursor)
    assert len(second.started) == 1
    assert second.started[0].key != first.started[0].key


def test_a_job_that_was_started_is_gone_or_waits(bench: Bench) -> None:
    """What became of the jobs of the last poll: deleted ones are not there, released ones wait."""
    done, released, going = bench.enqueue(3)
    for job_id in (done, released, going):
        bench.start(job_id)
    first = read(bench)
    bench.finish(done)
    bench.release(released)
    assert read(bench, first.cursor).left_started == {released: State.WAITING}


def test_a_job_without_a_start_time_is_started_and_has_no_age(bench: Bench) -> None:
    """Such rows are seen in the wild (Matomo issue 16689), and come first."""
    old, odd = bench.enqueue(2)
    bench.start(old, ago="9h")
    bench.start(odd, ago=None)
    attempts = read(bench).started
    assert [(attempt.job_id, attempt.has_start_time) for attempt in attempts] == [(odd, False), (old, True)]
    assert attempts[0].age is None


def test_a_start_in_the_future_has_no_age(bench: Bench) -> None:
    """An age that cannot be true is unknown, never negative."""
    (job_id,) = bench.enqueue()
    bench.start(job_id, ago="2h")
    bench.postpone(job_id)
    (attempt,) = read(bench).started
    assert (attempt.age, attempt.has_start_time) == (None, True)


@pytest.mark.parametrize(
    "text", ["0", "-1", "0x1F", "²", "４２", "1e3", "12 ", " 12", "007", "99999999", "4194305", "", "a'; --", "1\n2"]
)
def test_a_pid_that_is_none_is_nothing(bench: Bench, text: str) -> None:
    """Only ASCII digits of a possible process id are one; the text is kept for people."""
    (job_id,) = bench.enqueue()
    bench.start(job_id, pid=text)
    (attempt,) = read(bench).started
    assert (attempt.pid, attempt.pid_text) == (None, text)


def test_missing_workers_are_none(bench: Bench) -> None:
    """NULL is not a host."""
    (job_id,) = bench.enqueue()
    bench.start(job_id, host=None, pid=None)
    (attempt,) = read(bench).started
    assert (attempt.host, attempt.pid, attempt.pid_text) == (None, None, None)


def test_beyond_the_limit_the_oldest_are_read_and_the_rest_is_counted(bench: Bench) -> None:
    """The stuck ones are among those that are read, and the number of started jobs is right."""
    ids = bench.enqueue(MAX_STARTED + 3)
    for minutes, job_id in enumerate(ids, start=1):
        bench.start(job_id, ago=f"{minutes}m")
    snapshot = read(bench)
    assert [attempt.job_id for attempt in snapshot.started] == list(reversed(ids))[:MAX_STARTED]
    assert snapshot.started_left_out == {bench.kind: 3}
    again = read(bench, snapshot.cursor)
    assert again.left_started == {}


def test_a_closed_queue_can_be_read_again(bench: Bench) -> None:
    """Closing drops the connection, not the queue."""
    bench.enqueue(2)
    read(bench)
    bench.queue.close()
    assert waiting(read(bench)) == 2
