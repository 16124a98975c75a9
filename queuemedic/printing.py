"""Print tables, durations and foreign texts for people: what several commands share.

On a terminal tables fit its width; into a pipe or a file each row is one line, whatever its length, for grep and awk.
Colours are rich's business: none into a pipe, none with NO_COLOR or TERM=dumb.
rich is imported when something is printed: `--help` has to be quick.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from exporter import texts
from exporter.texts import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    Cell = str | Text

WHOLE = frozenset({"at", "started"})
"""Columns that are never broken into lines."""
PIPED_WIDTH = 1000
"""Columns of what is no terminal: more than any row needs, and a bound for rows that hold very long texts."""
GOOD, BAD, WARNING = "green", "red", "yellow"
OF_WORKERS = {"alive": GOOD, "dead": BAD, "unknown": WARNING}
"""How what is held of a worker is shown."""


def make_console(*, on_errors: bool = False) -> Console:
    """Return a console that takes every text as it is, on standard output or, where asked, standard error."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, stderr=on_errors)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = PIPED_WIDTH
    return console


def print_headline(console: Console, text: str, *, is_good: bool) -> None:
    """Print the line that a person looks at first."""
    from rich.text import Text

    mark = ("✓", f"bold {GOOD}") if is_good else ("✗", f"bold {BAD}")
    console.print(Text.assemble(mark, (f" {printable(text)}", "bold")), soft_wrap=True)


def paint(text: str, style: str) -> Text:
    """Return a cell of a table in a colour."""
    from rich.text import Text

    return Text(printable(text), style=style)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, numbers: int = 0) -> Table:
    """Return a table; the `numbers` columns after the first stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False, header_style="dim")
    for index, name in enumerate(columns):
        is_number = 0 < index <= numbers
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def make_list(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a table without the columns in which no row has anything."""
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    return make_table([columns[index] for index in kept], [[row[index] or "-" for index in kept] for row in rows])


def show_span(seconds: float | None) -> str:
    """Show a duration by its two largest units."""
    return "-" if seconds is None else texts.show_span(seconds)


def name_jobs(number: int) -> str:
    """Return the word for so many jobs."""
    return "job" if number == 1 else "jobs"
