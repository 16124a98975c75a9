"""The journal as a chain: each entry holds a digest of itself and of the one before, and numbers have no gaps.

An entry that was changed, put in or taken out by hand shows, and so does a missing end: the head knows the last one.
It does not hold against somebody who works out the whole chain anew; a copy elsewhere does.
Every writer locks the head first (SQLite: the whole database), so that several make one chain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from exporter.errors import LedgerError

from .encoding import digest_of, to_text
from .tables import HEAD, JOURNAL

COLUMNS: Final = ("number", "act", "at", "queue", "job", "attempt", "natural_key", "intent", "result", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last entry of the journal, and the last one that was forgotten."""

    number: int
    digest: str
    forgotten_number: int
    forgotten_digest: str


def read_head(connection: Connection, *, locks: bool) -> Head:
    """Return the head; with `locks`, wait for the other writers, and keep them waiting until the transaction ends."""
    query = select(HEAD.c.number, HEAD.c.digest, HEAD.c.forgotten_number, HEAD.c.forgotten_digest)
    found = connection.execute(query.with_for_update() if locks else query).one_or_none()
    if found is None:
        raise LedgerError("the ledger has lost the head of its journal; restore a copy")
    return Head(**found._mapping)


def append(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> list[int]:
    """Add entries to the end, and return their numbers; the head is locked from here on."""
    head = read_head(connection, locks=True)
    number, digest = head.number, head.digest
    linked = []
    for row in rows:
        number += 1
        entry = {**row, "number": number, "previous": digest}
        digest = entry["digest"] = _digest(entry)
        linked.append(entry)
    if linked:
        connection.execute(insert(JOURNAL), linked)
        connection.execute(update(HEAD).values(number=number, digest=digest))
    return [entry["number"] for entry in linked]


def first_fault(entries: Iterable[RowMapping], head: Head) -> str | None:
    """Return what is wrong with the first entry that is not as it was written; None where all are."""
    number, digest = head.forgotten_number, head.forgotten_digest
    for entry in entries:
        number += 1
        if entry["number"] != number:
            return f"entry {number} is missing"
        if entry["previous"] != digest:
            return f"entry {number} does not follow the one before"
        digest = entry["digest"]
        if digest != _digest(entry):
            return f"entry {number} was changed"
    if number != head.number:
        return f"entry {number + 1} is missing"
    return None if digest == head.digest else f"entry {number} is not the one that was last"


def _digest(entry: Mapping[str, Any] | RowMapping) -> str:
    return digest_of(to_text([entry["previous"], *(entry[name] for name in COLUMNS)]))
