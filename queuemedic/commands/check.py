"""`queuemedic check`: read every queue once and print it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.texts import printable

from ..completing import complete_queue
from ..printing import (
    BAD,
    OF_WORKERS,
    make_console,
    make_list,
    make_table,
    name_jobs,
    paint,
    print_headline,
    show_span,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from exporter.views import AttemptView, HostView, QueueView

    from ..printing import Cell

STUCK, DATABASE_DOWN = 1, 3
TOP = 10
DEAD = "dead"
NOBODY_ASKED = ("not_configured", "not_asked", "no_worker", "heartbeat_only")


@click.command()
@click.option("--queue", "name", metavar="Q", shell_complete=complete_queue, help="Only this queue.")
@click.option("--by", "dimension", type=click.Choice(["site", "report", "host"]), help="Group the started jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def check(file: Path | None, name: str | None, dimension: str | None, as_json: bool) -> None:
    """Read every queue and ask every host once, and show what is waiting, started, stuck and orphaned.

    Exit code 0: nothing is stuck or orphaned; 1: something is; 3: a queue could not be read.

    \b
    Examples:
      cd /var/www/matomo && queuemedic check
      queuemedic --config queuemedic.yml check --queue analytics --by site
    """
    views, hosts = _read(file, name)
    if dimension:
        from exporter.showing import group_attempts

        views = [group_attempts(view, dimension) for view in views]
    if as_json:
        from exporter.views import QueuesView

        click.echo(QueuesView(queues=tuple(views), hosts=tuple(hosts)).write(indent=2))
    else:
        _print_all(views, hosts, dimension)
    if not all(view.up for view in views):
        raise click.exceptions.Exit(DATABASE_DOWN)
    if not all(map(_is_well, views)):
        raise click.exceptions.Exit(STUCK)


def _read(file: Path | None, name: str | None) -> tuple[list[QueueView], list[HostView]]:
    import logging

    from exporter.log import configure
    from exporter.showing import show_queue
    from healers.views import show_host, show_verdicts

    from ..app import App
    from ..progress import Progress
    from ..startup import load_config, only_queue

    configure(level=logging.ERROR)
    config = only_queue(load_config(file), name)
    app = App(config)
    if app.healing.is_needed:
        app.healing.take_up_sightings(app.healing.keeper.look)
    with Progress(app).shown():
        app.poll_once()
    app.close(within_seconds=0)
    views = [show_verdicts(show_queue(poller.status, poller.error), app.believe(poller.name)) for poller in app.pollers]
    return views, [show_host(asker.status, asker.silence, asker.doubt) for asker in app.askers]


def _print_all(views: Sequence[QueueView], hosts: Sequence[HostView], dimension: str | None) -> None:
    """Print every queue, and what is wrong with hosts; of many queues those that are well in one line each."""
    console = make_console()
    for view in views:
        if len(views) > TOP and _is_well(view):
            print_headline(console, _headline(view), is_good=True)
        else:
            _print_queue(console, view, dimension)
    for host in hosts:
        if not host.up:
            print_headline(console, f"host {host.host}: {host.reason}: {host.error or ''}", is_good=False)
    troubled = [view.queue for view in views if not _is_well(view)]
    if len(views) > TOP and troubled:
        more = f", … and {len(troubled) - TOP} more" if len(troubled) > TOP else ""
        names = ", ".join(troubled[:TOP]) + more
        print_headline(console, f"{len(troubled)} of {len(views)} queues: {names}", is_good=False)


def _is_well(view: QueueView) -> bool:
    return view.up and not view.stuck and not view.orphaned


def _print_queue(console: Console, view: QueueView, dimension: str | None) -> None:
    """Print one queue: what is wrong first, then the figures."""
    print_headline(console, _headline(view), is_good=_is_well(view))
    if view.error:
        console.print(f"  {printable(view.error)}", style=BAD, soft_wrap=True)
    if view.read_at is not None:
        if dimension:
            _print_groups(console, view, dimension)
        else:
            _print_jobs(console, view)
    console.print()


def _print_jobs(console: Console, view: QueueView) -> None:
    """Print the stuck jobs and where to look for their workers, or else the oldest started ones; then the rest."""
    from exporter.tracker import NO_HOST

    stuck = [attempt for attempt in view.attempts if attempt.stuck_reason or attempt.verdict == DEAD]
    stuck.sort(key=lambda attempt: attempt.verdict != DEAD)
    if stuck:
        console.print(_attempts(view, stuck[:TOP]))
        if len(stuck) > TOP:
            console.print(f"  … and {len(stuck) - TOP} more stuck {name_jobs(len(stuck) - TOP)}; --json shows them all")
        _print_where_to_look(console, stuck)
        console.print()
    _print_kinds(console, view)
    if any(load.started and load.host != NO_HOST for load in view.hosts):
        console.print()
        console.print(_hosts(view))
    if view.attempts and not stuck:
        console.print()
        console.print(_attempts(view, view.attempts[:TOP]))
        if (view.started or 0) > TOP:
            console.print(f"  … and {(view.started or 0) - TOP} more started jobs; --json shows all that were read")


def _print_where_to_look(console: Console, stuck: Sequence[AttemptView]) -> None:
    """Name the processes to look for, host by host, where no host could tell."""
    pids: dict[str, set[int]] = {}
    for attempt in stuck:
        if attempt.host is not None and attempt.pid is not None and attempt.verdict in (None, "unknown"):
            pids.setdefault(attempt.host, set()).add(attempt.pid)
    if pids:
        console.print("  Look whether their workers are still at work:")
    for host, found in list(pids.items())[:TOP]:
        shown = ",".join(str(pid) for pid in sorted(found)[:TOP])
        console.print(f"    on {printable(host)}: ps -o pid,lstart,args -p {shown}", soft_wrap=True)


def _print_groups(console: Console, view: QueueView, dimension: str) -> None:
    if not view.groups:
        console.print(f"  Nothing to group: no started job has a {dimension}.")
        return
    has_waiting = any(group.waiting is not None for group in view.groups)
    rows = (
        (
            group.name,
            *(("-" if group.waiting is None else str(group.waiting),) if has_waiting else ()),
            str(group.started),
            str(group.stuck),
            str(group.overdue),
            show_span(group.oldest_started_age_seconds),
        )
        for group in view.groups[:TOP]
    )
    columns = (dimension, *(("waiting",) if has_waiting else ()), "started", "stuck", "overdue", "oldest")
    console.print(make_table(columns, rows, numbers=len(columns) - 1))
    if len(view.groups) > TOP:
        console.print(f"  … and {len(view.groups) - TOP} more; --json shows them all")


def _headline(view: QueueView) -> str:
    name = f"{view.queue} ({view.system})"
    if not view.up:
        return f"{name}: could not be read"
    if view.orphaned and view.started:
        orphaned = f"{view.orphaned} of {view.started} started {name_jobs(view.started)} orphaned"
        return f"{name}: {orphaned}, {view.stuck} stuck, {view.waiting} waiting"
    if view.stuck and view.started:
        return f"{name}: {view.stuck} of {view.started} started {name_jobs(view.started)} stuck, {view.waiting} waiting"
    return f"{name}: nothing stuck; {view.started} started, {view.waiting} waiting"


def _print_kinds(console: Console, view: QueueView) -> None:
    """Print the kinds that have jobs in their order, or where there are many, those with the most."""
    busy = [kind for kind in view.kinds if kind.waiting or kind.started]
    if not busy:
        return
    if len(busy) > TOP:
        busy.sort(key=lambda kind: -(kind.waiting + kind.started))
    rows = (
        (kind.kind, str(kind.waiting), str(kind.started), show_span(kind.oldest_waiting_age_seconds))
        for kind in busy[:TOP]
    )
    console.print(make_table(("kind", "waiting", "started", "oldest waiting"), rows, numbers=3))
    if len(busy) > TOP:
        console.print(f"  … and {len(busy) - TOP} more kinds; --json shows them all")


def _hosts(view: QueueView) -> Table:
    rows = (
        (
            load.host,
            str(load.started),
            str(load.workers),
            str(load.max_jobs_per_worker),
            str(load.stuck),
            show_span(load.oldest_started_age_seconds),
        )
        for load in view.hosts
        if load.started
    )
    return make_table(("host", "started", "workers", "most per worker", "stuck", "oldest"), rows, numbers=5)


def _attempts(view: QueueView, attempts: Sequence[AttemptView]) -> Table:
    """List jobs, without the columns in which none of them has anything."""
    from exporter.showing import describe_rebuilt

    columns = ("job", "kind", "about", "host", "pid", "started", "worker", "stuck because")
    rows = [
        (
            attempt.job_id,
            attempt.kind,
            describe_rebuilt(attempt.detail),
            attempt.host or "",
            attempt.pid_text or "",
            "" if attempt.age_seconds is None else f"{show_span(attempt.age_seconds)} ago",
            _worker(attempt),
            _reason(attempt, view),
        )
        for attempt in attempts
    ]
    return make_list(columns, rows)


def _worker(attempt: AttemptView) -> Cell:
    """Say what is held of the worker, unless nobody could be asked."""
    if attempt.verdict is None or attempt.verdict_reason in NOBODY_ASKED:
        return ""
    return paint(f"{attempt.verdict} ({attempt.verdict_reason})", OF_WORKERS[attempt.verdict])


def _reason(attempt: AttemptView, view: QueueView) -> str:
    match attempt.stuck_reason:
        case "no_start_time":
            return "no start time"
        case "never_initialised":
            return "never had a heartbeat"
        case "heartbeat_lost":
            return f"no heartbeat for {show_span(attempt.heartbeat_age_seconds)}"
        case "over_age":
            return f"longer than {show_span(view.stuck_after_seconds)}"
    return ""
