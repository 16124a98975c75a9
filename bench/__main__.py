"""`python -m bench [PART…]`: measure, write bench/results/<part>.csv, print the tables; all parts but the soak."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import structlog

from tests.lab import run

from .lines import RESULTS, Table, summarise
from .machine import describe, note
from .part import LONG, PARTS, QUICK, Scale
from .report import write

REPORT: Final = "report"


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice((*PARTS, *LONG, REPORT)))
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the table that is polled.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of each measurement.")
@click.option("--minutes", default=60.0, show_default=True, help="How long the soak lasts.")
@click.option("--quick", "is_quick", is_flag=True, help="See that it works: small, short, and no budget is judged.")
@click.option("--alone", "is_alone", is_flag=True, help="Leave the peers out.")
@click.option("--into", default=RESULTS, type=click.Path(path_type=Path), help="Where the CSV files go.")
def main(parts: tuple[str, ...], **how: Any) -> None:
    """Measure Queuemedic beside its peers; `report` writes the tables into docs/reference/performance.md."""
    scale = Scale(**how | (QUICK if how["is_quick"] else {}))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    lab = run.begin()
    try:
        for part in parts or (*PARTS, REPORT):
            if part == REPORT:
                write()
                continue
            _measure(part, scale)
    finally:
        run.kill_left(lab)
        run.end(lab)


def _measure(part: str, scale: Scale) -> None:
    click.echo(f"\n## {part}")
    machine = describe()
    table: Table = import_module(f".{part}", __package__).measure(scale)
    table.write(scale.into / f"{part}.csv")
    note(scale.into, part, machine)
    judged = list(table.judged())
    click.echo("\n".join([*table.markdown(), "", *(summarise(judged) if judged else ())]))


if __name__ == "__main__":
    main()
