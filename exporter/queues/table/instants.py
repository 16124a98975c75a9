"""The SQL that dates a row, for each type of column that can hold an instant; the database takes every age itself.

`key` is what the earliest is looked for by: NULL where the value is no instant (infinite, a date of zeros or of year 1,
not a time).
`age` turns a key into seconds, in the statement that reads it. A local time in the hour that comes twice is taken for
the later of the two, so that an age is never too long: PostgreSQL does so itself, the others are asked for both.
Types are what drivers report of a result (PostgreSQL's OIDs, MySQL's field types); SQLite's values have types, its
columns none: only texts that begin with a date are instants there.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exporter.errors import BadSchema

TIMESTAMPTZ, TIMESTAMP, DATE = 1184, 1114, 1082
MYSQL_TIMESTAMP, MYSQL_NULL, MYSQL_DATE, MYSQL_DATETIME = 7, 6, 10, 12
NUMBERS: Final = MappingProxyType(
    {
        "postgresql": frozenset({20, 21, 23, 700, 701, 1700}),
        "mysql": frozenset({0, 1, 2, 3, 4, 5, 8, 9, 16, 246}),
    }
)
# To 9999, what Python can hold in every zone, and infinity is beyond; from 1000, as year 1 is .NET's date of nothing.
FINITE: Final = "CASE WHEN {0} > '1000-01-01' AND {0} < '9999-01-01' THEN {1} END"
TO_SECONDS_OF_1970: Final = 62_167_219_200
MYSQL_NOW: Final = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6"
SQLITE_TEXT: Final = "CASE WHEN {0} GLOB '[1-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' THEN {1} END"

# What makes an instant of Unix seconds, and of a text, by dialect and clock.
FROM_NUMBER: Final = MappingProxyType(
    {
        ("postgresql", "utc"): "to_timestamp({0})",
        ("postgresql", "session"): "to_timestamp({0})",
        ("mysql", "utc"): "timestamp '1970-01-01 00:00:00' + interval {0} second",
        ("mysql", "session"): "from_unixtime({0})",
    }
)
FROM_ELSE: Final = MappingProxyType(
    {"postgresql": "cast({0} as timestamp with time zone)", "mysql": "cast({0} as datetime(6))"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """How to read one column of instants: templates with `{0}` for the column, or for the key.

    `rank_template` is a cheaper key, to the second, among which the least is looked for, and `unranked_template` makes
    a key of it again.
    """

    key_template: str
    age_template: str
    rank_template: str | None = None
    unranked_template: str = "{0}"
    has_odd_values: bool = False

    def key(self, column: str) -> str:
        """Return the expression by which the earliest is found."""
        return self.key_template.format(column)

    def age(self, key: str) -> str:
        """Return the seconds since a key."""
        return self.age_template.format(key)

    def rank(self, column: str) -> str:
        """Return the expression by which the earliest of many is found."""
        return (self.rank_template or self.key_template).format(column)

    def age_of_rank(self, rank: str) -> str:
        """Return the seconds since a rank."""
        return self.age(self.unranked_template.format(rank))

    def raw(self, column: str) -> str:
        """Return the value as it is, but as text where the driver could not hold it."""
        return f"CASE WHEN {self.key(column)} IS NOT NULL THEN {column} END" if self.has_odd_values else column

    def odd(self, column: str) -> str:
        """Return the text of a value that the driver cannot hold."""
        if not self.has_odd_values:
            return "NULL"
        return f"CASE WHEN {self.key(column)} IS NULL THEN CAST({column} AS text) END"


def find_instant(dialect: str, column_type: object, *, clock: str, column: str) -> Instant:
    """Return how to read a column of this type; raises BadSchema that says what to write instead."""
    if dialect == "sqlite":
        return _sqlite(clock)
    found = (_postgresql if dialect == "postgresql" else _mysql)(column_type, clock)
    if found is None:
        is_number = column_type in NUMBERS[dialect]
        right = FROM_NUMBER[dialect, clock] if is_number else FROM_ELSE[dialect]
        kind = "a number" if is_number else "neither a date with a time nor a timestamp"
        raise BadSchema(f'{column} is {kind}; write {{sql: "{right.format(column)}"}}, if that is what it holds')
    return found


def _postgresql(column_type: object, clock: str) -> Instant | None:
    now = "statement_timestamp()"
    if column_type == TIMESTAMPTZ:
        age = f"extract(epoch FROM {now} - {{0}})"
    elif column_type not in (TIMESTAMP, DATE):
        return None
    elif clock == "utc":
        age = f"extract(epoch FROM ({now} AT TIME ZONE 'UTC') - {{0}})"
    else:
        age = f"extract(epoch FROM {now} - ({{0}} AT TIME ZONE current_setting('TimeZone')))"
    value = "CAST({0} AS timestamp)" if column_type == DATE else "{0}"
    return Instant(key_template=FINITE.replace("{1}", value), age_template=age, has_odd_values=True)


def _mysql(column_type: object, clock: str) -> Instant | None:
    if column_type == MYSQL_TIMESTAMP:
        return Instant(key_template="NULLIF(UNIX_TIMESTAMP({0}), 0)", age_template=f"{MYSQL_NOW} - {{0}}")
    if column_type not in (MYSQL_DATETIME, MYSQL_DATE, MYSQL_NULL):
        return None
    if clock == "utc":
        age = "TIMESTAMPDIFF(MICROSECOND, {0}, UTC_TIMESTAMP(6)) / 1e6"
    else:
        seconds = "NULLIF(UNIX_TIMESTAMP({0}), 0)"
        age = f"{MYSQL_NOW} - {seconds} - 3600 * (FROM_UNIXTIME({seconds} + 3600) = {{0}})"
    return Instant(
        key_template="CASE WHEN DAYOFMONTH({0}) > 0 AND {0} > '1000-01-01' THEN {0} END",
        age_template=age,
        # In the table in which it counts groups, MariaDB (10.11) compares numbers at a third of the price of times.
        rank_template="CASE WHEN {0} > '1000-01-01' THEN TO_SECONDS({0}) END",
        unranked_template=f"(timestamp '1970-01-01 00:00:00' + interval {{0}} - {TO_SECONDS_OF_1970} second)",
    )


def _sqlite(clock: str) -> Instant:
    if clock == "utc":
        age = "(julianday('now') - {0}) * 86400.0"
        return Instant(key_template=SQLITE_TEXT.replace("{1}", "julianday({0})"), age_template=age)
    wall = "strftime('%s', {0}, 'localtime')"
    is_repeated = f"({wall.replace('{0}', '{0} + 1.0 / 24')} = {wall})"
    age = f"(julianday('now') - {{0}}) * 86400.0 - 3600 * {is_repeated}"
    return Instant(key_template=SQLITE_TEXT.replace("{1}", "julianday({0}, 'utc')"), age_template=age)
