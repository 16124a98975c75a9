"""Make the rows of the status page's tables from views: jobs, hosts, heals; pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2s
from itertools import islice
from types import MappingProxyType
from typing import Final

from exporter.showing import Glance, describe_rebuilt
from exporter.views import AttemptView, HealView, HostView

from .remarks import Level, remark_host
from .words import REFUSALS, RESULTS, STUCK, VERDICTS, show_bytes, show_number, show_span, show_time

MARKS: Final[Mapping[str | None, Level]] = MappingProxyType(
    {"alive": Level.GOOD, "dead": Level.BAD, "unknown": Level.PLAIN}
)
NOBODY: Final[Mapping[str, str]] = MappingProxyType({"none": "no host recorded", "other": "other hosts"})
FOR_THE_MOMENT: Final = ("unconfirmed", "too_young")
"""Refusals that every job meets on its way back."""
REASON: Final = re.compile(r" ?\((\w+)\)$")
"""What ends a refusal's detail where it rests on a verdict: the reason's name."""
UNLOAD: Final = ("load_average", "processors")
"""Evidence that says nothing about one worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One started job. `anchor` is the same at each refresh, and is safe as an id."""

    view: AttemptView
    anchor: str
    level: Level
    about: str
    age: str
    stuck: str
    verdict: str
    evidence: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """One host: what it says of itself, and what the rows of all queues say of it. `load_ratio` is by processor.

    What is counted is None where there is nothing to count, and a queue was never read.
    """

    name: str
    is_asked: bool
    level: Level
    said: str
    load: str
    load_ratio: float | None
    memory: str
    started: int | None
    workers: int | None
    stuck: int | None
    oldest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealRow:
    """One entry of the journal."""

    view: HealView
    level: Level
    at: str
    result: str
    because: str
    detail: str


def make_job(view: AttemptView, *, read_seconds: float = 0.0) -> JobRow:
    """Make the row of a started job that was read so many seconds ago, and has become older since."""
    identity = "\0".join((view.queue, view.job_id, view.host or "", view.pid_text or ""))
    level = MARKS.get(view.verdict, Level.PLAIN)
    if view.stuck_reason and level is not Level.BAD:
        level = Level.WARN if view.verdict == "alive" else Level.BAD
    reason = VERDICTS.get(view.verdict_reason or "", view.verdict_reason or "")
    return JobRow(
        view=view,
        anchor=f"job-{blake2s(identity.encode(errors='surrogatepass'), digest_size=6).hexdigest()}",
        level=level,
        about=_about(view),
        age=show_span(None if view.age_seconds is None else view.age_seconds + read_seconds),
        stuck=_stuck(view),
        verdict=f"{view.verdict}: {reason}" if view.verdict else "nobody asks",
        evidence=tuple(
            (name.replace("_", " "), str(value))
            for name, value in view.evidence.items()
            if value not in (None, "") and name not in UNLOAD
        ),
    )


def rank_job(view: AttemptView) -> tuple[int, int, float]:
    """Return the place of a job among others: the dead first, then what is stuck, then the oldest."""
    return view.verdict != "dead", view.stuck_reason is None, -(view.age_seconds or 0)


def _stuck(view: AttemptView) -> str:
    if view.stuck_reason == "heartbeat_lost" and view.heartbeat_age_seconds is not None:
        return f"no heartbeat for {show_span(view.heartbeat_age_seconds)}"
    words = STUCK.get(view.stuck_reason or "", view.stuck_reason or "")
    return words or ("is overdue" if view.is_overdue else "")


def _about(view: AttemptView) -> str:
    """Say what the system says of a job; of Matomo's, what it rebuilds."""
    detail = view.detail
    if "site" in detail:
        return describe_rebuilt(detail)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in detail.items() if value not in (None, ""))


@dataclass(slots=True)
class _Load:
    """What the rows of all queues say of one host."""

    started: int = 0
    workers: int = 0
    stuck: int = 0
    oldest: timedelta = timedelta(0)


