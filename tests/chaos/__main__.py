"""`python -m tests.chaos`: make every fault at random, and see that no promise breaks; exit code 1 if one does."""

import sys
from functools import partial
from pathlib import Path

import click

from tests.lab import run

from .ground import TARGETS
from .play import play
from .report import show
from .schedule import make_schedule


@click.command()
@click.option(
    "--seed", default=1, show_default=True, help="What the schedule is drawn from; the next run takes the next."
)
@click.option("--seconds", default=60.0, show_default=True, help="How long faults are made, of all runs together.")
@click.option("--each", default=60.0, show_default=True, help="How long faults are made in one run.")
@click.option("--verbose", is_flag=True, help="Say each fault as it begins.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for what workers and watchdogs wrote.")
def main(seed: int, seconds: float, each: float, verbose: bool, keep: Path | None) -> None:
    """Make faults, and judge."""
    lab = run.begin()
    broken = False
    try:
        while seconds > 0:
            spell = min(each, seconds)
            faults = make_schedule(seed, seconds=spell, targets=TARGETS)
            say = partial(click.echo, err=True) if verbose else _say_nothing
            outcome = play(faults, seed=seed, seconds=spell, say=say, keep=keep)
            click.echo(show(outcome))
            broken |= bool(outcome.broken)
            seconds, seed = seconds - spell, seed + 1
    finally:
        run.kill_left(lab)
        run.end(lab)
    sys.exit(1 if broken else 0)


def _say_nothing(_: str) -> None:
    """Be silent."""


if __name__ == "__main__":
    main()
