"""Turn rows of `archive_invalidations` into jobs; everything a row holds may be nonsense."""

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from exporter.jobs import Attempt, AttemptKey, Claim, JobId, Kind, QueueName, Signal, State, Waiting, read_pid

from ..ages import read_age, read_local_age
from .names import KINDS, OTHER_KIND, read_kind, read_subject

STATES: Mapping[object, State] = MappingProxyType({0: State.WAITING, 1: State.STARTED})
SIGNALS = frozenset(
    {
        "matomo_archiving_started_timestamp_seconds",
        "matomo_archiving_completed_timestamp_seconds",
        "matomo_last_invalidation_timestamp_seconds",
        "matomo_sites_left",
        "matomo_rearchive_list_bytes",
        "matomo_pending_invalidations",
    }
)


def read_signals(rows: Iterable[Row[Any]]) -> list[Signal]:
    """Read the view of options: known names only, each once, and numbers only; a date of nothing is none."""
    signals: dict[str, Signal] = {}
    for row in rows:
        name, value = str(row.name), _number(row.value)
        if (
            name in SIGNALS
            and name not in signals
            and (value or (value == 0 and not name.endswith("_timestamp_seconds")))
        ):
            signals[name] = Signal(name=name, value=value)
    return list(signals.values())


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_waiting(
    groups: Iterable[tuple[object, int, float | None]], enqueued: Mapping[Kind, int]
) -> tuple[Waiting, ...]:
    """Make one `Waiting` for each of Matomo's kinds, and one for `other` where such rows are.

    `groups`: (period, jobs, seconds since the oldest was invalidated).
    """
    jobs = dict.fromkeys(KINDS, 0)
    ages: dict[Kind, timedelta] = {}
    for period, number, seconds in groups:
        kind, age = read_kind(period), read_age(seconds)
        jobs[kind] = jobs.get(kind, 0) + number
        if age is not None:
            ages[kind] = max(age, ages.get(kind, age))
    kinds = (*KINDS, *({OTHER_KIND} & (jobs.keys() | enqueued.keys())))
    return tuple(
        Waiting(kind=kind, jobs=jobs.get(kind, 0), enqueued=enqueued.get(kind, 0), oldest_age=ages.get(kind))
        for kind in kinds
    )


def count_by_kind(rows: Iterable[tuple[object, int]]) -> dict[Kind, int]:
    """Add up (period, number) by kind."""
    counts: dict[Kind, int] = {}
    for period, number in rows:
        kind = read_kind(period)
        counts[kind] = counts.get(kind, 0) + number
    return counts


def read_attempt(queue: QueueName, row: Row[Any]) -> Attempt:
    """Read one started row."""
    subject = read_subject(row.name, row.report)
    key = AttemptKey(
        queue=queue,
        job_id=JobId(str(row.idinvalidation)),
        started=row.ts_started,
        host=row.processing_host,
        pid_text=row.process_id,
    )
    dates = str(row.date1), str(row.date2)
    return Attempt(
        key=key,
        job_id=key.job_id,
        natural_key=(row.name or "", str(row.idsite), *dates, str(row.period), subject.report),
        kind=read_kind(row.period),
        host=key.host,
        pid=read_pid(key.pid_text),
        pid_text=key.pid_text,
        has_start_time=row.ts_started is not None,
        age=read_local_age(row.started_age, is_repeated=bool(row.is_repeated)),
        enqueued_age=read_age(row.enqueued_age),
        heartbeat_age=None,
        detail=MappingProxyType(
            {
                "site": row.idsite,
                "date1": dates[0],
                "date2": dates[1],
                "period": row.period,
                "scope": subject.scope,
                "segment": subject.segment or None,
                "plugin": subject.plugin or None,
                "report": subject.report or None,
            }
        ),
        claim=Claim(key=key),
    )