def make_hosts(asked: Iterable[HostView], queues: Iterable[Glance]) -> list[HostRow]:
    """Make the rows of hosts: those in trouble first, then those that are asked, then those that are only recorded."""
    loads: defaultdict[str, _Load] = defaultdict(_Load)
    is_all_read = True
    for queue in queues:
        is_all_read &= queue.started is not None
        for host, found in queue.hosts.items():
            if found.started:
                load = loads[host]
                load.started += found.started
                load.workers += found.workers
                if queue.stuck:
                    load.stuck += sum(found.stuck.values())
                if found.oldest_age is not None and found.oldest_age > load.oldest:
                    load.oldest = found.oldest_age
    nothing = _Load() if is_all_read else None
    rows = [_make_host(view.host, view, loads.pop(view.host, nothing)) for view in asked]
    rows += [_make_host(name, None, load) for name, load in loads.items()]
    rows.sort(key=lambda row: (row.level is not Level.BAD, not row.is_asked, row.level))
    return rows


def _make_host(name: str, view: HostView | None, load: _Load | None) -> HostRow:
    ratio = view.load_average / view.processors if view and view.load_average is not None and view.processors else None
    if view is None:
        is_a_host = name not in NOBODY
        level, said = Level.PLAIN, "is not asked" if is_a_host else ""
    else:
        level, said = Level.GOOD if view.up else Level.BAD if view.reason else Level.WARN, remark_host(view)
    memory = ""
    if view and view.worker_memory_bytes:
        limit = view.worker_memory_limit_bytes
        memory = show_bytes(view.worker_memory_bytes) + (f" of {show_bytes(limit)}" if limit else "")
    return HostRow(
        name=NOBODY.get(name, name) if view is None else name,
        is_asked=view is not None,
        level=level,
        said=said,
        load=f"{view.load_average:.2f}" if view and view.load_average is not None else "",
        load_ratio=ratio,
        memory=memory,
        started=load.started if load else None,
        workers=load.workers if load else None,
        stuck=load.stuck if load else None,
        oldest=show_span((load.oldest.total_seconds() if load else 0) or None),
    )


def make_heals(views: Sequence[HealView], *, now: datetime, most: int) -> tuple[HealRow, ...]:
    """Make the rows of what was put back or refused, the newest first; not of what was left alone for the moment."""
    told = (view for view in reversed(views) if view.refusal not in FOR_THE_MOMENT)
    return tuple(_make_heal(view, now=now) for view in islice(told, most))


def _make_heal(view: HealView, *, now: datetime) -> HealRow:
    because = view.refusal or view.verdict_reason or ""
    words = REFUSALS.get(because) if view.refusal else VERDICTS.get(because)
    level = {"reset": Level.GOOD, "failed": Level.BAD}.get(view.result or "", Level.PLAIN)
    return HealRow(
        view=view,
        level=level,
        at=show_time(view.at, now=now) if view.at else "",
        result=RESULTS.get(view.result or "unknown", view.result or ""),
        because=words or because,
        detail=_in_words(view.detail),
    )


def _in_words(detail: str) -> str:
    found = REASON.search(detail)
    words = VERDICTS.get(found[1]) if found else None
    return f"{detail[: found.start()]}: {words}" if found and words else detail


def show_signal(name: str, value: float, *, now: datetime) -> tuple[str, str]:
    """Show what a system says of itself, such as when Matomo last archived."""
    words = name.removeprefix("matomo_").removeprefix("meltano_")
    if words.endswith("_timestamp_seconds"):
        words = words.removesuffix("_timestamp_seconds")
        return words.replace("_", " "), f"{show_span(now.timestamp() - value)} ago" if value else "never"
    if words.endswith("_bytes"):
        return words.removesuffix("_bytes").replace("_", " "), show_bytes(value)
    return words.replace("_", " "), show_number(value)
