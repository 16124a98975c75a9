"""`queuemedic heal`: show what would be put back and why not, and put it back when a person asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.texts import printable

from ..completing import complete_host, complete_queue
from ..printing import (
    BAD,
    GOOD,
    OF_WORKERS,
    WARNING,
    make_console,
    make_list,
    name_jobs,
    paint,
    print_headline,
    show_span,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date, datetime

    from rich.console import Console

    from exporter.views import HealView
    from healers.filters import Filter
    from healers.situation import Person

    from ..by_hand import Came
    from ..printing import Cell

PLANNED, MISCONFIGURED, FAILED, REFUSED = 1, 2, 3, 4
WORST_FIRST = (MISCONFIGURED, FAILED, REFUSED, PLANNED)
SHOWN = 20
WORDS = {"planned": "to put back", "reset": "put back", "lost_race": "changed meanwhile", "gone": "done meanwhile"}
OF_RESULTS = {"reset": GOOD, "failed": BAD, "unknown": BAD}
NARROWING = "one of --queue, --host, --job, --site, --kind, --started-before, --started-after and --date-range"


@click.command()
@click.option("--queue", "queue", metavar="Q", shell_complete=complete_queue, help="Only this queue.")
@click.option(
    "--host",
    "hosts",
    metavar="H",
    multiple=True,
    shell_complete=complete_host,
    help="Only jobs whose row records this host.",
)
@click.option("--job", "jobs", metavar="ID", multiple=True, help="Only this job; lifts its quarantine.")
@click.option("--site", "sites", metavar="N", multiple=True, help="Only this site (Matomo).")
@click.option("--kind", "kinds", metavar="K", multiple=True, help="Only this kind.")
@click.option("--started-before", metavar="T", help="Only attempts before then, such as 2026-11-22T12:00:00+01:00.")
@click.option("--started-after", metavar="T", help="Only attempts from then on.")
@click.option("--date-range", metavar="A,B", help="Only jobs about these days, such as 2026-11-01,2026-11-30 (Matomo).")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Put back at most so many.")
@click.option("--accept-unknown", is_flag=True, help="Vouch that workers nobody can judge are gone; needs a filter.")
@click.option("--apply", "applies", is_flag=True, help="Put them back, after asking.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def heal(  # noqa: PLR0913  one for each option
    file: Path | None,
    *,
    queue: str | None,
    hosts: tuple[str, ...],
    jobs: tuple[str, ...],
    sites: tuple[str, ...],
    kinds: tuple[str, ...],
    started_before: str | None,
    started_after: str | None,
    date_range: str | None,
    limit: int | None,
    accept_unknown: bool,
    applies: bool,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Show which jobs would be put back, and why the others are not; with --apply, put them back.

    Whatever the queue's healing.mode, windows and hourly limit say: a person asks. Nothing alive is ever put back.

    Exit code 0: all is done, or there is nothing to do; 1: there is, and --apply was not given; 2: a queue cannot be
    written to as it is configured; 3: a database or a reset failed; 4: all was refused. Of several the first of 2, 3,
    4 and 1.

    \b
    Examples:
      queuemedic heal --queue analytics
      queuemedic heal --queue analytics --host web02 --apply
      queuemedic heal --started-before 2026-11-22T00:00Z --accept-unknown
    """
    from exporter import clock
    from exporter.jobs import JobId, Kind, QueueName
    from healers.filters import Filter
    from healers.situation import Person

    try:
        wanted = Filter(
            queues=frozenset([QueueName(queue)]) if queue else None,
            hosts=frozenset(hosts) or None,
            jobs=frozenset(map(JobId, jobs)) or None,
            sites=frozenset(sites) or None,
            kinds=frozenset(map(Kind, kinds)) or None,
            started_before=_read_instant("--started-before", started_before),
            started_after=_read_instant("--started-after", started_after),
            dates=_read_dates(date_range),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if accept_unknown and not wanted.is_given:
        raise click.UsageError(f"--accept-unknown: say which jobs you vouch for, by {NARROWING}")
    if is_sure and not applies:
        raise click.UsageError("--yes: it says yes to --apply, which is not given")
    if applies and as_json and not is_sure:
        raise click.UsageError("--json: a program cannot be asked; add --yes to --apply")
    person = Person(
        commanded_at=clock.now(),
        is_applied=applies,
        limit=limit,
        jobs=frozenset(map(JobId, jobs)),
        accepts_unknown=accept_unknown,
    )
    raise click.exceptions.Exit(_heal(file, queue, person, wanted, is_sure=is_sure, as_json=as_json))


def _heal(file: Path | None, queue: str | None, person: Person, wanted: Filter, *, is_sure: bool, as_json: bool) -> int:
    """Look, and act if that was asked for; the exit code."""
    import logging

    from exporter.log import configure

    from ..app import App
    from ..by_hand import ByHand
    from ..progress import Progress
    from ..startup import load_config, only_queue

    configure(level=logging.CRITICAL)
    app = App(only_queue(load_config(file), queue))
    progress = Progress(app)
    by_hand = ByHand(app, person, wanted, wait=progress.wait)
    with progress.shown():
        came = by_hand.look()
    planned = by_hand.planned
    acts = person.is_applied and planned > 0
    if not as_json and not (acts and is_sure):
        _print_all(came)
    if acts:
        if not is_sure:
            click.confirm(f"Put {planned} {name_jobs(planned)} back?", abort=True, err=True)
        with progress.shown(f"putting {planned} {name_jobs(planned)} back"):
            came = by_hand.act()
        if not as_json:
            _print_all(came)
    if as_json:
        from exporter.views import HealsView

        click.echo(HealsView(heals=tuple(_views(came))).write(indent=2))
        for one in came:
            for line in (*_faults(one), *_meanwhile(one)):
                click.echo(printable(f"{one.queue}: {line}"), err=True)
    app.close(within_seconds=0)
    return _exit_code(came, list(_views(came)))


def _exit_code(came: Iterable[Came], heals: Sequence[HealView]) -> int:
    results = [one.result for one in heals]
    codes = {one.exit_code for one in came}
    if any(one.made and one.made.fault for one in came) or any(result in ("failed", "unknown") for result in results):
        codes.add(FAILED)
    if results and all(result == "refused" for result in results):
        codes.add(REFUSED)
    if "planned" in results:
        codes.add(PLANNED)
    return next((code for code in WORST_FIRST if code in codes), 0)


def _views(came: Iterable[Came]) -> list[HealView]:
    from exporter import clock
    from healers.views import show_pass

    now = clock.now()
    return [
        view
        for one in came
        if one.made is not None
        for view in show_pass(one.made.plan, one.made.concluded, one.made.candidates, now=now)
    ]


def _print_all(came: Iterable[Came]) -> None:
    console = make_console()
    for one in came:
        if one.made is None:
            print_headline(console, f"{one.queue}: could not be read", is_good=False)
        else:
            _print_queue(console, one.queue, _views([one]))
        for line in _meanwhile(one):
            console.print(f"  {line}")
        for line in _faults(one):
            console.print(f"  {printable(line)}", style=BAD, soft_wrap=True)
        console.print()


def _faults(one: Came) -> Iterator[str]:
    """Say what kept a queue from being read or healed, or a pass from going on."""
    if one.error:
        yield one.error
    if one.made is not None and one.made.fault:
        yield one.made.fault


def _meanwhile(one: Came) -> Iterator[str]:
    """Say what had changed since the plan was shown."""
    if one.moved_on:
        yield f"{one.moved_on} moved on meanwhile"
    if one.alive:
        yield f"{one.alive} turned out to be alive"


def _print_queue(console: Console, queue: str, heals: Sequence[HealView]) -> None:
    """Print what was, or would be, put back, and then every refusal with its reason."""
    from collections import Counter

    counts = Counter(one.result or "" for one in heals)
    summary = ", ".join(f"{number} {WORDS.get(result, result)}" for result, number in counts.items())
    console.print(f"{queue}: {summary or 'no job to put back'}", style="bold", soft_wrap=True)
    moved = [one for one in heals if one.result != "refused"]
    refused = [one for one in heals if one.result == "refused"]
    if moved:
        done = [(*_about(one), _result(one.result or ""), _worker(one), one.detail) for one in moved[:SHOWN]]
        console.print(make_list(("job", "kind", "host", "pid", "started", "result", "worker", "detail"), done))
        if any(one.result == "planned" for one in moved):
            console.print("  Nothing was changed yet: --apply puts back what still stands so, after asking.")
    if refused:
        left = [(*_about(one), paint(one.refusal or "", WARNING), one.detail) for one in refused[:SHOWN]]
        console.print()
        console.print(make_list(("job", "kind", "host", "pid", "started", "refused", "because"), left))
    for part in (moved, refused):
        if len(part) > SHOWN:
            console.print(f"  … and {len(part) - SHOWN} more; --json shows them all")
    if any(one.refusal == "unknown" and one.verdict == "unknown" for one in refused):
        console.print("  Nobody can judge these. If you know that a worker is gone: --accept-unknown")


def _result(result: str) -> Cell:
    return paint(WORDS.get(result, result), OF_RESULTS.get(result, ""))


def _worker(one: HealView) -> Cell:
    if one.verdict is None:
        return one.verdict_reason or ""
    return paint(f"{one.verdict} ({one.verdict_reason})", OF_WORKERS[one.verdict])


def _about(one: HealView) -> tuple[str, str, str, str, str]:
    age = "" if one.age_seconds is None else f"{show_span(one.age_seconds)} ago"
    return one.job_id, one.kind, one.host or "", one.pid_text or "", age


def _read_instant(option: str, text: str | None) -> datetime | None:
    from datetime import datetime

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{option}: {text!r} is no instant; write one such as 2026-11-22T12:00:00+01:00") from None


def _read_dates(text: str | None) -> tuple[date, date] | None:
    from datetime import date

    if text is None:
        return None
    try:
        first, last = (date.fromisoformat(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--date-range: {text!r} are not two days; write the first and the last, such as 2026-11-01,2026-11-30"
        ) from None
    return first, last
