"""`python -m bench [PART…]`: measure, write bench/results/<part>.csv, print the tables; all parts but the soak."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Final

import click
import structlog

from tests.lab import run

from .lines import RESULTS, Table
from .part import Scale

PARTS: Final = ("poll", "scrape", "memory", "hosts", "queues", "heal", "start", "growth")
LONG: Final = ("soak",)


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice((*PARTS, *LONG)))
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the table that is polled.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of each measurement.")
@click.option("--quick", is_flag=True, help="See that it works: small, short, and no budget is judged.")
@click.option("--minutes", default=60.0, show_default=True, help="How long the soak lasts.")
@click.option("--into", default=RESULTS, type=click.Path(path_type=Path), help="Where the CSV files go.")
def main(parts: tuple[str, ...], *, rows: int, rounds: int, quick: bool, minutes: float, into: Path) -> None:
    """Measure Queuemedic beside its peers."""
    scale = Scale(rows=5_000, rounds=2, is_quick=True) if quick else Scale(rows=rows, rounds=rounds)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    lab = run.begin()
    try:
        for part in parts or PARTS:
            click.echo(f"\n## {part}")
            measure = import_module(f".{part}", __package__).measure
            table: Table = measure(scale, into=into, minutes=minutes) if part in LONG else measure(scale)
            table.write(into / f"{part}.csv")
            click.echo("\n".join(table.markdown()))
    finally:
        run.kill_left(lab)
        run.end(lab)


if __name__ == "__main__":
    main()
