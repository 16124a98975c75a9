"""How ids are collected, read and bound again: a job's id is a text here, whatever its column holds.

PostgreSQL writes and reads the text of any type itself. MySQL uses an index only for a value of the column's own type,
so numbers are bound as numbers, and binary ids (hexadecimal here) as bytes. SQLite's columns hold values of any type:
every form that a text can stand for is bound, and at most one of them is equal.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from exporter.jobs import JobId

Bound: TypeAlias = str | int | bytes

INTEGERS: Final = {"mysql": frozenset({1, 2, 3, 8, 9}), "postgresql": frozenset({20, 21, 23})}
# Of MySQL, VARCHAR to BLOB: to its CHARSET() numbers and dates are binary, too.
TEXTS: Final = frozenset({15, *range(249, 255)})
LONGEST_NUMBER: Final = 21
LONGEST_TEXT: Final = 2 * 4 * 255 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The ids of one table. `is_rising`: whole numbers, a higher one is of a later job. `is_binary`: MySQL only."""

    dialect: str
    column: str
    is_rising: bool
    is_binary: bool = False

    def select(self) -> str:
        """Return the expression that one row's id is read by."""
        return f"CAST({self.column} AS text)" if self.dialect == "postgresql" else self.column

    def gathered(self, condition: str) -> str:
        """Return the expression for one row's id where the row satisfies a condition, as MySQL is to join them."""
        column = self.column
        if not self.is_rising:
            column = f"HEX({column if self.is_binary else f'CONVERT({column} USING utf8mb4)'})"
        return f"CASE WHEN {condition} THEN {column} END"

    def collect(self, condition: str, *, limit: int) -> str:
        """Return the aggregate that gathers the ids of the rows that satisfy a condition; not for MySQL."""
        column = self.column
        if self.dialect == "postgresql":
            return f"(array_agg({self.select()}) FILTER (WHERE {condition}))[1\\:{limit + 1:d}]"
        value = f"CASE typeof({column}) WHEN 'blob' THEN hex({column}) ELSE {column} END"
        return f"json_group_array({value}) FILTER (WHERE {condition})"

    @property
    def longest(self) -> int:
        """How many bytes one collected id can take on MySQL, its comma included."""
        return LONGEST_NUMBER if self.is_rising else LONGEST_TEXT

    def read(self, value: object) -> JobId:
        """Return the id of one row; empty where it has none, in a view for example, and cannot be found again."""
        if value is None:
            return JobId("")
        return JobId(value.hex() if isinstance(value, bytes) else str(value))

    def read_collected(self, value: object) -> list[JobId]:
        """Return the ids that `collect` has gathered in one group."""
        match value:
            case list():
                return [JobId(found) for found in value if found]
            case str() | bytes() if self.dialect == "sqlite":
                return [JobId(str(found)) for found in json.loads(value) if found not in (None, "")]
            case str() | bytes() if value:
                return self._read_concatenated(value if isinstance(value, str) else value.decode("ascii", "replace"))
        return []

    def _read_concatenated(self, text: str) -> list[JobId]:
        """Return ids that MySQL has joined; where it has cut the text, the last can lack its end and is left out."""
        parts = [part for part in text.split(",") if part]
        if self.is_rising:
            return [JobId(part) for part in parts]
        whole = [bytes.fromhex(part) for part in parts if len(part) % 2 == 0]
        return [JobId(part.hex() if self.is_binary else part.decode("utf-8", "replace")) for part in whole]

    def bind(self, ids: Iterable[JobId]) -> list[Bound]:
        """Return ids as they are bound."""
        return [form for found in sorted(ids) if found for form in self._forms(found)]

    def _forms(self, text: str) -> list[Bound]:
        if self.dialect == "postgresql":
            return [text]
        if self.dialect == "mysql":
            if self.is_rising:
                return [int(text)]
            return [bytes.fromhex(text)] if self.is_binary else [text]
        forms: list[Bound] = [text]
        if text.isascii() and text.removeprefix("-").isdecimal() and len(text) < LONGEST_NUMBER - 1:
            forms.append(int(text))
        if len(text) % 2 == 0 and not set(text.lower()) - set("0123456789abcdef"):
            forms.append(bytes.fromhex(text))
        return forms
