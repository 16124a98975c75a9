"""What was found out about a table, kept for as long as it can be believed.

A system is upgraded while it is watched, so the table is looked at anew at each new connection, every five minutes, and
once when a statement says that a column or table is gone or denied. SQLite's connection is new at each poll, and is no
other server.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from exporter import clock
from exporter.errors import BadSchema, Refused

KEPT_SECONDS: Final = 300.0

Shape = TypeVar("Shape")
Result = TypeVar("Result")


class Detected(Generic[Shape]):
    """The shape of one table; `detect` asks the database for it."""

    def __init__(self, detect: Callable[[Connection], Shape]) -> None:
        self._detect = detect
        self._shape: Shape | None = None
        self._connection: Connection | None = None
        self._due = 0.0

    def of(self, connection: Connection) -> Shape:
        """Return the shape, detected anew where that is due; raises what `detect` raises."""
        is_known = connection is self._connection or connection.dialect.name == "sqlite"
        if self._shape is not None and is_known and clock.monotonic_seconds() < self._due:
            return self._shape
        self._shape = None
        self._shape = self._detect(connection)
        self._connection, self._due = connection, clock.monotonic_seconds() + KEPT_SECONDS
        return self._shape

    def retry(self, read: Callable[[], Result]) -> Result:
        """Read; once more, with the shape detected anew, if it turns out to be wrong."""
        was_detected = self._shape is not None
        try:
            return read()
        except (BadSchema, Refused):
            self._shape = None
            if not was_detected:
                raise
            return read()
