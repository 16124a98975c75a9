"""Resets when something goes wrong: races, lost answers, lost locks, locked rows, and databases that are others."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url

from exporter.errors import ConfigurationError, ReadError
from healers.outcomes import Outcome
from healers.resets import locks
from healers.resets.compare_and_set import SqlReset
from healers.resets.protocol import Reset
from tests.lab import matomo as tables
from tests.lab.mariadb import MariaDb
from tests.lab.proxy import Mode, Proxy
from tests.lab.waiting import wait_until

from .reset_benches import MatomoResets, MeltanoResets, TableResets, claim_of, opened

HEALERS = 8
SHORT = timedelta(seconds=3)
RACING = ["matomo", "table-sqlite", "table-postgres", "meltano-postgres"]


@pytest.fixture
def matomo(mariadb: MariaDb, matomo_database: str) -> Iterator[MatomoResets]:
    """Matomo on MariaDB."""
    made = MatomoResets(mariadb, matomo_database)
    yield made
    made.queue.close()


def through(url: str, proxy: Proxy) -> str:
    """Return a URL that leads through the proxy."""
    return make_url(url).set(port=proxy.port).render_as_string(hide_password=False)


@pytest.mark.parametrize("is_locked", [True, False], ids=["with the lock", "without it"])
@pytest.mark.parametrize("system", RACING)
def test_of_eight_healers_one_resets(
    system: str, *, is_locked: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock keeps them apart; without it, the compare-and-set does."""
    if not is_locked:
        for kind in (locks.MysqlLock, locks.PostgresqlLock, locks.FileLock):
            monkeypatch.setattr(kind, "take", lambda *_: True)
            monkeypatch.setattr(kind, "is_held", lambda *_: True)
            monkeypatch.setattr(kind, "release", lambda *_: None)
    with opened(system, request) as bench:
        claim = claim_of(bench, bench.start())
        together = threading.Barrier(HEALERS)

        def heal(reset: Reset) -> Outcome:
            with reset.lock(wait_seconds=0):
                together.wait(60)
                outcome = reset.reset(claim).outcome
                together.wait(60)
                return outcome

        with ThreadPoolExecutor(HEALERS) as pool:
            outcomes = list(pool.map(heal, [bench.make() for _ in range(HEALERS)]))
    assert outcomes.count(Outcome.RESET) == 1
    # SQLite's writers wait for each other, a second at most.
    others = {Outcome.FAILED} if is_locked else {Outcome.LOST_RACE, Outcome.FAILED}
    assert set(outcomes) <= {Outcome.RESET, *others}


def test_a_lost_answer_to_commit_is_looked_up(matomo: MatomoResets) -> None:
    """The row was put back although nobody said so: a new connection finds it."""
    claim = claim_of(matomo, matomo.start())
    with Proxy(matomo.bench.server.port) as proxy:
        reset = quick(matomo, through(matomo.write_url, proxy))
        with reset.lock(wait_seconds=0):
            proxy.drop_replies_to(b"\x03COMMIT")
            with answering_again(proxy):
                concluded = reset.reset(claim)
    assert concluded.outcome is Outcome.RESET
    assert matomo.is_back(claim.key.job_id)


def test_what_cannot_be_looked_up_is_unknown(matomo: MatomoResets) -> None:
    """The answer to COMMIT is lost, and no new connection is had."""
    claim = claim_of(matomo, matomo.start())
    with Proxy(matomo.bench.server.port) as proxy:
        reset = quick(matomo, through(matomo.write_url, proxy))
        with reset.lock(wait_seconds=0):
            proxy.drop_replies_to(b"\x03COMMIT")
            assert reset.reset(claim).outcome is Outcome.UNKNOWN


def test_a_row_that_is_still_locked_is_unknown_rather_than_failed(matomo: MatomoResets) -> None:
    """As long as a transaction holds the row, what it will be cannot be told: the look-up waits for a lock of it."""
    claim = claim_of(matomo, matomo.start())
    held: list[pymysql.Connection[Any]] = []
    with Proxy(matomo.bench.server.port) as proxy:
        reset = quick(matomo, through(matomo.write_url, proxy))
        with reset.lock(wait_seconds=0):
            proxy.drop_replies_to(b"\x03COMMIT")
            with answering_again(proxy, first=lambda: held.append(holding(matomo, claim.key.job_id))):
                concluded = reset.reset(claim)
    held[0].close()
    assert concluded.outcome is Outcome.UNKNOWN


def test_whoever_loses_the_lock_writes_nothing(matomo: MatomoResets) -> None:
    """The lock lives on the connection that writes: when that is killed, another healer may be at work already."""
    claim = claim_of(matomo, matomo.start())
    before = matomo.rows()
    first, second = matomo.make(), matomo.make()
    with first.lock(wait_seconds=0):
        user = make_url(matomo.write_url).username
        (session,) = [one for one in matomo.bench.server.processlist(idle=True) if one.user == user]
        matomo.bench.server.sql(f"KILL {session.connection_id}")
        assert [first.reset(claim).outcome for _ in range(2)] == [Outcome.FAILED, Outcome.FAILED]
        assert matomo.rows() == before
        with second.lock(wait_seconds=5) as is_had:
            assert is_had
            assert second.reset(claim).outcome is Outcome.RESET


