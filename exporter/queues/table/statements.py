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
        self.gathers_ids = shape.has_key
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
        kind = self._kind() if self.has_kinds else None
        return text(self._totals(kind, self._new(is_first=is_first, is_marked=is_marked)))

    def rest(self, *, is_first: bool, is_marked: bool) -> TextClause:
        """Return the scan of all kinds as one."""
        return text(self._totals(None, self._new(is_first=is_first, is_marked=is_marked)))

    def _new(self, *, is_first: bool, is_marked: bool) -> str:
        if is_first:
            return "0"
        if is_marked:
            return f"COUNT(CASE WHEN {self._mark} > :after THEN 1 END)"
        return "COUNT(*)" if self.shape.ids.is_rising else f"COUNT({self._enqueued})"

    def _totals(self, kind: str | None, new: str) -> str:
        """Return the scan; ages are taken around it, as MariaDB would look for the oldest once for each mention.

        MySQL would sort every row for GROUP_CONCAT. So each started row is a group of its own there, and the few groups
        that there are then are joined by kind.
        """
        shape, instant = self.shape, self.shape.instants["enqueued_at"]
        is_nested = self.gathers_ids and shape.dialect == "mysql"
        if is_nested:
            ids = shape.ids.gathered(shape.started)
        else:
            ids = shape.ids.collect(shape.started, limit=self._max_started) if self.gathers_ids else "NULL"
        keys = [str(place) for place, is_key in ((1, kind), (2, is_nested)) if is_key]
        found = (
            f"SELECT {kind or 'NULL'} AS kind, {ids} AS started_ids, COUNT(*) AS jobs,"
            f" COUNT(CASE WHEN {shape.started} THEN 1 END) AS started, MIN(CASE WHEN {shape.started} THEN NULL"
            f" ELSE {instant.rank(shape.column('enqueued_at'))} END) AS oldest, {new} AS enqueued,"
            f" MAX({self._mark}) AS mark FROM {shape.source} WHERE {shape.waiting} OR {shape.started}"
            f"{' GROUP BY ' if keys else ''}{', '.join(keys)}"
        )
        if is_nested:
            found = (
                "SELECT kind, GROUP_CONCAT(started_ids) AS started_ids, CAST(SUM(jobs) AS SIGNED) AS jobs,"
                " CAST(SUM(started) AS SIGNED) AS started, MIN(oldest) AS oldest,"
                f" CAST(SUM(enqueued) AS SIGNED) AS enqueued, MAX(mark) AS mark FROM ({found}) AS by_id GROUP BY kind"
            )
        return (
            f"SELECT kind, jobs, started, {instant.age_of_rank('oldest')} AS oldest_age, enqueued, mark, started_ids"
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
