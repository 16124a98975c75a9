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
GAP = 3
"""Columns of the terminal between two of a table; the first and the last have less beside them."""
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

    shown = [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = _fit([columns, *shown], room=make_console().width)
    table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False, header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=name in WHOLE, max_width=widths[index])
        table.columns[index].justify = "right" if 0 < index <= numbers else "left"
    for row in shown:
        table.add_row(*row)
    return table


def _fit(rows: Sequence[Sequence[Cell]], *, room: int) -> list[int]:
    """Return how wide each column may be so that a row fits; a word is broken only where words alone do not fit.

    rich would narrow the widest columns first, whatever the length of their words.
    """
    from rich.cells import cell_len

    columns = [[str(cell) for cell in cells] for cells in zip(*rows, strict=True)]
    widths = [max(map(cell_len, cells)) for cells in columns]
    words = [max(cell_len(word) for cell in cells for word in cell.split() or [""]) for cells in columns]
    is_whole = [cells[0] in WHOLE for cells in columns]
    for least in (words, [1] * len(words)):
        floors = [width if whole else one for width, whole, one in zip(widths, is_whole, least, strict=True)]
        while sum(widths) + GAP * len(widths) - 1 > room and widths != floors:
            widest = max((width, index) for index, width in enumerate(widths) if width > floors[index])[1]
            widths[widest] -= 1
    return widths


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
