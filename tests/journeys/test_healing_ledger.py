"""The ledger of the whole program: whose it is, and which rights it needs on a server. Without it nothing is healed."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from exporter.errors import LedgerError
from healers.breaker import BreakerState
from healers.ledger import Ledger
from healers.outcomes import Outcome
from healers.sightings import AttemptSighting, Learned
from tests.contracts.ledgers import AT, QUEUE, a_key, a_refusal, address_of, an_intent, concluded
from tests.contracts.ledgers import opened as opened_ledger
from tests.lab import queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import (
    NOBODY,
    NOBODYS_ID,
    OrphanQueue,
    Worker,
    become_nobody,
    events,
    on_mariadb,
    on_postgres,
    until_alive,
    until_put_back,
    until_refused,
    write_config,
)
from tests.lab.postgres import Postgres
from tests.lab.watchdog import ledger_of, read_ledger

pytestmark = pytest.mark.timeout(300)

SERVERS = ("mariadb", "postgres")
MAKE: Final = MappingProxyType(
    {"mariadb": ("SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX ON *",), "postgres": ("CREATE ON SCHEMA public",)}
)
KEEP: Final = (
    "SELECT ON queuemedic_version",
    "SELECT, INSERT, DELETE ON queuemedic_journal",
    "SELECT, UPDATE ON queuemedic_journal_head",
    "SELECT, INSERT, DELETE ON queuemedic_sightings",
    "SELECT, INSERT, DELETE ON queuemedic_retired",
    "SELECT, INSERT, DELETE ON queuemedic_pauses",
    "SELECT, INSERT, DELETE ON queuemedic_breakers",
    "SELECT, INSERT, DELETE ON queuemedic_leases",
)


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is to be undone at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process that looks like an archiver."""
    with Worker() as process:
        yield process


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> MariaDb | Postgres:
    """Each server that can hold a ledger."""
    found: MariaDb | Postgres = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def queue(server: MariaDb | Postgres, request: pytest.FixtureRequest, undo: ExitStack) -> OrphanQueue:
    """A queue on the same server."""
    if isinstance(server, Postgres):
        return undo.enter_context(on_postgres(server))
    return undo.enter_context(on_mariadb(server, request.getfixturevalue("matomo_database")))


def use(ledger: Ledger) -> None:
    """Do everything that is ever done with a ledger."""
    key, other = a_key(), a_key("2")
    seen = AttemptSighting(first_seen_at=AT)
    ledger.sightings.load()
    ledger.sightings.learn(Learned(attempts={key: seen, other: seen}), at=AT)
    ledger.sightings.learn(Learned(gone=frozenset({key})), at=AT)
    intent = an_intent(key)
    ledger.journal.conclude(ledger.journal.intend(intent), concluded(intent, Outcome.RESET), at=AT)
    ledger.journal.refuse([a_refusal(other)])
    assert len(list(ledger.journal.history())) == 2
    assert ledger.journal.verify() is None
    ledger.sightings.retire("web9", why="gone", actor="me", at=AT)
    assert set(ledger.sightings.retired()) == {"web9"}
    ledger.brakes.pause(QUEUE, why="work", actor="me", at=AT)
    assert set(ledger.brakes.resume(QUEUE)) == {QUEUE}
    assert ledger.brakes.keep_breaker(QUEUE, BreakerState(), instead_of=None)
    assert ledger.brakes.lease(QUEUE, holder="a", lasts=timedelta(minutes=1))
    assert ledger.forget(before=AT + timedelta(days=1)) > 0


