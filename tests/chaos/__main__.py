"""`python -m tests.chaos`: make every fault at random, and see that no promise breaks; exit code 1 if one does."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click

from tests.lab import run

from .ground import LEDGERS, TARGETS
from .play import Outcome, play
from .reduce import reduce
from .report import show
from .schedule import Fault, make_schedule

Play = Callable[[Sequence[Fault]], Outcome]


@click.command()
@click.option("--seed", default=1, show_default=True, help="What a schedule is drawn from; each run takes the next.")
@click.option("--seconds", default=60.0, show_default=True, help="How long faults are made, in all runs together.")
@click.option("--each", default=60.0, show_default=True, help="How long faults are made in one run.")
@click.option("--ledger", type=click.Choice(LEDGERS), help="Where the ledger is; by default by the seed.")
@click.option("--reductions", default=12, show_default=True, help="How many shorter schedules are tried on a failure.")
@click.option("--minutes", default=20.0, show_default=True, help="How long shorter schedules are looked for.")
@click.option("--verbose", is_flag=True, help="Say each fault as it begins.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for what workers and watchdogs wrote.")
def main(
    *,
    seed: int,
    seconds: float,
    each: float,
    ledger: str | None,
    reductions: int,
    minutes: float,
    verbose: bool,
    keep: Path | None,
) -> None:
    """Make faults, judge, and on a failure look for the shortest schedule that fails."""
    say = partial(click.echo, err=True) if verbose else _say_nothing
    failed = False
    lab = run.begin()
    try:
        while seconds > 0:
            spell = min(each, seconds)
            keeps = ledger or LEDGERS[seed % len(LEDGERS)]
            click.echo(f"the ledger is on {keeps}", err=True)
            play_some = partial(play, seed=seed, seconds=spell, keeps=keeps, say=say)
            outcome = play_some(make_schedule(seed, seconds=spell, targets=TARGETS), keep=keep)
            click.echo(show(outcome))
            if outcome.broken:
                failed = True
                _shorten(outcome, play_some, reductions=reductions, seconds=minutes * 60)
            seconds, seed = seconds - spell, seed + 1
    finally:
        run.kill_left(lab)
        run.end(lab)
    sys.exit(1 if failed else 0)


def _shorten(outcome: Outcome, play_some: Play, *, reductions: int, seconds: float) -> None:
    """Print the shortest schedule found that breaks one of the promises that were broken."""
    broken = {finding.check for finding in outcome.broken}
    ends = time.monotonic() + seconds
    tried = 0

    def fails(faults: Sequence[Fault]) -> bool:
        nonlocal tried
        tried += 1
        found = {finding.check for finding in play_some(faults).broken}
        click.echo(f"{len(faults)} faults: {', '.join(sorted(found & broken)) or 'nothing of that'}", err=True)
        return bool(found & broken)

    left = reduce(outcome.faults, fails, may_go_on=lambda: tried < reductions and time.monotonic() < ends)
    click.echo(f"\nthe shortest schedule that failed, of {tried} tried, has {len(left)} faults:")
    for fault in left:
        click.echo(str(fault))


def _say_nothing(_: str) -> None:
    """Be silent."""


if __name__ == "__main__":
    main()
