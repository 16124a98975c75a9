"""Whatever types a table keeps its times, hosts and pids in: what the poll reads compares equal when it is reset."""

import pytest

from healers.outcomes import Outcome
from healers.resets.table import TableHealing, make_table_reset

from .tables import place_on

CASES = [
    ("mariadb", "DATETIME", "2026-01-02 03:04:05", "VARCHAR(50)", "INT"),
    ("mariadb", "TIMESTAMP(3)", "2026-01-02 03:04:05.678", "CHAR(50)", "VARCHAR(15)"),
    ("mariadb", "DATE", "2026-01-02", "TEXT", "BIGINT UNSIGNED"),
    ("mariadb", "DATETIME(6)", "0000-00-00 00:00:00", "VARBINARY(50)", "DECIMAL(10)"),
    ("postgres", "timestamp", "2026-01-02 03:04:05.678901", "text", "int"),
    ("postgres", "timestamptz", "2026-01-02 03:04:05.678901+05", "char(50)", "bigint"),
    ("postgres", "timestamptz", "infinity", "inet", "numeric"),
    ("postgres", "date", "2026-01-02", "varchar", "text"),
    ("sqlite", "TEXT", "2026-01-02 03:04:05", "TEXT", "INTEGER"),
    ("sqlite", "DATETIME", "20260102", "TEXT COLLATE NOCASE", "TEXT"),
]


@pytest.mark.parametrize(("place_name", "instant", "begun", "host", "pid"), CASES)
def test_what_is_read_is_found_again(
    place_name: str, instant: str, begun: str, host: str, pid: str, request: pytest.FixtureRequest
) -> None:
    """Read, then reset, for each type of column."""
    with place_on(place_name, request) as place:
        place.make(f"whence {host}, number {pid}", instant=instant)
        place.sql(
            "INSERT INTO jobs (made, begun, busy, whence, number)"
            f" VALUES ('2026-01-01', '{begun}', 1, '10.0.0.3', 4380)"
        )
        url = place.url("SELECT ON jobs", "UPDATE (busy, begun) ON jobs")
        queue = place.queue("SELECT ON jobs", columns={"host": "whence", "pid": "number"})
        (attempt,) = queue.read(None).started
        healing = TableHealing.model_validate({"write_url": url, "reset": {"busy": 0, "begun": None}})
        reset = make_table_reset(queue._options, healing)
        with reset.lock(wait_seconds=0):
            row = reset.reread([attempt.key])[attempt.key]
            assert (row.claim, reset.reset(attempt.claim).outcome) == (attempt.claim, Outcome.RESET)
        assert place.sql("SELECT busy FROM jobs") == [(0,)]
