"""A server whose locks do not hold for all healers, a real node of Galera: the ledger lends a lease instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from exporter.address import Address
from exporter.errors import LedgerError
from exporter.jobs import QueueName
from healers.lease import Lease
from healers.ledger import Ledger
from healers.options import HealingOptions
from healers.outcomes import Outcome
from healers.resets.compare_and_set import SqlReset
from healers.resets.locks import NoNamedLocks
from healers.resets.matomo import make_matomo_reset
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.ports import free_ports

from .reset_benches import MatomoResets, claim_of

QUEUE = QueueName("q")
PROVIDER = "/usr/lib/galera/libgalera_smm.so"


def one_node() -> list[str]:
    """Return the options of a cluster of one node, which speaks on the loopback address only."""
    replication, transfer = free_ports(2)
    listens = f"gmcast.listen_addr=tcp://127.0.0.1:{replication};ist.recv_addr=127.0.0.1:{transfer}"
    return [
        "--wsrep-on=ON",
        f"--wsrep-provider={PROVIDER}",
        "--wsrep-cluster-address=gcomm://",
        "--wsrep-node-address=127.0.0.1",
        f"--wsrep-provider-options={listens}",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
    ]


@pytest.fixture
def bench(private_mariadb: Callable[..., MariaDb]) -> Iterator[MatomoResets]:
    """Matomo's table on a node of Galera."""
    server = private_mariadb(options=one_node())
    with server.database() as database:
        matomo.create_tables(server, database)
        yield MatomoResets(server, database)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that all healers share."""
    opened = Ledger.open(Address(url=URL.create("sqlite", database=str(tmp_path / "ledger.db"))))
    yield opened
    opened.close()


def reset_of(bench: MatomoResets, lease: Lease | None) -> SqlReset:
    """Return the write half of one healer."""
    options = HealingOptions(mode="reset", write_url=make_url(bench.write_url))
    return make_matomo_reset(bench.options, options, lease=lease)


def lease_of(ledger: Ledger, holder: str, *, lasts: float = 10.0) -> Lease:
    """Return the lease of one healer."""
    return Lease(lambda: ledger, QUEUE, holder=holder, limit=timedelta(seconds=lasts))


@contextmanager
def locked(reset: SqlReset) -> Iterator[bool]:
    """Try to have the lock, without waiting."""
    with reset.lock(wait_seconds=0) as has_lock:
        yield has_lock


def test_one_healer_at_a_time_has_the_lease_and_heals(bench: MatomoResets, ledger: Ledger) -> None:
    """The other does not get it, until it is given back."""
    job_id = bench.start()
    claim = claim_of(bench, job_id)
    first, second = reset_of(bench, lease_of(ledger, "a")), reset_of(bench, lease_of(ledger, "b"))
    with locked(first) as has_first:
        with locked(second) as has_second:
            assert (has_first, has_second) == (True, False)
            assert second.reset(claim).outcome is Outcome.FAILED
        assert first.reset(claim).outcome is Outcome.RESET
    assert bench.is_back(job_id)
    with locked(second) as has_second:
        assert has_second


def test_who_has_lost_the_lease_writes_nothing(bench: MatomoResets, ledger: Ledger) -> None:
    """Another healer has it meanwhile, so that what the first does late must not be done."""
    job_id = bench.start()
    claim = claim_of(bench, job_id)
    first = reset_of(bench, lease_of(ledger, "a"))
    before = bench.rows()
    with locked(first) as has_first:
        assert has_first
        term = ledger.brakes.lease(QUEUE, holder="a", lasts=timedelta(0))
        assert term is not None
        assert ledger.brakes.lease(QUEUE, holder="b", lasts=timedelta(minutes=1)) == term + 1
        concluded = first.reset(claim)
    assert (concluded.outcome, concluded.detail) == (Outcome.FAILED, "the lock of healers was lost")
    assert bench.rows() == before


def test_without_a_ledger_there_is_no_lease(bench: MatomoResets) -> None:
    """A healer that has none, or cannot ask for it, has no lock and says so."""

    def no_ledger() -> Ledger:
        raise LedgerError("gone")

    with pytest.raises(NoNamedLocks, match="Galera"), locked(reset_of(bench, None)):
        pass
    unable = reset_of(bench, Lease(no_ledger, QUEUE, holder="a", limit=timedelta(seconds=10)))
    with pytest.raises(LedgerError, match="gone"), locked(unable):
        pass
