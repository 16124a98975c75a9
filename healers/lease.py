"""The lock of healers where the watched database's server has none: a lease that the ledger gives for some time.

Unlike a lock of the connection that writes it may end while a reset is under way, so it lasts longer than any
transaction may: nobody else takes it, and concludes what is left open, before that is over.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from exporter.errors import LedgerError
from exporter.jobs import QueueName

from .ledger import Ledger

MARGIN: Final = timedelta(seconds=30)


class Lease:
    """Follows `healers.resets.locks.Lock`; `limit` is that of a transaction. `take` raises LedgerError."""

    def __init__(self, get_ledger: Callable[[], Ledger], queue: QueueName, *, holder: str, limit: timedelta) -> None:
        self._get_ledger = get_ledger
        self._queue = queue
        self._holder = holder
        self._lasts = 2 * limit + MARGIN
        self._term: int | None = None

    def take(self, connection: Connection) -> bool:  # noqa: ARG002  it is the ledger's, not the connection's
        """Try to take it."""
        self._term = self._get_ledger().brakes.lease(self._queue, holder=self._holder, lasts=self._lasts)
        return self._term is not None

    def is_held(self, connection: Connection) -> bool:  # noqa: ARG002
        """Hold it longer; tells whether it was still held."""
        try:
            return self._term is not None and self._get_ledger().brakes.renew(
                self._queue, holder=self._holder, term=self._term, lasts=self._lasts
            )
        except LedgerError:
            return False

    def release(self, connection: Connection) -> None:  # noqa: ARG002
        """Give it back; one that cannot be given back ends by itself."""
        term, self._term = self._term, None
        if term is not None:
            try:
                self._get_ledger().brakes.release(self._queue, holder=self._holder, term=term)
            except LedgerError:
                return
