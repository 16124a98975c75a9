"""Ledgers as earlier versions of the program left them, kept in `tests/samples/ledgers`, one for each schema version.

`NUMBER.sql` is a whole SQLite ledger, tables and rows, that `fill` wrote with the program of that version:

    python -m tests.contracts.kept_ledgers

writes it for the version that the program makes now: whoever adds a step runs it once before, with the program of then.
What is kept is never written anew, since it stands for files that are out there.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import MetaData, create_engine, delete, insert, select

from exporter.address import Address
from exporter.store import Store
from healers.breaker import BreakerState
from healers.ledger import Ledger
from healers.ledger.migrations import VERSION, migrate
from healers.outcomes import Outcome
from healers.sightings import AttemptSighting, Boot, Enrolment, Learned
from tests.contracts.ledgers import AT, QUEUE, a_key, a_refusal, address_of, an_intent, concluded, opened

FOLDER: Final = Path(__file__).parents[1] / "samples" / "ledgers"
MINUTE: Final = timedelta(minutes=1)
LONG: Final = timedelta(days=30_000)
BREAKER: Final = BreakerState(
    open_since=AT, suspect_at=AT + MINUTE, counted=frozenset({a_key("1")}), dead_hosts=2, hosts=3
)


def fill(ledger: Ledger) -> None:
    """Write something of every sort, the same each time."""
    journal, brakes = ledger.journal, ledger.brakes
    for number, outcome in enumerate([*Outcome, None]):
        intent = an_intent(a_key(f"{number}", started=Decimal(number)), at=AT + number * MINUTE)
        written = journal.intend(intent)
        if outcome is not None:
            journal.conclude(written, concluded(intent, outcome, "why\n\x00"), at=intent.at + MINUTE)
    long = an_intent(a_key("long\x00\udcff", started=None), row={"id": b"\x00\xff", "text": "x" * 100_000})
    journal.intend(long)
    journal.refuse([a_refusal(), a_refusal(a_key("2", pid=None), reason="paused")])
    journal.rehearse([an_intent(a_key("dry"), mode="dry_run")])
    boot = Boot(machine_id="m", boot_id="b", first_at=AT, last_at=AT + MINUTE, is_reboot=True)
    enrolment = Enrolment(machine_id="m", boot_id="b", pid=4380, start_ticks=918273, seen_at=AT)
    learned = Learned(
        attempts={a_key("1"): AttemptSighting(first_seen_at=AT, asked_at=AT, enrolment=enrolment, boots=("m/b",))},
        boots={"web1": (boot,)},
        proven=frozenset({(QUEUE, "m")}),
        workers=frozenset({(QUEUE, "web1", 4380)}),
    )
    ledger.sightings.learn(learned, at=AT)
    ledger.sightings.retire("old\x00", why="burnt", actor="ann", at=AT)
    brakes.pause(None, why="new rack\n", actor="ann (sudo)", at=AT)
    brakes.pause(QUEUE, why="look", actor="bob", at=AT)
    brakes.keep_breaker(QUEUE, BREAKER, instead_of=None)
    brakes.lease(QUEUE, holder="a", lasts=LONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that the program reads of a ledger."""

    history: list[Any]
    open_intents: tuple[Any, ...]
    resets: int
    sightings: Any
    retired: Any
    pauses: Any
    breaker: BreakerState | None
    lease_of_another: int | None


def tell(ledger: Ledger) -> Told:
    """Read all of it; a journal that does not hold together is a failure."""
    assert ledger.journal.verify() is None
    return Told(
        history=list(ledger.journal.history()),
        open_intents=ledger.journal.open_intents(QUEUE),
        resets=ledger.journal.count_resets(QUEUE, since=AT),
        sightings=ledger.sightings.load(),
        retired=ledger.sightings.retired(),
        pauses=ledger.brakes.pauses(),
        breaker=ledger.brakes.breaker(QUEUE, BreakerState),
        lease_of_another=ledger.brakes.lease(QUEUE, holder="b", lasts=MINUTE),
    )


def restore(version: str, address: Address, folder: Path) -> None:
    """Put a kept ledger into an empty database: the file as it was, or its rows in the tables of then."""
    file = Path(str(address.url.database)) if address.dialect == "sqlite" else folder / f"{version}.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((FOLDER / f"{version}.sql").read_text())
    if address.dialect == "sqlite":
        return
    store = Store(address)
    migrate(store, version=version)
    store.close()
    old, new = create_engine(f"sqlite:///{file}"), create_engine(address.url)
    tables = MetaData()
    tables.reflect(old)
    with old.connect() as source, new.begin() as target:
        for table in tables.sorted_tables:
            target.execute(delete(table))
            if rows := source.execute(select(table)).mappings().all():
                target.execute(insert(table), [dict(row) for row in rows])
    old.dispose()
    new.dispose()


def main() -> None:
    """Keep a ledger of the version that the program makes now."""
    kept = FOLDER / f"{VERSION}.sql"
    if kept.exists():
        raise SystemExit(f"{kept}: is kept already, and stands for files that are out there")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        with opened(address_of(f"sqlite:///{file}")) as ledger:
            fill(ledger)
        with closing(sqlite3.connect(file)) as connection:
            kept.write_text("\n".join([*connection.iterdump(), ""]))


if __name__ == "__main__":
    main()
