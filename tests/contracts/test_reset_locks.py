"""Who has lost the connection that holds the lock of healers writes nothing; what a server does not give is not had."""

from typing import Any, cast

import pymysql
import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError

from exporter.address import Address
from healers.outcomes import Outcome
from healers.resets.locks import MysqlLock, NoNamedLocks
from tests.lab.postgres import Postgres

from .reset_benches import MeltanoResets, TableResets, claim_of, opened

ADDRESS = Address(url=make_url("mysql+pymysql://nobody@127.0.0.1/jobs"))


@pytest.mark.parametrize("system", ["table-postgres", "meltano-postgres"])
def test_a_session_that_is_ended_between_lock_and_reset_writes_nothing(
    system: str, postgres: Postgres, request: pytest.FixtureRequest
) -> None:
    """Its lock has ended with it, so another healer puts the job back."""
    with opened(system, request) as bench:
        assert isinstance(bench, TableResets | MeltanoResets)
        claim, before = claim_of(bench, bench.start()), bench.rows()
        first, second = bench.make(), bench.make()
        user = make_url(bench.write_url or "").username
        with first.lock(wait_seconds=0) as is_had:
            assert is_had
            (session,) = [one for one in postgres.activity(idle=True) if one.user == user]
            postgres.sql(f"SELECT pg_terminate_backend({session.connection_id}, 30000)")
            assert [first.reset(claim).outcome for _ in range(2)] == [Outcome.FAILED, Outcome.FAILED]
            assert bench.rows() == before
            with second.lock(wait_seconds=5) as is_had_too:
                assert is_had_too
                assert first.reset(claim).outcome is Outcome.FAILED
                assert second.reset(claim).outcome is Outcome.RESET


class Answering:
    """A session of a server that answers GET_LOCK so, or with this error."""

    def __init__(self, answer: int | Exception | None) -> None:
        self._answer = answer

    def exec_driver_sql(self, _: str) -> "Answering":
        return self

    def one_or_none(self) -> None:
        """Nothing is said of clusters."""

    def execute(self, *_: Any) -> "Answering":
        if isinstance(self._answer, Exception):
            raise DBAPIError("SELECT GET_LOCK", {}, self._answer)
        return self

    def scalar(self) -> int | None:
        assert not isinstance(self._answer, Exception)
        return self._answer


def take(answer: int | Exception | None) -> bool:
    """Try to take the lock."""
    return MysqlLock(ADDRESS, "jobs").take(cast("Connection", Answering(answer)))


def test_only_a_lock_that_the_server_gives_is_had() -> None:
    """NULL is what it says of any trouble of its own."""
    assert [take(answer) for answer in (1, 0, None)] == [True, False, False]


@pytest.mark.parametrize("number", [1235, 1289])
def test_a_server_that_has_no_such_locks_is_told_from_one_that_fails(number: int) -> None:
    """Of the first another lock is asked for, of the second none."""
    with pytest.raises(NoNamedLocks):
        take(pymysql.err.NotSupportedError(number, "this version does not yet support GET_LOCK"))
    with pytest.raises(DBAPIError):
        take(pymysql.err.OperationalError(2013, "lost connection"))
