"""`queuemedic check`: read every queue once and print it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from exporter.views import AttemptView, QueueView

STUCK, DATABASE_DOWN, INTERRUPTED = 1, 3, 130
TOP = 10


@click.command()
@click.option("--queue", "name", metavar="Q", help="Only this queue.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def check(file: Path | None, name: str | None, as_json: bool) -> None:
    """Read every queue once and show what is waiting, started and stuck.

    Exit code 0: nothing is stuck; 1: something is; 3: a queue could not be read.

    \b
    Examples:
      cd /var/www/matomo && queuemedic check
      queuemedic --config queuemedic.yml check --queue analytics --json
    """
    views = _read(file, name)
    if as_json:
        from exporter.views import QueuesView

        click.echo(QueuesView(queues=tuple(views)).model_dump_json(indent=2))
    else:
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False)
        for view in views:
            _print_queue(console, view)
    if not all(view.up for view in views):
        raise click.exceptions.Exit(DATABASE_DOWN)
    if any(view.stuck for view in views):
        raise click.exceptions.Exit(STUCK)


def _read(file: Path | None, name: str | None) -> list[QueueView]:
    import logging
    from dataclasses import replace

    from exporter.errors import ConfigurationError
    from exporter.jobs import QueueName
    from exporter.log import configure
    from exporter.showing import show_queue

    from ..app import App
    from ..serving import exit_now
    from ..startup import load_config

    configure(level=logging.ERROR)
    config = load_config(file)
    if name is not None and name not in config.queues:
        known = ", ".join(config.queues)
        raise ConfigurationError(f"--queue: there is no queue {name!r}; the configuration has {known}")
    if name is not None:
        config = replace(config, queues={QueueName(name): config.queues[QueueName(name)]})
    app = App(config)
    try:
        app.poll_once()
    except KeyboardInterrupt:
        click.echo("Aborted!", err=True)
        exit_now(INTERRUPTED)
    app.close(within_seconds=0)
    return [show_queue(poller.status, poller.error) for poller in app.pollers]


def _print_queue(console: Console, view: QueueView) -> None:
    """Print one queue: what is wrong first, then the figures."""
    console.print(_headline(view), style="bold")
    if view.error:
        console.print(f"  {_printable(view.error)}", style="red", soft_wrap=True)
    if view.read_at is None:
        console.print()
        return
    console.print(_kinds(view))
    console.print()
    if view.attempts:
        console.print(_hosts(view))
        console.print()
        console.print(_attempts(view))
        if len(view.attempts) > TOP:
            console.print(f"  … and {(view.started or 0) - TOP} more started jobs; --json shows all that were read")
        console.print()


def _headline(view: QueueView) -> str:
    name = f"{view.queue} ({view.system})"
    if not view.up:
        return f"✗ {name}: could not be read"
    if view.stuck and view.started:
        return f"✗ {name}: {view.stuck} of {view.started} started {_jobs(view.started)} stuck, {view.waiting} waiting"
    return f"✓ {name}: nothing stuck; {view.started} started, {view.waiting} waiting"


def _jobs(number: int) -> str:
    return "job" if number == 1 else "jobs"


def _kinds(view: QueueView) -> Table:
    rows = (
        (kind.kind, str(kind.waiting), str(kind.started), _span(kind.oldest_waiting_age_seconds))
        for kind in view.kinds
        if kind.waiting or kind.started
    )
    return _table(("kind", "waiting", "started", "oldest waiting"), rows, numbers=3)


def _hosts(view: QueueView) -> Table:
    rows = (
        (
            load.host,
            str(load.started),
            str(load.workers),
            str(load.max_jobs_per_worker),
            str(load.stuck),
            _span(load.oldest_started_age_seconds),
        )
        for load in view.hosts
        if load.started
    )
    return _table(("host", "started", "workers", "most per worker", "stuck", "oldest"), rows, numbers=5)


def _attempts(view: QueueView) -> Table:
    stuck_first = sorted(view.attempts, key=lambda attempt: attempt.stuck_reason is None)
    rows = (
        (
            attempt.job_id,
            attempt.kind,
            _about(attempt),
            attempt.host or "-",
            attempt.pid_text or "-",
            _span(attempt.age_seconds),
            (attempt.stuck_reason or "-").replace("_", " "),
        )
        for attempt in stuck_first[:TOP]
    )
    return _table(("job", "kind", "about", "host", "pid", "started for", "stuck"), rows)


def _about(attempt: AttemptView) -> str:
    """Say what a Matomo job rebuilds; other systems have nothing to say."""
    detail = attempt.detail
    if "site" not in detail:
        return "-"
    segment = f"segment {str(detail['segment'])[:8]}…" if detail["segment"] else ""
    words = [f"site {detail['site']}", detail["date1"], segment, detail["plugin"], detail["report"]]
    return " ".join(str(word) for word in words if word)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False, header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if 0 < index <= numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_printable, row))
    return table


def _printable(text: str) -> str:
    """Show control characters as codes: what a row holds must not steer a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _span(seconds: float | None) -> str:
    """Show a duration by its two largest units."""
    if seconds is None:
        return "-"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        if number or parts or unit == "s":
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
