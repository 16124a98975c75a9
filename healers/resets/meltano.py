"""Fail a Meltano run whose process is gone, as Meltano itself fails a stale one, and with the same words of state.

Meltano (4.4.1, core/job/stale_job_failer.py) sets `state` to FAIL and `ended_at` to the time of detection, and puts
`error` into the payload; what a run has saved of its bookmarks stays. It compares times as text on SQLite, so what is
written there has exactly its form: six digits of a second, no zone.
A payload that is no JSON object is left as it is.
"""

import json
from functools import partial
from types import MappingProxyType
from typing import Final

from pydantic import Field
from sqlalchemy import Connection, text

from exporter.errors import BadSchema
from exporter.queues.meltano import MeltanoOptions
from exporter.queues.meltano.options import check_meltano_url
from exporter.queues.meltano.source import Source
from exporter.queues.meltano.statements import POSTGRESQL, SQLITE

from ..options import HealingOptions
from .addresses import find_write_address
from .compare_and_set import SqlReset
from .comparing import Condition
from .rows import FOR_UPDATE, Bound, Cell, RowSql, whole_number
from .whole import select_whole

ERROR: Final = "Queuemedic found that the process of this run is gone, and marked the run as failed."
NOW: Final = MappingProxyType(
    {
        "sqlite": "strftime('%Y-%m-%d %H\\:%M\\:%f000', 'now')",
        "postgresql": "(clock_timestamp() AT TIME ZONE 'UTC')",
    }
)
# What is no UTF-8 must not be written back as something else.
PAYLOAD: Final = MappingProxyType({"sqlite": "CAST(payload AS BLOB)", "postgresql": "payload"})


class MeltanoHealing(HealingOptions):
    """What is done about dead runs."""

    trust_heartbeat: bool = Field(
        False, description="without workers_on, take a run for dead whose heartbeat stands still for 5 minutes"
    )


class MeltanoTarget:
    """The runs of one Meltano project."""

    grants = "GRANT SELECT, UPDATE (state, ended_at, payload) ON runs"

    def name(self) -> str:
        """Return the table's name, the same for all releases."""
        return "runs"

    def describe(self, connection: Connection) -> RowSql:
        """Find the table, whose name depends on the release."""
        dialect = connection.dialect.name
        sql = SQLITE if dialect == "sqlite" else POSTGRESQL
        table = connection.exec_driver_sql(sql.find_table).scalar()
        if table is None:
            raise BadSchema("there is neither a table runs nor job; this is no system database of Meltano")
        return RowSql(
            dialect=dialect,
            source=table,
            whole=select_whole(connection, table, name=table),
            id="id",
            ids=whole_number,
            started="state = 'RUNNING'",
            started_at=Cell(column="started_at", read=sql.usable.format("started_at")),
            host=None,
            pid=None,
            read_text=lambda value: value,
            rests_on=(Cell(column="last_heartbeat_at", read=sql.usable.format("last_heartbeat_at")),),
            changes=f"state = 'FAIL', ended_at = {NOW[dialect]}, payload = COALESCE(:payload, payload)",
            is_put_back="state = 'FAIL' AND payload LIKE :error",
            bound={"error": f"%{ERROR}%"},
            further=partial(_merge, table=table),
            changing=_error_before,
        )


def make_meltano_reset(options: MeltanoOptions, healing: HealingOptions) -> SqlReset:
    """Return the write half of a Meltano queue."""
    source = Source(options)
    find = partial(find_write_address, healing, source.find_address, check=check_meltano_url)
    return SqlReset(MeltanoTarget(), find_address=find, find_watched=source.find_address, limit=options.poll_timeout)


def _merge(connection: Connection, row: Condition, *, table: str) -> Bound:
    """Lock the row, and return its payload with the error in it."""
    dialect = connection.dialect.name
    statement = f"SELECT {PAYLOAD[dialect]} FROM {table} WHERE {row.sql}{FOR_UPDATE[dialect]}"
    return {"payload": _with_error(connection.execute(text(statement), row.bound).scalar())}


def _error_before(row: Bound) -> Bound:
    """Return the error that the payload of a row has before one is put into it, as JSON; None where it has none."""
    payload = row.get("payload")
    held = _held(payload if isinstance(payload, str | bytes) else None)
    return {} if held is None else {"payload.error": json.dumps(held["error"]) if "error" in held else None}


def _with_error(payload: str | bytes | None) -> str | None:
    held = _held(payload)
    return None if held is None else json.dumps({**held, "error": ERROR})


def _held(payload: str | bytes | None) -> dict[str, object] | None:
    """Return what a payload holds; None where that is no JSON object."""
    try:
        held = json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None
