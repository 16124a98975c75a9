"""The SQL of a poll of one table.

One scan: grouped by kind it counts, dates the oldest, and collects the ids of started rows, which are then read by
their key. Where the id is an expression or the table a query there is no key to go by: started rows cost a second scan,
as they do where more are started than are read, and looking after rows that have left `started` costs another.
A row is started if `started_when` is true, whatever `waiting_when` says; NULL is not true.
"""

from typing import Final

from sqlalchemy import TextClause, text

from ..by_id import by_ids
from .shape import Shape

MOST_KINDS: Final = 10_000
# MySQL groups texts by their collation, in which `Mail` and `mail` are one; as bytes they are two, as everywhere else.
KIND: Final = {"mysql": "CAST(CONVERT({} USING utf8mb4) AS BINARY)", "postgresql": "CAST({} AS text)", "sqlite": "{}"}


class Statements:
    """Every statement of a poll.

    New rows are those above a mark, the highest of the last poll: of the ids, or where these do not rise, of the times
    of enqueueing. `scan` and `rest` take it as `:after`; `rest` is the same in one group, for more than `MOST_KINDS`.
    """

    def __init__(self, shape: Shape, *, max_started: int) -> None:
        self.shape, self._max_started = shape, max_started
        self._enqueued = shape.instants["enqueued_at"].key(shape.column("enqueued_at"))
        self._mark = shape.column("id") if shape.ids.is_rising else self._enqueued
        self.has_kinds = "kind" in shape.columns
        columns, started = self._columns(), shape.started
        order = f"{shape.column('started_at')}{' NULLS FIRST' if shape.dialect == 'postgresql' else ''}"
        in_ids = f"{shape.column('id')} IN :ids"
        self.oldest_started = text(
            f"SELECT {columns} FROM {shape.source} WHERE {started} ORDER BY {order}, {shape.column('id')} LIMIT :limit"
        )
        self.started = by_ids(f"SELECT {columns} FROM {shape.source} WHERE {in_ids} AND {started}")
        self.states = by_ids(
            f"SELECT {shape.ids.select()} AS id, CASE WHEN {started} THEN 1 ELSE 0 END AS is_started"
            f" FROM {shape.source} WHERE {in_ids} AND ({shape.waiting} OR {started})"
        )

    def scan(self, *, is_first: bool, is_marked: bool) -> TextClause:
        """Return the scan: at the first poll nothing is new, and after an empty one everything."""
        kind, grouped = (self._kind(), "GROUP BY 1") if self.has_kinds else ("NULL", "")
        return text(self._totals(kind, grouped, self._new(is_first=is_first, is_marked=is_marked)))

    def rest(self, *, is_first: bool, is_marked: bool) -> TextClause:
        """Return the scan of all kinds as one."""
        return text(self._totals("NULL", "", self._new(is_first=is_first, is_marked=is_marked)))

    def _new(self, *, is_first: bool, is_marked: bool) -> str:
        if is_first:
            return "0"
        if is_marked:
            return f"COUNT(CASE WHEN {self._mark} > :after THEN 1 END)"
        return "COUNT(*)" if self.shape.ids.is_rising else f"COUNT({self._enqueued})"

    def _totals(self, kind: str, grouped: str, new: str) -> str:
        """Return the scan; ages are taken around it, as MariaDB would look for the oldest once for each mention."""
        shape = self.shape
        oldest = f"MIN(CASE WHEN {shape.started} THEN NULL ELSE {self._enqueued} END)"
        ids = shape.ids.collect(shape.started, limit=self._max_started) if shape.has_key else "NULL"
        found = (
            f"SELECT {kind} AS kind, COUNT(*) AS jobs, COUNT(CASE WHEN {shape.started} THEN 1 END) AS started,"
            f" {oldest} AS oldest, {new} AS enqueued, MAX({self._mark}) AS mark, {ids} AS started_ids"
            f" FROM {shape.source} WHERE {shape.waiting} OR {shape.started} {grouped}"
        )
        age = shape.instants["enqueued_at"].age("oldest")
        return (
            f"SELECT kind, jobs, started, {age} AS oldest_age, enqueued, mark, started_ids"
            f" FROM ({found}) AS totals ORDER BY jobs DESC LIMIT {MOST_KINDS + 1:d}"
        )

    def _kind(self) -> str:
        return KIND[self.shape.dialect].format(self.shape.column("kind"))

    def _columns(self) -> str:
        """Return what is read of a started row; `_odd` is the text of a value that the driver could not hold."""
        shape = self.shape
        kind = self._kind() if self.has_kinds else "NULL"
        parts = [
            f"{shape.ids.select()} AS id, {kind} AS kind, {shape.column('host')} AS host, {shape.column('pid')} AS pid"
        ]
        for key, instant in shape.instants.items():
            column = shape.column(key)
            parts.append(
                f"{instant.raw(column)} AS {key}, {instant.odd(column)} AS {key}_odd,"
                f" {instant.age(instant.key(column))} AS {key}_age"
            )
        return ", ".join(parts)
