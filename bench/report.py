"""Write the tables of the last run into docs/reference/performance.md: `python -m bench report`.

The page's words are its own; between `<!-- bench: NAME -->` and `<!-- end -->` stands what the files in bench/results/
say: `budgets`, `machine`, or the name of a part.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from .lines import RESULTS, Table, summarise
from .machine import read
from .part import LONG, PARTS, SAMPLES
from .plot import draw

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "bench-soak.svg"
DRAWN = ("MiB resident", "threads", "descriptors", "series")
BLOCK = re.compile(r"<!-- bench: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def fill(page: str, results: Path = RESULTS) -> str:
    """Return the page with its blocks as the files say."""
    return BLOCK.sub(lambda found: f"<!-- bench: {found[1]} -->\n{_block(found[1], results)}\n<!-- end -->", page)


def picture(results: Path = RESULTS) -> str:
    """Return the soak as a picture, from its samples."""
    with (results / SAMPLES).open(newline="") as file:
        samples = list(csv.DictReader(file))
    minutes = [float(sample["minutes"]) for sample in samples]
    title = f"{minutes[-1]:.0f} minutes of churn, faults and healing at intervals of a second"
    return draw(title, minutes, {figure: [float(sample[figure]) for sample in samples] for figure in DRAWN})


def write() -> None:
    """Fill the page, and draw its picture."""
    PAGE.write_text(fill(PAGE.read_text()))
    if (RESULTS / SAMPLES).exists():
        IMAGE.write_text(picture())


def _block(name: str, results: Path) -> str:
    if name == "budgets":
        tables = [Table.read(path) for path in _parts(results)]
        return "\n".join(summarise(line for table in tables for line in table.judged()))
    if name == "machine":
        return "\n".join(_machine(results))
    path = results / f"{name}.csv"
    return "\n".join(Table.read(path).markdown()).strip() if path.exists() else "Not measured yet."


def _parts(results: Path) -> list[Path]:
    """Return the files of parts, in the order that they run in."""
    return [path for part in (*PARTS, *LONG) if (path := results / f"{part}.csv").exists()]


def _machine(results: Path) -> Iterator[str]:
    lines = read(results)
    columns = [name for name in (lines[0] if lines else {}) if name not in ("part", "load before", "date")]
    same = {name: sorted({line[name] for line in lines}) for name in columns}
    yield "; ".join(f"{name}: {', '.join(values)}" for name, values in same.items()) + "."
    measured = [f"{line['part']} {line['date']} ({line['load before']})" for line in lines]
    yield f"Measured on (and the load average of the minute before): {', '.join(measured)}."
