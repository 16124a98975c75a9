"""A claim is compared in all its parts, also in those that a table does not have, or a row leaves empty."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, create_engine, text

from exporter.jobs import AttemptKey, Claim, DriverValue, JobId, QueueName
from exporter.queues.memory import MemoryQueue
from healers.outcomes import Outcome
from healers.resets.memory import MemoryReset
from healers.resets.rows import Cell, RowSql, whole_number

QUEUE = QueueName("q")
CLAIM = Claim(
    key=AttemptKey(queue=QUEUE, job_id=JobId("1"), started="2026-11-22 11:59:00", host=None, pid_text=None), rests_on=()
)


def a_table(*, beats: bool = False) -> RowSql:
    """Return a table whose rows name no worker, and perhaps have a heartbeat."""
    return RowSql(
        dialect="sqlite",
        source="jobs",
        whole="jobs.*",
        id="id",
        ids=whole_number,
        started="busy = 1",
        started_at=Cell(column="begun", read="begun"),
        host=None,
        pid=None,
        read_text=lambda value: None if value is None else str(value),
        rests_on=(Cell(column="beat", read="beat"),) if beats else (),
        changes="busy = 0, begun = NULL",
        is_put_back="busy = 0",
    )


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection to a database with one started row."""
    engine = create_engine("sqlite://")
    with engine.connect() as made:
        made.execute(text("CREATE TABLE jobs (id INTEGER PRIMARY KEY, busy INTEGER, begun TEXT, beat TEXT)"))
        made.execute(text("INSERT INTO jobs VALUES (1, 1, '2026-11-22 11:59:00', NULL)"))
        yield made
    engine.dispose()


@pytest.mark.parametrize(
    ("changes", "beats", "rests_on"),
    [
        ({"host": "web1"}, False, ()),
        ({"pid_text": "100"}, False, ()),
        ({}, False, ("11:59:30",)),
        ({}, True, ()),
        ({}, True, (None, None)),
    ],
)
def test_a_part_that_the_table_lacks_is_never_equal(
    connection: Connection, changes: dict[str, str], beats: bool, rests_on: tuple[DriverValue, ...]
) -> None:
    """The claim was read when the table was another one; whatever it says, this row is not what was judged."""
    claim = Claim(key=replace(CLAIM.key, **changes), rests_on=rests_on)  # type: ignore[arg-type]
    assert a_table(beats=beats).put_back(connection, claim) == 0


def test_the_same_claim_is_put_back(connection: Connection) -> None:
    """So that the table above shows its own part at work."""
    assert a_table().put_back(connection, CLAIM) == 1
    row = a_table(beats=True).read(connection, CLAIM.key, is_locked=False)
    assert row is not None
    assert (row.is_started, row.is_put_back) == (False, True)


def test_a_waiting_row_is_not_reset_although_it_says_the_same() -> None:
    """A job without a start time and a worker claims nothing that a waiting one does not say."""
    table = MemoryQueue(QUEUE)
    job = table.enqueue()
    table.start(job, host=None, pid=None)
    table.forget_start(job)
    (attempt,) = table.read(None).started
    reset = MemoryReset(table)
    with reset.lock(wait_seconds=0):
        table.release(job)
        assert reset.reset(attempt.claim).outcome is Outcome.LOST_RACE
