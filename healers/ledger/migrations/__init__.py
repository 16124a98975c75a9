"""Bring a ledger's schema up to this version of the program, once, however many instances start at the same time.

Each step is a file of `versions`, run by alembic, and knows nothing of `tables.py`, which only says how things are now.
One instance migrates at a time: SQLite by its lock for writers, PostgreSQL by an advisory lock, MySQL and MariaDB by a
named lock, which a migration outlasts only committed. The first two undo one that is cut short; MySQL commits each of
its statements, so a step must leave alone what is there already. Galera, which has no named locks, rests on that, too:
whoever meets there what another makes at the same moment begins again.
"""

from pathlib import Path
from typing import Final

import sqlalchemy
from sqlalchemy import Connection

from exporter.errors import LedgerError, NoLedger
from exporter.imports import without
from exporter.store import Store

VERSION: Final = "0001"
VERSION_TABLE: Final = "queuemedic_version"
FOLDER: Final = Path(__file__).parent
LOCK: Final = "queuemedic ledger"
LOCK_SECONDS: Final = 8
NO_NAMED_LOCKS: Final = frozenset({1235, 1305, 4057})  # MySQL and Galera: not supported, not known, not with Galera
ANOTHER_MADE_IT: Final = frozenset({1050, 1061, 1062, 1213})  # a table, an index or a row is there; a deadlock
TRIES: Final = 10


def migrate(store: Store, *, folder: Path = FOLDER, version: str = VERSION) -> None:
    """Make or change the tables up to `version`; raises LedgerError where they are newer, and touches nothing then."""
    with store.reading() as connection:
        if _found(connection, store, version=version) == version:
            return
    for turn in range(TRIES):
        try:
            _migrate(store, folder=folder, version=version)
        except LedgerError as error:
            if not _has_met_another(error) or turn == TRIES - 1:
                raise
        else:
            return


def _migrate(store: Store, *, folder: Path, version: str) -> None:
    with store.writing() as connection:
        _wait_for_turn(connection)
        try:
            if _found(connection, store, version=version) != version:
                _upgrade(connection, folder=folder, version=version)
                connection.commit()  # or the next instance, let in before, would not find it
        finally:
            _end_turn(connection)


def _has_met_another(error: LedgerError) -> bool:
    cause = error.__cause__
    number = cause.orig.args[0] if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.orig else None
    return number in ANOTHER_MADE_IT


def require(store: Store) -> None:
    """Raise LedgerError unless the tables are those of this version, and NoLedger where there are none."""
    with store.reading() as connection:
        found = _found(connection, store, version=VERSION)
    if found is None:
        raise NoLedger(f"{store.place}: there is no ledger yet; `queuemedic serve` makes it")
    if found != VERSION:
        raise LedgerError(
            f"{store.place}: is a ledger of version {found}; this program reads version {VERSION}, which"
            " `queuemedic serve` makes of it when it starts"
        )


def _found(connection: Connection, store: Store, *, version: str) -> str | None:
    """Return the version of the tables; versions are numbers of four digits, so texts are in their order."""
    if not sqlalchemy.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sqlalchemy.table(VERSION_TABLE, sqlalchemy.column("version_num"))
    found = connection.execute(sqlalchemy.select(table.c.version_num)).scalar()
    if found is not None and found > version:
        raise LedgerError(
            f"{store.place}: is a ledger of version {found}, made by a newer Queuemedic; this one knows up to"
            f" {version}: install the newer one, or restore a copy of the ledger from before"
        )
    return found


def _upgrade(connection: Connection, *, folder: Path, version: str) -> None:
    with without("pygments"):  # which Mako would load to colour what a fault in a template is: 4 MiB
        from alembic.config import Config  # noqa: PLC0415  takes 0.1 s, and almost every start finds nothing to do
        from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(folder))
    with EnvironmentContext(
        Config(), scripts, fn=lambda found, _: scripts._upgrade_revs(version, found), destination_rev=version
    ) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE, transaction_per_migration=False)
        environment.run_migrations()


def _wait_for_turn(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": LOCK}).close()
    elif connection.dialect.name in ("mysql", "mariadb"):
        statement = sqlalchemy.text("SELECT GET_LOCK(CONCAT(:name, ' ', DATABASE()), :seconds)")
        try:
            has_lock = connection.execute(statement, {"name": LOCK, "seconds": LOCK_SECONDS}).scalar()
        except sqlalchemy.exc.DBAPIError as cause:
            if cause.orig is None or cause.orig.args[0] not in NO_NAMED_LOCKS:
                raise
        else:
            if has_lock != 1:
                raise LedgerError(f"another instance has been changing the ledger for {LOCK_SECONDS} s; start again")


def _end_turn(connection: Connection) -> None:
    """Let the next instance in; where the connection is lost, the server does."""
    if connection.dialect.name in ("mysql", "mariadb") and not connection.invalidated:
        connection.execute(
            sqlalchemy.text("SELECT RELEASE_LOCK(CONCAT(:name, ' ', DATABASE()))"), {"name": LOCK}
        ).close()
