"""Find what waits and what is started in one reading of Matomo's table.

In: a transaction on a table of n rows, m of them started. Out: one number and age for each period, and the started rows
in full, the oldest `max_started` of them; the database reads n rows once, and the m by primary key.
Twice it reads n rows where more are started than are read, and for once where a time is no time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row

from exporter.jobs import Kind, State

from ..by_id import chunks
from .rows import STATES, count_by_kind
from .statements import FIRST_ID, Statements

LEAST_TIME = 19710101_000000
PERIODS = FIRST_ID + 1  # NULL is one
CHUNK = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """`waiting`: (period, jobs, seconds of the oldest) each; `started`: rows; `jobs_started`: all there are."""

    waiting: Sequence[tuple[object, int, float | None]]
    started: Sequence[Row[Any]]
    jobs_started: dict[Kind, int]


def read_table(connection: Connection, statements: Statements, *, today: date, max_started: int) -> Scan:
    """Read the table in the cheapest way that its indexes and the number of started rows allow."""
    found = None if statements.is_listed else _read_slots(connection, statements, today, max_started)
    return found or _read_lists(connection, statements, today, max_started)


def _read_slots(connection: Connection, statements: Statements, today: date, max_started: int) -> Scan | None:
    """Return None if more rows are started than are read: which of them are the oldest is worth a list."""
    values = {"today": _number(today), "limit": max_started + PERIODS + 1}
    slots = connection.execute(statements.scan, values).all()
    if any(slot.oldest is not None and slot.oldest < LEAST_TIME for slot in slots):
        statements.scan = statements.doubting_scan
        slots = connection.execute(statements.scan, values).all()
    waiting = [
        (slot.slot, slot.jobs, slot.oldest_age) for slot in slots[:PERIODS] if slot.slot is None or slot.slot < FIRST_ID
    ]
    ids = [slot.slot - FIRST_ID for slot in slots[len(waiting) :]]
    if len(ids) > max_started:
        statements.is_listed = True
        return None
    found = [row for some in chunks(ids, CHUNK) for row in connection.execute(statements.started, {"ids": some})]
    started = sorted(found, key=_age_order)
    return Scan(waiting=waiting, started=started, jobs_started=count_by_kind((row.period, 1) for row in started))


def _read_lists(connection: Connection, statements: Statements, today: date, max_started: int) -> Scan:
    groups = connection.execute(statements.groups, {"today": _number(today)}).all()
    started = [group for group in groups if STATES.get(group.status) is State.STARTED]
    statements.is_listed = statements.has_status_index or sum(group.jobs for group in started) > max_started
    return Scan(
        waiting=[
            (group.period, group.jobs, group.oldest_age)
            for group in groups
            if STATES.get(group.status) is State.WAITING
        ],
        started=connection.execute(statements.oldest_started, {"limit": max_started}).all() if started else (),
        jobs_started=count_by_kind((group.period, group.jobs) for group in started),
    )


def _age_order(row: Row[Any]) -> tuple[float, int]:
    """Put rows without a start time first, then the oldest."""
    return -math.inf if row.started_age is None else -row.started_age, row.idinvalidation


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
