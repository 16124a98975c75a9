"""The least rights that healing needs, as they are documented, and that nothing more can be done with them."""

from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from exporter.errors import ConfigurationError
from healers.outcomes import Outcome
from healers.resets.table import TableHealing, make_table_reset
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .benches import table_options
from .meltano_bench import MeltanoBench, PostgresDatabase
from .reset_benches import MATOMO_GRANTS, MELTANO_GRANTS, MatomoResets, MeltanoResets, claim_of

DENIED, COLUMN_DENIED = 1142, 1143


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("UPDATE matomo_archive_invalidations SET idsite = 2", COLUMN_DENIED),
        ("DELETE FROM matomo_archive_invalidations", DENIED),
        ("INSERT INTO matomo_archive_invalidations (name) VALUES ('done')", DENIED),
        ("TRUNCATE matomo_archive_invalidations", DENIED),
        ("SELECT * FROM matomo_option", DENIED),
    ],
)
def test_the_account_of_a_matomo_healer_can_do_nothing_else(
    mariadb: MariaDb, matomo_database: str, statement: str, number: int
) -> None:
    """Four columns of one table; the contract's suite heals with it."""
    url = make_url(mariadb.account(matomo_database, MATOMO_GRANTS))
    session = pymysql.connect(
        host=url.host or "", port=url.port or 0, user=url.username, password=str(url.password), database=url.database
    )
    with session, session.cursor() as cursor, pytest.raises(pymysql.MySQLError) as raised:
        cursor.execute(statement)
    assert raised.value.args[0] == number


@pytest.mark.parametrize(
    "statement",
    ["UPDATE runs SET last_heartbeat_at = NULL", "DELETE FROM runs", "INSERT INTO runs (state) VALUES ('FAIL')"],
)
def test_the_account_of_a_meltano_healer_can_do_nothing_else(postgres: Postgres, statement: str) -> None:
    """Three columns of one table."""
    with postgres.database() as name:
        PostgresDatabase(postgres, name, table="runs")
        url = make_url(postgres.account(name, MELTANO_GRANTS)).set(drivername="postgresql")
        with (
            psycopg.connect(url.render_as_string(hide_password=False)) as session,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            session.execute(statement)


@pytest.mark.parametrize("left_out", range(2))
def test_a_missing_right_is_said_before_anything_is_judged_by_it(
    mariadb: MariaDb, matomo_database: str, left_out: int
) -> None:
    """With one right less, taking the lock already says which there must be."""
    grants = tuple(grant for number, grant in enumerate(MATOMO_GRANTS) if number != left_out)
    bench = MatomoResets(mariadb, matomo_database, grants=grants)
    with pytest.raises(ConfigurationError, match="GRANT SELECT, UPDATE"), bench.make().lock(wait_seconds=0):
        pass
    bench.queue.close()


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        ('{"singer_state": {"a": 1}}', '{"singer_state": {"a": 1}, "error":'),
        ("no JSON", "no JSON"),
        ("[1]", "[1]"),
        ("", '{"error":'),
    ],
)
def test_a_run_keeps_its_bookmarks(postgres: Postgres, payload: str, kept: str) -> None:
    """The error is added to the payload; what is no JSON object stays."""
    with postgres.database() as name:
        database = PostgresDatabase(postgres, name, table="runs")
        bench = MeltanoResets(MeltanoBench(database), write_url=postgres.account(name, MELTANO_GRANTS))
        run = bench.start(payload=payload)
        claim, reset = claim_of(bench, run), bench.make()
        with reset.lock(wait_seconds=0):
            assert reset.reset(claim).outcome is Outcome.RESET
        ((found,),) = bench.sql("SELECT payload FROM runs")
        bench.queue.close()
    assert str(found).startswith(kept)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"from": "select * from jobs"}, "can only be watched"),
        ({}, r"healing\.reset: there is none"),
    ],
)
def test_what_cannot_be_healed_is_said_at_once(options: dict[str, Any], fault: str) -> None:
    """A query has no rows of its own, and without `reset` nobody knows what puts one back."""
    with pytest.raises(ConfigurationError, match=fault):
        make_table_reset(table_options("sqlite:////nowhere.db", **options), TableHealing())
