"""Open the ledger, whole: whoever writes to it makes it or brings it up to date, the others only read it."""

from datetime import datetime
from typing import Self

from exporter.address import Address
from exporter.store import Store

from .brakes import Brakes
from .journal import Journal
from .migrations import migrate, require
from .sightings import SeenBefore


class Ledger:
    """The healer's own database. For any number of threads; every method of its parts raises LedgerError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.journal = Journal(store)
        self.sightings = SeenBefore(store)
        self.brakes = Brakes(store)

    @classmethod
    def open(cls, address: Address) -> Self:
        """Open for writing; make the tables, or bring them up to this version. Raises LedgerError."""
        store = Store(address)
        try:
            migrate(store)
        except BaseException:
            store.close()
            raise
        return cls(store)

    @classmethod
    def open_read_only(cls, address: Address) -> Self:
        """Open for reading, as `check` and `history` do; raises NoLedger where there is none, else LedgerError."""
        store = Store(address, is_read_only=True)
        try:
            require(store)
        except BaseException:
            store.close()
            raise
        return cls(store)

    @property
    def place(self) -> str:
        """Name the database for people."""
        return self._store.place

    def forget(self, *, before: datetime) -> int:
        """Forget what is from before then, of the journal and of what was seen; return how much there was."""
        return self.journal.forget(before=before) + self.sightings.forget(before=before)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()
