"""The SQL that tells whether a row still is what was judged, by dialect.

Texts are compared byte by byte: in the collations of many databases `HOST-A` is `host-a`, and `30` is `30` with a space
behind it. A recorded host or pid is compared as the text that the driver reads of it, never as a number. What is
missing is compared as missing. The row itself is found by its primary key, so no index is needed for any of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exporter.jobs import DriverValue

AS_BYTES: Final = MappingProxyType(
    {
        "mysql": ("CAST(CONVERT({} USING utf8mb4) AS BINARY)", "CAST(:{} AS BINARY)"),
        # As the server writes it: a cast to text would take the padding of a CHAR away.
        "postgresql": ("format('%s', {}) COLLATE \"C\"", "CAST(:{} AS text)"),
        "sqlite": ("CAST({} AS TEXT)", "CAST(:{} AS TEXT) COLLATE BINARY"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a WHERE, and the values it binds."""

    sql: str
    bound: Mapping[str, DriverValue]


def same_text(dialect: str, column: str, *, name: str, value: str | None) -> Condition:
    """Compare what the driver reads as text."""
    if value is None:
        return Condition(sql=f"{column} IS NULL", bound={})
    left, right = AS_BYTES[dialect]
    return Condition(sql=f"{left.format(column)} = {right.format(name)}", bound={name: value})


def same_value(dialect: str, column: str, *, name: str, value: DriverValue) -> Condition:
    """Compare a time, or whatever stands in its place.

    From a server, a text is of a time that the driver could not hold; SQLite has no type for times.
    """
    if value is None or (isinstance(value, str) and dialect != "sqlite"):
        return same_text(dialect, column, name=name, value=value)
    collated = " COLLATE BINARY" if dialect == "sqlite" else ""
    return Condition(sql=f"{column} = :{name}{collated}", bound={name: value})
