"""A ledger's schema: made, brought forward, and refused where it is newer."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from exporter.address import Address
from exporter.errors import LedgerError, NoLedger
from exporter.store import Store
from healers.ledger import Ledger, migrations
from healers.ledger.migrations import FOLDER, VERSION, VERSION_TABLE, migrate
from healers.ledger.tables import METADATA
from tests.contracts import kept_ledgers
from tests.contracts.ledgers import SYSTEMS, a_key, address_of, an_intent, empty_database, opened
from tests.lab.mariadb import MariaDb

NEXT = '''"""Add a column, as a later version may."""
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{head}"
def upgrade() -> None:
    op.add_column("queuemedic_pauses", sa.Column("until", sa.String(27), nullable=True))
'''
BEGINS = """
import sys
from healers.ledger import Ledger, migrations
from tests.contracts.ledgers import address_of
def upgrade_at_once(connection, **how):
    migrations._upgrade = upgrade
    print("ready", flush=True)
    sys.stdin.readline()
    upgrade(connection, **how)
upgrade, migrations._upgrade, migrations._wait_for_turn = migrations._upgrade, upgrade_at_once, lambda _: None
Ledger.open(address_of(sys.argv[1])).close()
print("begun")
"""
"""A program that waits for a word, but for no turn."""


@pytest.fixture(params=SYSTEMS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """The address of a database without a ledger, on each system in turn."""
    with empty_database(
        request.param,
        tmp_path,
        mariadb=lambda: request.getfixturevalue("mariadb"),
        postgres=lambda: request.getfixturevalue("postgres"),
    ) as found:
        yield found


def test_the_version_is_that_of_the_last_step() -> None:
    """A step that is added without a change of VERSION would never run."""
    assert ScriptDirectory(str(FOLDER)).get_current_head() == VERSION


def test_migrations_make_the_tables_that_the_program_uses(address: Address) -> None:
    """What the steps leave differs in nothing from `tables.py`."""
    with opened(address):
        pass
    engine = create_engine(address.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_an_earlier_version_is_brought_forward_with_all_that_it_holds(address: Address, tmp_path: Path) -> None:
    """From version 1 to the next: the journal is as it was, and a second start changes nothing."""
    store = Store(address)
    migrate(store, version="0001")
    ledger = Ledger(store)
    ledger.journal.intend(an_intent())
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / "versions" / "v9999_next.py").write_text(NEXT.format(head=VERSION))
    for _ in range(2):
        migrate(store, folder=folder, version="9999")
    with store.reading() as connection:
        assert connection.execute(text("SELECT until FROM queuemedic_pauses")).all() == []
    assert len(list(ledger.journal.history())) == 1
    assert ledger.journal.verify() is None
    ledger.close()
    for start in (Ledger.open, Ledger.open_read_only):
        with pytest.raises(LedgerError, match="version 9999"):
            start(address)


def test_a_ledger_of_every_version_is_kept() -> None:
    """Whoever adds a step keeps a ledger of the version before: `python -m tests.contracts.kept_ledgers`."""
    versions = {script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()}
    assert {file.stem for file in kept_ledgers.FOLDER.glob("*.sql")} == versions


@pytest.mark.parametrize("version", sorted(file.stem for file in kept_ledgers.FOLDER.glob("*.sql")))
def test_the_ledger_that_an_earlier_version_left_is_read_whole(version: str, address: Address, tmp_path: Path) -> None:
    """What this version writes and reads again is what it reads of the kept one, and it goes on writing there."""
    kept_ledgers.restore(version, address, tmp_path)
    with opened(address_of(f"sqlite:///{tmp_path}/expected.db")) as expected, opened(address) as found:
        kept_ledgers.fill(expected)
        assert kept_ledgers.tell(found) == kept_ledgers.tell(expected)
        found.journal.intend(an_intent(a_key("new")))
        assert found.journal.verify() is None


def test_a_migration_that_was_cut_short_is_finished(address: Address) -> None:
    """Where a server commits each statement, the next start goes on from any of them."""
    with opened(address) as ledger:
        ledger.brakes.pause(None, why="w", actor="a", at=an_intent().at)
    engine = create_engine(address.url)
    with engine.begin() as connection:
        for statement in (
            f"DROP TABLE {VERSION_TABLE}",
            "DROP TABLE queuemedic_leases",
            "DROP TABLE queuemedic_retired",
        ):
            connection.execute(text(statement))
    engine.dispose()
    with opened(address) as ledger:
        assert list(ledger.brakes.pauses()) == [None]
        assert ledger.sightings.load().retired == {}


def test_whoever_comes_as_a_migration_ends_finds_it_whole(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed is there before the next instance is let in: it would make all of it once more, and fail."""
    end_turn, faults = migrations._end_turn, list[Exception]()

    def open_another() -> None:
        try:
            Ledger.open(address).close()
        except LedgerError as fault:
            faults.append(fault)

    other = threading.Thread(target=open_another)

    def end_before_another(connection: Connection) -> None:
        monkeypatch.setattr(migrations, "_end_turn", end_turn)
        end_turn(connection)
        other.start()
        other.join(0.5)  # one that still has to wait for its turn goes on once this one has ended

    monkeypatch.setattr(migrations, "_end_turn", end_before_another)
    monkeypatch.setattr(migrations, "TRIES", 1)
    with opened(address):
        other.join()
    assert faults == []


def test_programs_that_begin_one_ledger_without_turns_all_begin(mariadb: MariaDb) -> None:
    """A Galera cluster has no named locks: whoever meets what another makes at the same moment begins again."""
    with mariadb.database() as name:
        address, command = address_of(mariadb.root_url(name)), [sys.executable, "-c", BEGINS, mariadb.root_url(name)]
        programs = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        try:
            assert [program.stdout and program.stdout.readline() for program in programs] == ["ready\n"] * 3
            for program in programs:
                print("go", file=program.stdin, flush=True)
        finally:
            said = [program.communicate(timeout=60)[0] for program in programs]
        assert said == ["begun\n"] * 3
        with opened(address) as ledger:
            ledger.journal.intend(an_intent())
            assert ledger.journal.verify() is None


def test_reading_makes_nothing(address: Address) -> None:
    """`check` and `history` on a system without a ledger say so, and leave no file and no table."""
    with pytest.raises(NoLedger, match="there is no ledger yet"):
        Ledger.open_read_only(address)
    if address.dialect == "sqlite":
        assert not Path(str(address.url.database)).exists()


def test_what_is_opened_for_reading_cannot_write(address: Address) -> None:
    """It reads what the writer has committed, and refuses every change."""
    with opened(address) as ledger:
        ledger.journal.intend(an_intent())
        reader = Ledger.open_read_only(address)
        assert len(list(reader.journal.history())) == 1
        with pytest.raises(LedgerError, match="for reading only"):
            reader.journal.intend(an_intent())
        reader.close()