@pytest.mark.parametrize("system", ["matomo", "table-postgres", "table-sqlite"])
def test_a_lock_that_somebody_took_away_is_lost(system: str, request: pytest.FixtureRequest) -> None:
    """It is asked for in each reset, not believed."""
    with opened(system, request) as bench:
        claim, reset = claim_of(bench, bench.start()), bench.make()
        before = bench.rows()
        with reset.lock(wait_seconds=0):
            assert isinstance(reset, SqlReset)
            assert reset._lock is not None
            with reset._writer.transaction() as connection:
                reset._lock.release(connection)
            assert reset.reset(claim).outcome is Outcome.FAILED
        assert bench.rows() == before


def test_a_locked_row_fails_soon_and_the_next_goes_on(matomo: MatomoResets) -> None:
    """Somebody holds the row: it is left alone after a second, and the lock of healers is still held."""
    one, other = (claim_of(matomo, matomo.start()) for _ in range(2))
    reset = matomo.make()
    with reset.lock(wait_seconds=0), closing(holding(matomo, one.key.job_id)):
        assert [reset.reset(claim).outcome for claim in (one, other)] == [Outcome.FAILED, Outcome.RESET]


def test_a_busy_sqlite_fails_soon(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Another program is writing: nothing is written, and afterwards it goes on."""
    with opened("table-sqlite", request) as bench:
        claim, reset = claim_of(bench, bench.start()), bench.make()
        with reset.lock(wait_seconds=0):
            with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as writer:
                writer.execute("BEGIN IMMEDIATE")
                assert reset.reset(claim).outcome is Outcome.FAILED
            assert reset.reset(claim).outcome is Outcome.RESET


def test_another_server_is_refused(matomo: MatomoResets, private_mariadb: Callable[..., MariaDb]) -> None:
    """The account leads to a copy: nothing is written there."""
    other = private_mariadb()
    with other.database() as name:
        other.sql("CREATE TABLE jobs (id INT)", database=name)
        reset = matomo.make(other.account(name, ["SELECT ON jobs"]))
        with pytest.raises(ConfigurationError, match=r"healing\.write_url: it leads to"), reset.lock(wait_seconds=0):
            pass


def test_another_database_is_refused(matomo: MatomoResets) -> None:
    """The same server is not enough."""
    with matomo.bench.server.database() as name:
        matomo.bench.server.sql("CREATE TABLE jobs (id INT)", database=name)
        reset = matomo.make(matomo.bench.server.account(name, ["SELECT ON jobs"]))
        with pytest.raises(ConfigurationError, match=r"healing\.write_url: it leads to"), reset.lock(wait_seconds=0):
            pass


def test_a_server_that_is_read_only_is_refused(private_mariadb: Callable[..., MariaDb]) -> None:
    """As replicas are."""
    server = private_mariadb()
    with server.database() as name:
        tables.create_tables(server, name)
        bench = MatomoResets(server, name)
        server.sql("SET GLOBAL read_only = ON")
        with pytest.raises(ConfigurationError, match="read-only"), bench.make().lock(wait_seconds=0):
            pass
        bench.queue.close()


def test_another_file_is_refused_and_none_is_made(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """SQLite makes no file that is not there."""
    with opened("meltano-sqlite", request) as bench:
        assert isinstance(bench, MeltanoResets)
        for file, error in (("other.db", ConfigurationError), ("missing.db", ReadError)):
            if file == "other.db":
                (tmp_path / file).write_bytes((tmp_path / "meltano.db").read_bytes())
            bench.write_url = f"sqlite:///{tmp_path / file}"
            with pytest.raises(error), bench.make().lock(wait_seconds=0):
                pass
        assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("system", ["table-sqlite", "table-mariadb", "table-postgres"])
def test_a_table_s_reset_must_put_back(system: str, request: pytest.FixtureRequest) -> None:
    """Columns that leave a row started change nothing."""
    with opened(system, request) as bench:
        assert isinstance(bench, TableResets)
        claim, reset = claim_of(bench, bench.start()), bench.make({"host": None})
        before = bench.rows()
        with reset.lock(wait_seconds=0):
            concluded = reset.reset(claim)
        assert (concluded.outcome, bench.rows()) == (Outcome.FAILED, before)
        assert "still be started" in concluded.detail
        unknown = bench.make({"busy": 0, "owner": None})
        with pytest.raises(ConfigurationError, match="no column owner"), unknown.lock(wait_seconds=0):
            pass


def quick(bench: MatomoResets, write_url: str) -> Reset:
    """Return a reset that waits for 3 s at most."""
    bench.options = bench.options.model_copy(update={"poll_timeout": SHORT})
    return bench.make(write_url)


def holding(bench: MatomoResets, job_id: str) -> "pymysql.Connection[Any]":
    """Return a session in whose transaction the row is locked."""
    server = bench.bench.server
    session = pymysql.connect(host=server.host, port=server.port, user="root", database=bench.bench.database)
    with session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM matomo_archive_invalidations WHERE idinvalidation = %s FOR UPDATE", (job_id,))
    return session


@contextmanager
def answering_again(proxy: Proxy, *, first: Callable[[], object] = bool) -> Iterator[None]:
    """Once an answer was lost, so that its transaction is over, let new connections have theirs."""

    def answer() -> None:
        wait_until(lambda: proxy.lost > 0, within=30, what="the answer is lost")
        first()
        proxy.mode = Mode.FORWARD

    answering = threading.Thread(target=answer)
    answering.start()
    yield
    answering.join()
