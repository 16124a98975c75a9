"""`queuemedic history`: what was put back or refused, when, by whom and on what evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.texts import printable

from ..completing import complete_queue
from ..printing import make_console, make_list

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.views import HealView

SHOWN = 50
NOT_WHOLE = 3


@click.command()
@click.option("--queue", "queue", metavar="Q", shell_complete=complete_queue, help="Only this queue.")
@click.option("--since", metavar="T", help="A duration such as 24h, or an instant such as 2026-11-22T12:00:00+01:00.")
@click.option("--job", "job", metavar="ID", help="Only this job, with its original row and the evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--verify", "verifies", is_flag=True, help="Check that nobody has changed the journal.")
@click.pass_obj
def history(
    file: Path | None, queue: str | None, since: str | None, job: str | None, *, as_json: bool, verifies: bool
) -> None:
    """Show what was put back or refused, the newest last: when, by whom, and on what evidence.

    Exit code 3: the ledger cannot be read, or --verify finds that an entry was changed, put in or taken out.

    \b
    Examples:
      queuemedic history --since 24h
      queuemedic history --queue analytics --job 318
      queuemedic history --verify
    """
    import os

    from exporter.errors import NoLedger
    from exporter.jobs import JobId, QueueName
    from exporter.views import HealsView
    from healers.ledger import Ledger
    from healers.views import show_recorded

    from ..building import find_ledger
    from ..startup import load_config

    if verifies:
        if queue or since or job or as_json:
            raise click.UsageError("--verify: it looks at the whole journal; leave the others out")
        _verify(file)
        return
    begin = _read_since(since)
    views: list[HealView] = []
    try:
        ledger = Ledger.open_read_only(find_ledger(load_config(file), os.environ))
    except NoLedger as nothing:
        if not as_json:
            click.echo(str(nothing), err=True)
    else:
        found = ledger.journal.history(
            queue=QueueName(queue) if queue else None, since=begin, job=JobId(job) if job else None
        )
        views = [show_recorded(one) for one in found]
        ledger.close()
    if as_json:
        click.echo(HealsView(heals=tuple(views)).write(indent=2))
    elif views:
        _print(views, in_full=job is not None)
    else:
        click.echo("nothing was put back or refused")


def _verify(file: Path | None) -> None:
    import os

    from healers.ledger import Ledger

    from ..building import find_ledger
    from ..startup import load_config

    ledger = Ledger.open_read_only(find_ledger(load_config(file), os.environ))
    fault = ledger.journal.verify()
    ledger.close()
    if fault is not None:
        click.echo(printable(f"the journal is not whole: {fault}"))
        raise click.exceptions.Exit(NOT_WHOLE)
    click.echo("the journal is whole")


def _print(views: list[HealView], *, in_full: bool) -> None:
    console = make_console()
    rows = [
        (
            f"{one.at:%Y-%m-%d %H:%M:%SZ}" if one.at else "",
            one.queue,
            one.job_id,
            one.host or "",
            one.pid_text or "",
            one.result or "not known yet",
            one.refusal or one.verdict_reason or "",
            one.actor or "",
        )
        for one in views[-SHOWN:]
    ]
    console.print(make_list(("at", "queue", "job", "host", "pid", "result", "because", "by"), rows))
    if len(views) > SHOWN:
        console.print(f"  {len(views) - SHOWN} earlier ones are left out; --since and --job choose, --json shows all")
    if in_full:
        for one in views[-SHOWN:]:
            _print_evidence(one)


def _print_evidence(one: HealView) -> None:
    """Print what one entry rests on, and the row as it was."""
    click.echo(f"\n{one.at:%Y-%m-%d %H:%M:%SZ} {one.result}: {one.refusal or one.verdict_reason or ''}")
    parts: list[tuple[str, object]] = [
        ("detail", one.detail),
        ("instance", one.instance),
        ("first dead", one.first_dead_at),
    ]
    parts += [(name.replace("_", " "), value) for name, value in one.evidence.items()]
    parts += [(f"row: {name}", value) for name, value in (one.row or {}).items()]
    for name, value in parts:
        if value not in (None, ""):
            click.echo(f"  {printable(f'{name}: {value}')}")


def _read_since(text: str | None) -> datetime | None:
    from datetime import datetime

    from exporter import clock
    from exporter.options import read_duration

    if text is None:
        return None
    try:
        return clock.now() - read_duration(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        right = "write a duration such as 24h, or an instant with its zone such as 2026-11-22T12:00:00+01:00"
        raise click.UsageError(f"--since: {text!r} is neither; {right}")
    return at
