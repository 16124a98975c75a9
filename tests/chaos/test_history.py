"""What the databases write down of a change: what it was, and that nothing else of the row was changed by it."""

import pytest

from tests.contracts.meltano_bench import PostgresDatabase
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .history import read_history, watch_matomo, watch_meltano
from .labour import TABLE

CLAIM = "status = 1, ts_started = NOW(), processing_host = 'web01', process_id = '5'"
RESET = "status = 0, ts_started = NULL, processing_host = NULL, process_id = NULL"
RUN = "INSERT INTO runs (job_name, state, payload, run_id) VALUES ('dev:a-to-b', 'RUNNING', '{}', gen_random_uuid())"
FAIL = "state = 'FAIL', ended_at = now()"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (RESET, "reset"),
        (f"{RESET}, idsite = 2", "odd"),
        (f"{RESET}, report = 'x'", "odd"),
        ("status = 0, ts_started = NULL", "odd"),
        (CLAIM.replace("'5'", "'6'"), "odd"),
        (None, "ended"),
    ],
)
def test_a_change_of_matomo(change: str | None, what: str, mariadb: MariaDb, matomo_database: str) -> None:
    """By `healer`, who is no worker."""
    matomo.insert_rows(mariadb, matomo_database, {"name": "done"})
    watch_matomo(mariadb, matomo_database)
    mariadb.sql(f"UPDATE {TABLE} SET {CLAIM}", database=matomo_database)
    mariadb.sql(f"UPDATE {TABLE} SET {change}" if change else f"DELETE FROM {TABLE}", database=matomo_database)
    changes = read_history(mariadb, matomo_database)
    assert [(one.what, one.worker, one.has_lock) for one in changes] == [("claimed", None, False), (what, None, False)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (f'{FAIL}, payload = \'{{"error": "x"}}\'', "reset"),
        (f"{FAIL}, payload = '{{\"state\": 1}}'", "odd"),
        (f"{FAIL}, job_name = 'x'", "odd"),
        (f"{FAIL}, last_heartbeat_at = now()", "odd"),
        ("last_heartbeat_at = now()", "odd"),
        ("state = 'SUCCESS'", "ended"),
        (None, "odd"),
    ],
)
def test_a_change_of_meltano(change: str | None, what: str, postgres: Postgres) -> None:
    """Only a worker tells that it lives, so a heartbeat from anybody else is odd."""
    with postgres.database() as name:
        PostgresDatabase(postgres, name, table="runs")
        watch_meltano(postgres, name)
        postgres.sql(RUN, database=name)
        beat = "SET chaos.worker = 'a'; UPDATE runs SET last_heartbeat_at = now()"
        postgres.sql(beat, database=name)
        postgres.sql(f"UPDATE runs SET {change}" if change else "DELETE FROM runs", database=name)
        changes = read_history(postgres, name)
    assert [(one.what, one.worker, one.has_lock) for one in changes] == [("claimed", None, False), (what, None, False)]