def without_each(grants: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return, for each single right, the grants that give all others."""
    found = {}
    for grant in grants:
        rights, _, table = grant.partition(" ON ")
        for right in rights.split(", "):
            left = ", ".join(one for one in rights.split(", ") if one != right)
            kept = [one for one in grants if one != grant] + ([f"{left} ON {table}"] if left else [])
            found[f"{right} ON {table}"] = tuple(kept)
    return found


@pytest.mark.parametrize("name", SERVERS)
def test_what_a_ledger_needs_on_a_server_is_enough_and_no_more(name: str, request: pytest.FixtureRequest) -> None:
    """One account makes the tables; another, or the same, keeps them with these rights, each of which is needed."""
    server: MariaDb | Postgres = request.getfixturevalue(name)
    with server.database() as database, opened_ledger(address_of(server.account(database, MAKE[name]))) as ledger:
        use(ledger)
    with server.database() as database:
        Ledger.open(address_of(server.root_url(database))).close()
        assert fault_with(server, database, KEEP) == ""
        said = {right: fault_with(server, database, grants) for right, grants in without_each(KEEP).items()}
    assert {right for right, fault in said.items() if "denied" not in fault} == set()


def fault_with(server: MariaDb | Postgres, database: str, grants: tuple[str, ...]) -> str:
    """Keep the ledger, emptied, with these rights, and return what is missing."""
    for grant in KEEP:
        table = grant.rpartition(" ")[2]
        if table.endswith("_head"):
            zeros = "number = 0, digest = REPEAT('0', 64), forgotten_number = 0, forgotten_digest = REPEAT('0', 64)"
            server.sql(f"UPDATE {table} SET {zeros}", database=database)
        elif not table.endswith("_version"):
            server.sql(f"DELETE FROM {table}", database=database)
    try:
        with opened_ledger(address_of(server.account(database, grants))) as ledger:
            use(ledger)
    except LedgerError as error:
        return str(error)
    return ""


def test_a_ledger_on_a_server_is_kept_with_the_least_rights(
    server: MariaDb | Postgres, queue: OrphanQueue, worker: Worker, tmp_path: Path, undo: ExitStack
) -> None:
    """With one right less nothing is put back, and the message names it; once it is given, healing goes on."""
    database = undo.enter_context(server.database())
    Ledger.open(address_of(server.root_url(database))).close()
    missing = "INSERT ON queuemedic_journal"
    ledger = server.account(database, without_each(KEEP)[missing])
    section = queue.section(write_url=queue.account(*queue.grants))
    config = write_config(tmp_path, {"q": section}, ledger=ledger)
    with queuemedic.serving(config, tmp_path) as served:
        job = queue.start(worker.pid)
        before = queue.bench.rows()
        until_alive(served, "q")
        worker.kill()
        page = until_refused(served, "q", "ledger")
        assert page.value("up", queue="q") == 1
        assert re.search(r"denied.*queuemedic_journal", " ".join(events(served, "heal.hindered", queue="q")))
        assert queue.bench.rows() == before
        account = address_of(ledger).url.username
        server.sql(f"GRANT {missing} TO {account}", database=database)
        until_put_back(served, "q")
        assert queue.bench.is_back(job)
        assert "Traceback" not in served.log
        assert served.stop() == 0
    with ledger_of(config) as kept:
        written = read_ledger(kept)
    assert ([one.outcome for one in written.resets], written.fault) == ([Outcome.RESET], None)


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_a_ledger_of_another_account_stops_healing_and_says_which_command_helps(
    whose: str,
    mariadb: MariaDb,
    matomo_database: str,
    worker: Worker,
    undo: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Watching goes on meanwhile; the command as it is given mends it, without a restart."""
    folder = become_nobody(monkeypatch)
    queue = undo.enter_context(on_mariadb(mariadb, matomo_database))
    file = folder / "state" / "ledger.db"
    file.parent.mkdir()
    if whose == "file":
        Ledger.open(address_of(f"sqlite:///{file}")).close()
        os.chown(file.parent, NOBODYS_ID, NOBODYS_ID)
    section = queue.section(write_url=queue.account(*queue.grants))
    config = write_config(folder, {"q": section}, ledger=f"sqlite:///{file}")
    with queuemedic.serving(config, folder) as served:
        job = queue.start(worker.pid)
        before = queue.bench.rows()
        until_alive(served, "q")
        worker.kill()
        page = until_refused(served, "q", "ledger")
        assert page.value("up", queue="q") == 1
        said = " ".join(events(served, "ledger.failed"))
        assert f"{NOBODY} may not write to it, as it belongs to root; run this as root" in said
        polled = page.value("snapshot_timestamp_seconds", queue="q")
        assert polled is not None
        assert queue.bench.rows() == before
        command = re.search(rf"sudo (chown {NOBODY}: {file if whose == 'file' else file.parent})\b", said)
        assert command is not None, said
        subprocess.run(shlex.split(command[1]), check=True)
        page = until_put_back(served, "q")
        assert (page.value("snapshot_timestamp_seconds", queue="q") or 0) > polled
        assert queue.bench.is_back(job)
        assert len(events(served, "ledger.failed")) == len(events(served, "ledger.recovered")) == 1
        assert "Traceback" not in served.log
        assert served.stop() == 0
    with ledger_of(config) as kept:
        written = read_ledger(kept)
    assert ([one.outcome for one in written.resets], written.fault) == ([Outcome.RESET], None)
