"""Reset by compare-and-set in SQL: what all databases have in common.

One row, one transaction: the lock is verified, the row is changed if it still is exactly what was judged, and that is
committed. What went wrong is answered by the row itself, read again: on the same connection where nothing was changed,
else under a lock on it, so that no transaction that is still under way can make the answer untrue afterwards.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from sqlalchemy import Connection

from exporter import clock
from exporter.address import Address
from exporter.errors import ConfigurationError, ReadError, Refused, Unsettled
from exporter.jobs import AttemptKey, Claim
from exporter.writer import Writer

from ..outcomes import Concluded, OriginalRow, Outcome
from .locks import Lock, NoNamedLocks, make_lock
from .reconciliation import conclude
from .rows import RowSql

TRY_AGAIN_SECONDS: Final = 0.1
NOT_ENOUGH: Final = "with what is set, the row would still be started; correct healing.reset or started_when"
NOBODY_CHANGED: Final = "the database finds no row with the values that it gave for this one"


class Target(Protocol):
    """What one system says of its table.

    `describe` asks the database what the table is like; `name` tells tables of one database apart; `grants` is the
    least that an account needs, for people.
    """

    grants: str

    def name(self) -> str: ...
    def describe(self, connection: Connection) -> RowSql: ...


class _NotWritten(Exception):
    """A transaction that is rolled back, and what it comes to."""

    def __init__(self, concluded: Concluded) -> None:
        super().__init__(concluded.detail)
        self.concluded = concluded


class SqlReset:
    """The write half of a queue in an SQL database; follows the protocol in `healers.resets.protocol`."""

    def __init__(
        self,
        target: Target,
        *,
        find_address: Callable[[], Address],
        find_watched: Callable[[], Address],
        limit: timedelta,
        lease: Lock | None = None,
    ) -> None:
        """`lease` is the lock where the server has none."""
        self._lease = lease
        self._target = target
        self._find_address = find_address
        self._find_watched = find_watched
        self._make_writer = partial(Writer, find_address, find_watched=find_watched, limit=limit)
        self._writer = self._make_writer()
        self._rows: RowSql | None = None
        self._lock: Lock | None = None

    def check(self) -> None:
        """Raise ConfigurationError where the configuration does not say where to write; connects to nothing."""
        self._find_address()

    @contextmanager
    def lock(self, *, wait_seconds: float) -> Iterator[bool]:
        """Try to be the only healer of this queue, on a new connection that is closed at the end."""
        self._connect()
        lock = make_lock(self._find_watched(), table=self._target.name())
        try:
            self._describe()
            try:
                has_lock = self._take(lock, wait_seconds)
            except NoNamedLocks:
                if self._lease is None:
                    raise
                lock = self._lease
                has_lock = self._take(lock, wait_seconds)
            self._lock = lock
            yield has_lock
        finally:
            self._lock = None
            with suppress(ReadError), self._writer.transaction() as connection:
                lock.release(connection)
            self._writer.close()

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]:
        """Read rows by primary key; raises ReadError."""
        if not keys or self._rows is None:
            return {}
        with self._writer.transaction() as connection:
            found = {key: self._rows.read(connection, key, is_locked=False) for key in keys}
        return {key: row for key, row in found.items() if row is not None}

    def reset(self, claim: Claim) -> Concluded:
        """Change the row of a claim if it still is exactly what was judged."""
        rows, lock = self._rows, self._lock
        if rows is None or lock is None:
            return _failed(claim, "the lock of healers is not held")
        try:
            with self._writer.transaction() as connection:
                if not lock.is_held(connection):
                    raise _NotWritten(_failed(claim, "the lock of healers was lost"))
                self._change(connection, rows, claim)
        except _NotWritten as refused:
            return refused.concluded
        except Unsettled as cause:
            return self._find_out(rows, claim, because=str(cause), may_be_written=True)
        except (ReadError, ConfigurationError) as cause:
            return self._find_out(rows, claim, because=str(cause), may_be_written=False)
        return Concluded(key=claim.key, outcome=Outcome.RESET)

    def _connect(self) -> None:
        try:
            self._writer.connect()
        except Refused as cause:
            raise ConfigurationError(f"{cause}; {self._target.grants}") from cause

    def _describe(self) -> None:
        try:
            with self._writer.transaction() as connection:
                self._rows = self._target.describe(connection)
                self._rows.rehearse(connection)
        except Refused as cause:
            raise ConfigurationError(f"healing.write_url: {cause}; {self._target.grants}") from cause

    def _take(self, lock: Lock, wait_seconds: float) -> bool:
        ends = clock.monotonic_seconds() + wait_seconds
        pause = threading.Event()
        while True:
            with self._writer.transaction() as connection:
                if lock.take(connection):
                    return True
            if clock.monotonic_seconds() + TRY_AGAIN_SECONDS > ends:
                return False
            pause.wait(TRY_AGAIN_SECONDS)

    @staticmethod
    def _change(connection: Connection, rows: RowSql, claim: Claim) -> None:
        """Change one row, or raise `_NotWritten`."""
        changed = rows.put_back(connection, claim)
        if changed > 1:
            raise _NotWritten(_failed(claim, f"{changed} rows have this id; heal tables whose ids are unique"))
        row = rows.read(connection, claim.key, is_locked=False)
        if changed == 0:
            raise _NotWritten(conclude(claim, row, may_be_written=False, because=_why(claim, row)))
        if row is None or row.is_started:
            raise _NotWritten(_failed(claim, NOT_ENOUGH))

    def _find_out(self, rows: RowSql, claim: Claim, *, because: str, may_be_written: bool) -> Concluded:
        """Read the row of a reset that failed: on this connection, if that is left, else on a new one."""
        writer = self._writer if self._writer.is_connected else self._make_writer()
        try:
            if writer is not self._writer:
                writer.connect()
            with writer.transaction() as connection:
                row = rows.read(connection, claim.key, is_locked=may_be_written)
        except (ReadError, ConfigurationError) as cause:
            detail = f"{because}; and the row could not be read again: {cause}"
            outcome = Outcome.UNKNOWN if may_be_written else Outcome.FAILED
            return Concluded(key=claim.key, outcome=outcome, detail=detail)
        finally:
            if writer is not self._writer:
                writer.close()
        return conclude(claim, row, may_be_written=may_be_written, because=because)


def _failed(claim: Claim, detail: str) -> Concluded:
    return Concluded(key=claim.key, outcome=Outcome.FAILED, detail=detail)


def _why(claim: Claim, row: OriginalRow | None) -> str:
    return NOBODY_CHANGED if row is not None and row.is_started and row.claim == claim else ""
