"""A server, or who sits in between, that answers a COMMIT with what no server says: what became of it is found out."""

from collections.abc import Iterator

import pytest

from healers.outcomes import Outcome
from tests.contracts.reset_benches import MatomoResets, claim_of
from tests.contracts.test_reset_faults import quick, through
from tests.lab.mariadb import MariaDb
from tests.lab.proxy import Mode, Proxy

from .impostors import packet

ANSWERS = {
    "nothing": packet(1, b""),
    "half an answer": packet(1, b"\0"),
    "another number": packet(9, b"\0\0\0\2\0\0\0"),
    "rows": packet(1, b"\1") + packet(2, b"\1"),
    "letters": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


class Garbler(Proxy):
    """A proxy that answers in the server's place, once, where `drop_replies_to` would let the answer get lost."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._answers = [answer]
        super().__init__(port)

    @property
    def mode(self) -> Mode:
        """It always forwards."""
        return Mode.FORWARD

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._is_garbling = mode is Mode.DROP_REPLIES

    def _passing(self, chunk: bytes) -> bytes:
        return self._answers.pop() if self._is_garbling and self._answers else chunk


@pytest.fixture
def matomo(mariadb: MariaDb, matomo_database: str) -> Iterator[MatomoResets]:
    """Matomo on MariaDB."""
    made = MatomoResets(mariadb, matomo_database)
    yield made
    made.queue.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_garbled_answer_to_commit_is_looked_up(name: str, matomo: MatomoResets) -> None:
    """The row was put back, whatever was said: a new connection finds it, and nothing is raised."""
    claim = claim_of(matomo, matomo.start())
    with Garbler(matomo.bench.server.port, ANSWERS[name]) as proxy:
        reset = quick(matomo, through(matomo.write_url, proxy))
        with reset.lock(wait_seconds=0):
            proxy.drop_replies_to(b"\x03COMMIT")
            concluded = reset.reset(claim)
    assert concluded.outcome is Outcome.RESET
    assert matomo.is_back(claim.key.job_id)
