"""Put together what the pages show, from views; pure but for asking the source.

However many queues there are, the page is bounded. A few are all shown in full, those in trouble first; of many only
those that are not well, as far as they fit: the others are a wall of names, each with what waits, and then a number.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.showing import Glance
from exporter.views import AttemptView, PauseView, QueueView

from .plots import Plot, count_ended, plot_backlog, plot_throughput, rate
from .remarks import Level, Remark, remark, worst
from .rows import HealRow, HostRow, JobRow, make_heals, make_hosts, make_job, rank_job, show_signal
from .source import LookBack, Source
from .words import MODES, count, show_rate, show_span

ROWS: Final = 40
WALL: Final = 2000
JOBS, JOBS_OF_ONE, HOSTS, HEALS = 25, 200, 40, 12
HOUR: Final = 3600.0
LATE_SECONDS: Final = 60.0
SMALL, LARGE = 60, 144


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One queue, as the page shows it; `ended` and `came` are of the last hour.

    `read` says how long ago it was read, and `is_late` that this is longer than people expect.
    """

    view: Glance
    level: Level
    remarks: tuple[Remark, ...]
    read: str
    is_late: bool
    oldest: str
    ended: str
    came: str
    backlog: Plot | None
    throughput: Plot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brick:
    """One queue of the wall."""

    queue: str
    level: Level
    waiting: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All queues."""

    now: datetime
    level: Level
    headline: str
    counts: str
    rows: tuple[QueueRow, ...]
    wall: tuple[Brick, ...]
    left_out: int
    jobs: tuple[JobRow, ...]
    started: int
    unread: int
    hosts: tuple[HostRow, ...]
    hosts_left_out: int
    heals: tuple[HealRow, ...]
    pause: PauseView | None
    look_back: LookBack


@dataclass(frozen=True, slots=True, kw_only=True)
class One:
    """One queue in full."""

    now: datetime
    view: QueueView
    row: QueueRow
    mode: str
    jobs: tuple[JobRow, ...]
    hosts: tuple[HostRow, ...]
    heals: tuple[HealRow, ...]
    signals: tuple[tuple[str, str], ...]
    look_back: LookBack


def make_fleet(source: Source, *, now: datetime) -> Fleet:
    """Put together the page of all queues."""
    views, seconds, back = source.glances(), source.seconds(), source.look_back()
    judged = [(view, _remark(view, source, seconds=seconds, now=now, back=back)) for view in views]
    judged.sort(key=lambda pair: worst(pair[1]))
    whole = sum(len(judged) <= ROWS or worst(remarks) < Level.GOOD for _, remarks in judged[:ROWS])
    rows = tuple(_make_row(view, remarks, source, seconds=seconds, now=now) for view, remarks in judged[:whole])
    rest = judged[whole : whole + WALL]
    levels = Counter(worst(remarks) for _, remarks in judged)
    hosts = make_hosts(source.list_hosts(), views)
    return Fleet(
        now=now,
        level=min(levels, default=Level.WARN),
        headline=_headline(levels, views),
        counts=_counts(levels, silent=sum(row.is_asked and row.level is Level.BAD for row in hosts)),
        rows=rows,
        wall=tuple(Brick(queue=view.queue, level=worst(remarks), waiting=view.waiting) for view, remarks in rest),
        left_out=max(0, len(judged) - whole - WALL),
        jobs=tuple(_worst_jobs([view for view, _ in judged], source, now=now)),
        started=sum(view.started or 0 for view in views),
        unread=sum(view.started is None for view in views),
        hosts=tuple(hosts[:HOSTS]),
        hosts_left_out=max(0, len(hosts) - HOSTS),
        heals=make_heals(back.heals, now=now, most=HEALS),
        pause=next((pause for pause in back.pauses if pause.queue is None), None),
        look_back=back,
    )


def make_one(source: Source, queue: str, *, now: datetime) -> One | None:
    """Put together the page of one queue; None where there is none of that name."""
    view, seen = source.show_queue(queue), source.glance(queue)
    if view is None or seen is None:
        return None
    seconds, back = source.seconds(), source.look_back()
    remarks = _remark(seen, source, seconds=seconds, now=now, back=back)
    names = {name for name, load in seen.hosts.items() if load.started}
    hosts = make_hosts([host for host in source.list_hosts() if host.host in names], [seen])
    heals = [one for one in back.heals if one.queue == queue]
    return One(
        now=now,
        view=view,
        row=_make_row(seen, remarks, source, seconds=seconds, now=now, columns=LARGE),
        mode=MODES.get(view.healing.mode if view.healing else "disabled", ""),
        jobs=tuple(
            make_job(one, read_seconds=_since_read(seen, now))
            for one in sorted(view.attempts, key=rank_job)[:JOBS_OF_ONE]
        ),
        hosts=tuple(hosts[:HOSTS]),
        heals=make_heals(heals, now=now, most=HEALS),
        signals=tuple(show_signal(name, value, now=now) for name, value in view.signals.items()),
        look_back=back,
    )


def _remark(view: Glance, source: Source, *, seconds: float, now: datetime, back: LookBack) -> tuple[Remark, ...]:
    pause = next((pause for pause in back.pauses if pause.queue == view.queue), None)
    return remark(view, now=now, pause=pause, ended_lately=lambda: count_ended(source.points(view.queue), now=seconds))


def _make_row(
    view: Glance,
    remarks: tuple[Remark, ...],
    source: Source,
    *,
    seconds: float,
    now: datetime,
    columns: int = SMALL,
) -> QueueRow:
    points = source.points(view.queue)
    rates = rate(points, now=seconds, seconds=HOUR)
    return QueueRow(
        view=view,
        level=worst(remarks),
        remarks=remarks,
        read=show_span(_since_read(view, now)) if view.read_at else "",
        is_late=view.up and _since_read(view, now) > LATE_SECONDS,
        oldest=show_span(view.oldest_waiting_age_seconds),
        ended=show_rate(rates[0]) if rates else "–",
        came=show_rate(rates[1]) if rates else "–",
        backlog=plot_backlog(points, now=seconds, columns=columns),
        throughput=plot_throughput(points, now=seconds, columns=columns),
    )


def _since_read(view: Glance, now: datetime) -> float:
    return max(0.0, (now - view.read_at).total_seconds()) if view.read_at else 0.0


def _worst_jobs(views: Sequence[Glance], source: Source, *, now: datetime) -> list[JobRow]:
    """Make the rows of the started jobs to show: of the queues in the order of the page, until there are enough."""
    found: list[AttemptView] = []
    read_seconds = {view.queue: _since_read(view, now) for view in views}
    for view in views:
        if len(found) >= JOBS:
            break
        if view.started:
            found += source.worst_attempts(view.queue, JOBS)
    found.sort(key=rank_job)
    return [make_job(one, read_seconds=read_seconds.get(one.queue, 0.0)) for one in found[:JOBS]]


def _headline(levels: Counter[Level], views: Sequence[object]) -> str:
    whole = len(views)
    if not whole:
        return "No queue is configured"
    if bad := levels[Level.BAD]:
        which = "The queue" if whole == 1 else f"{bad} of {count(whole, 'queue')}" if bad < whole else "All queues"
        return f"{which} {'needs' if bad == 1 else 'need'} a person"
    if look := levels[Level.WARN]:
        which = "The queue is" if whole == 1 else f"{look} of {count(whole, 'queue')} {'is' if look == 1 else 'are'}"
        return f"{which} worth a look"
    return "The queue is well" if whole == 1 else f"All {whole:,} queues are well"


def _counts(levels: Counter[Level], *, silent: int) -> str:
    words = {Level.BAD: "in trouble", Level.WARN: "worth a look", Level.GOOD: "well"}
    counted = ", ".join(f"{levels[level]:,} {text}" for level, text in words.items() if levels[level])
    hosts = f"{count(silent, 'host')} cannot be asked" if silent else ""
    return " · ".join(part for part in (counted if len(levels) > 1 else "", hosts) if part)
