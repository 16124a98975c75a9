"""The SQL that reads Meltano's runs.

A row of `runs` is id, job_name, state, started_at, ended_at, then a payload of up to 20 MB, and only then run_id,
trigger and last_heartbeat_at (4.4.1, core/job/job.py; nothing ever prunes the table, issue 6771). SQLite would walk
over the payload to what lies behind it, so what lies there is read of running rows only. Whether there is a heartbeat
at all stands in the row's header: `typeof` reads that and no more. PostgreSQL keeps payloads apart.
All times are naive UTC of the machine that ran Meltano; ages are taken on the database's clock.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from ..ages import REPEATED_HOUR
from ..by_id import by_ids

# Until 2.0 PostgreSQL's type job_state knows no STATE_EDIT (migration 13e8639c6d2b), so no state is compared with that.
STATE: Final = "CAST(state AS VARCHAR)"
FINISHED: Final = f"{STATE} NOT IN ('RUNNING', 'STATE_EDIT')"
AHEAD_SECONDS: Final = REPEATED_HOUR.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What the two databases say differently; each is a template of one column."""

    age: str
    usable: str
    duration: str
    has_value: str
    matches_ephemeral: str
    success: str
    success_age: str
    success_duration: str
    ids: str
    as_it_is: str
    find_table: str


SQLITE: Final = Dialect(
    age="(julianday('now') - julianday({0})) * 86400.0",
    usable="{0}",
    duration="(julianday(ended_at) - julianday(started_at)) * 86400.0",
    has_value="typeof({0}) <> 'null'",
    matches_ephemeral="{0} GLOB '" + "-".join(["[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2]) + "T" + "[0-9]" * 6 + "--*--*'",
    success="MAX(ended_at || '|' || COALESCE(started_at, ''))",
    success_age="(julianday('now') - julianday(substr(success, 1, instr(success, '|') - 1))) * 86400.0",
    success_duration="(julianday(substr(success, 1, instr(success, '|') - 1))"
    " - julianday(substr(success, instr(success, '|') + 1))) * 86400.0",
    ids="group_concat(id)",
    as_it_is="LIMIT -1",
    find_table="SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name IN ('runs', 'job')"
    " ORDER BY name DESC LIMIT 1",
)
_NOW: Final = "(statement_timestamp() AT TIME ZONE 'UTC')"
# Neither Python nor a difference can hold an infinite time, nor one beyond these years.
_USABLE: Final = "CASE WHEN {0} BETWEEN timestamp '1000-01-01' AND timestamp '9999-12-31' THEN {0} END"
POSTGRESQL: Final = Dialect(
    age=f"extract(epoch FROM {_NOW} - ({_USABLE}))",
    usable=f"({_USABLE})",
    duration=f"extract(epoch FROM ({_USABLE.format('ended_at')}) - ({_USABLE.format('started_at')}))",
    has_value="{0} IS NOT NULL",
    matches_ephemeral="{0} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{6}}--.*--'",
    success=f"MAX(ARRAY[({_USABLE.format('ended_at')}), ({_USABLE.format('started_at')})])",
    success_age=f"extract(epoch FROM {_NOW} - success[1])",
    success_duration="extract(epoch FROM success[1] - success[2])",
    ids="string_agg(id::text, ',')",
    as_it_is="",
    find_table="SELECT coalesce(to_regclass('runs'), to_regclass('job'))::text",
)


class Statements:
    """The statements of one table; values are bound, and nothing in them comes from a row or the configuration."""

    def __init__(self, dialect: Dialect, *, table: str) -> None:
        name = "job_name" if table == "runs" else "job_id"
        ephemeral = dialect.matches_ephemeral.format(name)
        kind = f"CASE WHEN {ephemeral} THEN 'ephemeral' ELSE COALESCE({name}, 'none') END"
        started_age = dialect.age.format("started_at")
        is_recent = f"{started_age} BETWEEN -{AHEAD_SECONDS} AND :window_seconds"
        # An end that cannot be true must not stand before all others.
        is_over = f"{dialect.age.format('ended_at')} >= -{AHEAD_SECONDS}"
        # A sorter would hold the heartbeat itself, so its type is taken in a subquery that SQLite leaves as it is.
        rows = (
            f"SELECT id, {kind} AS kind, state, started_at, ended_at, {is_recent} AS is_recent,"
            f" {dialect.has_value.format('last_heartbeat_at')} AS has_heartbeat"
            f" FROM {table} WHERE {STATE} <> 'STATE_EDIT' {dialect.as_it_is}"
        )
        by_kind = (
            "SELECT kind, MAX(id) AS last_id, COUNT(*) FILTER (WHERE state = 'RUNNING') AS started,"
            f" {dialect.ids} FILTER (WHERE state = 'RUNNING') AS started_ids,"
            " COUNT(*) FILTER (WHERE id > :last_id) AS enqueued,"
            " COUNT(*) FILTER (WHERE is_recent) AS begun,"
            " COUNT(*) FILTER (WHERE is_recent AND has_heartbeat) AS initialised,"
            f" {dialect.success} FILTER (WHERE state = 'SUCCESS' AND {is_over}) AS success"
            f" FROM ({rows}) AS of_run GROUP BY kind"
        )
        self.scan = text(
            f"SELECT kind, last_id, started, started_ids, enqueued, begun, initialised,"
            f" {dialect.success_age} AS success_age, {dialect.success_duration} AS success_duration"
            f" FROM ({by_kind}) AS by_kind ORDER BY last_id DESC"
        )
        started = (
            f'SELECT id, {kind} AS kind, {name} AS state_id, run_id, "trigger",'
            f" {dialect.usable.format('started_at')} AS started_at,"
            f" {dialect.usable.format('last_heartbeat_at')} AS heartbeat_at,"
            f" {started_age} AS age, {dialect.age.format('last_heartbeat_at')} AS heartbeat_age"
            f" FROM {table} WHERE state = 'RUNNING'"
        )
        order = "ORDER BY started_at NULLS FIRST, id LIMIT :limit"
        self.started = by_ids(f"{started} AND id IN :ids {order}")
        self.oldest_started = text(f"{started} {order}")
        finished = f"SELECT {kind} AS kind, state, {dialect.duration} AS duration FROM {table} WHERE {FINISHED}"
        self.finished_since = text(f"{finished} AND id > :last_id")
        self.finished_of = by_ids(f"{finished} AND id IN :ids AND id <= :last_id")
