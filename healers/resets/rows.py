"""The rows of one table, for healing: read one whole, or change it if it still is exactly what was judged.

Every statement is of one row, found by its primary key and an equality; there is no IN, no range and no DELETE. Names
come from the configuration or from the table's own columns, quoted; values are bound.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, CursorResult, Row, text

from exporter.jobs import AttemptKey, Claim, DriverValue, JobId

from ..outcomes import OriginalRow
from .comparing import Condition, same_text, same_value

Bound: TypeAlias = Mapping[str, DriverValue]

FOR_UPDATE: Final = MappingProxyType({"mysql": " FOR UPDATE", "postgresql": " FOR UPDATE", "sqlite": ""})
# A part of a claim that the table does not have; nothing is equal to it.
NEVER: Final = Condition(sql="1 = 0", bound={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value of a claim: the column it is compared with, and how the poll reads it; `odd` as in `Instant`."""

    column: str
    read: str
    odd: str = "NULL"


def _no_part(_row: Bound) -> Bound:
    return {}


def _nothing(_connection: Connection, _row: Condition) -> Bound:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSql:
    """One table in the SQL of its dialect.

    `ids` returns the forms in which an id can stand in the table, `read_text` what a recorded host or pid is as text.
    `changes` is what a reset sets, `is_put_back` a condition that is true afterwards, `bound` the values of both, and
    `further` returns those of one row, which it locks. `changing` finds in a whole row what a reset changes inside of a
    value.
    """

    dialect: str
    source: str
    whole: str
    id: str
    ids: Callable[[JobId], Sequence[DriverValue]]
    is_id_text: bool = False
    started: str
    started_at: Cell
    host: str | None
    pid: str | None
    read_text: Callable[[Any], str | None]
    rests_on: tuple[Cell, ...] = ()
    changes: str
    is_put_back: str
    bound: Bound = field(default_factory=lambda: MappingProxyType({}))
    further: Callable[[Connection, Condition], Bound] = _nothing
    changing: Callable[[Bound], Bound] = _no_part

    def read(self, connection: Connection, key: AttemptKey, *, is_locked: bool) -> OriginalRow | None:
        """Read the whole row of a key, whatever it says now; `is_locked`: once nobody else is changing it."""
        locking = FOR_UPDATE[self.dialect] if is_locked else ""
        rows = [
            row
            for form in self.ids(key.job_id)
            for condition in [self._same_id(form)]
            for row in self._select(connection, condition, locking)
        ]
        found = [self._original(row, key) for row in rows]
        # SQLite can hold an id as a number and, in another row, as a text.
        return next((row for row in found if row.claim.key == key), found[0] if found else None)

    def put_back(self, connection: Connection, claim: Claim) -> int:
        """Change the row if it still is what the claim says, and return how many rows were changed."""
        for form in self.ids(claim.key.job_id):
            conditions = [self._same_id(form), *self.conditions(claim)]
            where = " AND ".join(f"({condition.sql})" for condition in conditions)
            bound = {name: value for condition in conditions for name, value in condition.bound.items()}
            further = self.further(connection, conditions[0])
            statement = f"UPDATE {self.source} SET {self.changes} WHERE {where}"
            changed = _execute(connection, statement, {**self.bound, **bound, **further}).rowcount
            if changed:
                return changed
        return 0

    def rehearse(self, connection: Connection) -> tuple[str, ...]:
        """Run what reads and what writes on no row, so that a missing right or column shows; return the columns."""
        columns = [*self._select(connection, NEVER, FOR_UPDATE[self.dialect], only_keys=True)]
        changes = f"UPDATE {self.source} SET {self.changes} WHERE {NEVER.sql}"
        _execute(connection, changes, {**self.further(connection, NEVER), **self.bound}).close()
        return tuple(columns)

    def conditions(self, claim: Claim) -> Iterator[Condition]:
        """Return everything that must be true of the row, but for its id."""
        key = claim.key
        yield Condition(sql=self.started, bound={})
        yield same_value(self.dialect, self.started_at.column, name="was_started", value=key.started)
        for name, column, value in (("was_host", self.host, key.host), ("was_pid", self.pid, key.pid_text)):
            if column is not None:
                yield same_text(self.dialect, column, name=name, value=value)
            elif value is not None:
                yield NEVER
        if len(self.rests_on) != len(claim.rests_on):
            yield NEVER
        for number, (cell, rested) in enumerate(zip(self.rests_on, claim.rests_on, strict=False)):
            yield same_value(self.dialect, cell.column, name=f"was_{number}", value=rested)

    def _same_id(self, form: DriverValue) -> Condition:
        found = same_value(self.dialect, self.id, name="of_id", value=form)
        if self.dialect != "sqlite":
            # The text of a PostgreSQL id is read by the server as the column's own type.
            found = Condition(sql=f"{self.id} = :of_id", bound={"of_id": form})
        if not self.is_id_text:
            return found
        exact = same_text(self.dialect, self.id, name="exact_id", value=str(form))
        return Condition(sql=f"{found.sql} AND {exact.sql}", bound={**found.bound, **exact.bound})

    def _select(
        self, connection: Connection, condition: Condition, locking: str, *, only_keys: bool = False
    ) -> Sequence[Any]:
        cells = [self.started_at, *self.rests_on]
        claimed = [expression for cell in cells for expression in (cell.read, cell.odd)]
        claimed += [self.host or "NULL", self.pid or "NULL"]
        flags = [f"CASE WHEN {truth} THEN 1 ELSE 0 END" for truth in (self.started, self.is_put_back)]
        columns = ", ".join([*flags, *claimed, self.whole])
        statement = f"SELECT {columns} FROM {self.source} WHERE {condition.sql}{locking}"
        result = _execute(connection, statement, {**condition.bound, **self.bound})
        if only_keys:
            keys = list(result.keys())[len(flags) + len(claimed) :]
            result.close()
            return keys
        return result.all()

    def _original(self, row: Row[Any], key: AttemptKey) -> OriginalRow:
        values = list(row)
        names = list(row._fields)
        is_started, is_put_back = values[:2]
        cells = 1 + len(self.rests_on)
        read = [odd if raw is None else raw for raw, odd in zip(values[2::2], values[3::2], strict=False)][:cells]
        at = 2 + 2 * cells
        claim = Claim(
            key=AttemptKey(
                queue=key.queue,
                job_id=key.job_id,
                started=read[0],
                host=self.read_text(values[at]),
                pid_text=self.read_text(values[at + 1]),
            ),
            rests_on=tuple(read[1:]),
        )
        whole = MappingProxyType(dict(zip(names[at + 2 :], values[at + 2 :], strict=True)))
        return OriginalRow(
            claim=claim,
            is_started=bool(is_started),
            is_put_back=bool(is_put_back),
            values=whole,
            changing=self.changing(whole),
        )


def _execute(connection: Connection, sql: str, bound: Bound) -> CursorResult[Any]:
    """Run a statement, which need not take every value."""
    statement = text(sql)
    names = statement.compile().params
    return connection.execute(statement, {name: value for name, value in bound.items() if name in names})


def whole_number(job_id: JobId) -> tuple[int, ...]:
    """Return an id that is a whole number, or nothing."""
    try:
        return (int(job_id),)
    except ValueError:
        return ()
