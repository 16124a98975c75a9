"""Each statement of a poll of Meltano's runs reads what it has to and no more: the table once, everything else by key.

PostgreSQL counts the rows itself. SQLite says how it goes through a table: a `SCAN` is all of it, a `SEARCH` is not.
"""

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from exporter.jobs import Snapshot
from tests.lab.postgres import Postgres

from .meltano_bench import Database, MeltanoBench, PostgresDatabase, SqliteDatabase
from .plans import Sent, postgres_costs, statements

RUNS, RUNNING, NEW = 5000, 4, 3
FILL = {
    "sqlite": "WITH RECURSIVE numbers (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {})"
    " INSERT INTO {} ({}, state, started_at, ended_at, payload, payload_flags, last_heartbeat_at)"
    " SELECT 'dev:a-to-b' || seq % 5, 'SUCCESS', datetime('now', '-2 hours'), datetime('now', '-1 hours'), '{{}}', 0,"
    " datetime('now', '-1 hours') FROM numbers",
    "postgres": "INSERT INTO {1} ({2}, state, started_at, ended_at, payload, payload_flags, last_heartbeat_at)"
    " SELECT 'dev:a-to-b' || seq % 5, 'SUCCESS', now() - interval '2 hours', now() - interval '1 hour', '{{}}', 0,"
    " now() - interval '1 hour' FROM generate_series(1, {0}) AS numbers(seq)",
}


def poll(database: Database, kind: str, *, table: str, **options: object) -> tuple[Snapshot, Sent]:
    """Fill the table, poll it, let runs end and come, and poll it again."""
    bench = MeltanoBench(database, table=table)
    database.sql(FILL[kind].format(RUNS, table, "job_name" if table == "runs" else "job_id"))
    running = [bench.add() for _ in range(RUNNING + 1)]
    queue = bench.queue(**options)
    try:
        first = queue.read(None)
        bench.end(running[0])
        for _ in range(NEW):
            bench.add(state="SUCCESS", ended="0s")
        with statements() as sent:
            snapshot = queue.read(first.cursor)
    finally:
        queue.close()
    assert len(snapshot.finished) == NEW + 1
    return snapshot, [(statement, values) for statement, values in sent if f"FROM {table}" in statement]


@pytest.mark.parametrize("table", ["runs", "job"])
def test_postgresql_reads_the_table_once(postgres: Postgres, table: str) -> None:
    """Running runs, new ones and those that ended are found by their ids; nothing but what was counted is sorted."""
    with postgres.database() as name:
        database = PostgresDatabase(postgres, name, table=table)
        snapshot, sent = poll(database, "postgres", table=table)
        database.sql(f"ANALYZE {table}")
        scan, started, since, ended = postgres_costs(postgres, name, sent, about=table)
    assert len(snapshot.started) == RUNNING
    assert scan.rows == RUNS + RUNNING + 1 + NEW
    assert scan.sorted <= 10
    assert started.rows <= RUNNING
    assert since.rows <= NEW
    assert ended.rows <= 1


@pytest.mark.parametrize("table", ["runs", "job"])
def test_sqlite_goes_through_the_table_once(tmp_path: Path, table: str) -> None:
    """The same on SQLite, where the payload of a row lies in the way of all that is behind it."""
    database = SqliteDatabase(tmp_path / "meltano.db")
    _, sent = poll(database, "sqlite", table=table)
    assert ways(database, sent) == [["SCAN"], ["SEARCH"], ["SEARCH"], ["SEARCH"]]


def test_very_many_running_runs_cost_one_scan_more(tmp_path: Path) -> None:
    """Which of them are the oldest is worth that."""
    database = SqliteDatabase(tmp_path / "meltano.db")
    snapshot, sent = poll(database, "sqlite", table="runs", max_started=2)
    assert len(snapshot.started) == 2
    assert ways(database, sent) == [["SCAN"], ["SCAN"], ["SEARCH"], ["SEARCH"]]


def ways(database: SqliteDatabase, sent: Sent) -> list[list[str]]:
    """Return, for each statement, how it goes through tables of the database; those of its own making are left out."""
    with create_engine(database.url).connect() as connection:
        plans = [
            [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in sent
        ]
    return [
        [step.split()[0] for step in plan if step.startswith(("SCAN runs", "SCAN job", "SEARCH"))] for plan in plans
    ]
