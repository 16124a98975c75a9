"""What was measured, as lines: one figure of one subject, beside what it is compared with.

A ratio is the median of the ratios of single rounds, since the two of a round ran one right after the other: noise that
lasts longer than a round is in both. `budget` is what docs/reference/performance.md promises, and is judged by the
ratio where there is one, else by the value; a part that runs at a smaller size than the budget names gives none.
One CSV file for each part in bench/results/, which `python -m bench report` makes the tables of the page from.
"""

import csv
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
HOLDS: Final = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure; numbers are texts as they stand in the file, empty where there is none."""

    case: str
    subject: str
    figure: str
    median: str = ""
    min: str = ""
    max: str = ""
    rounds: str = ""
    compared_with: str = ""
    ratio: str = ""
    ratio_min: str = ""
    ratio_max: str = ""
    promise: str = ""
    budget: str = ""
    is_met: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit such as `≤ 1.5`, and what it promises in words: of the median, or of the worst round."""

    limit: str
    promise: str
    is_of_the_worst: bool = False

    def is_met_by(self, value: float) -> bool:
        """Tell whether a value keeps to it."""
        sign, _, number = self.limit.partition(" ")
        return bool(HOLDS[sign](value, float(number.split()[0])))


Budgets = Mapping[tuple[str, str], Budget]
"""By subject and what it is compared with, which is empty where the value itself is judged."""


@dataclass(slots=True)
class Table:
    """The lines of one part."""

    lines: list[Line] = field(default_factory=list)

    def add(
        self,
        case: str,
        figure: str,
        measured: Mapping[str, Sequence[float]],
        *,
        against: Sequence[str] = (),
        budgets: Budgets | None = None,
    ) -> None:
        """Add the rounds of each subject, compared with each of `against` that was measured, too."""
        budgets = budgets or {}
        for subject, values in measured.items():
            references = [name for name in against if name in measured and name != subject]
            if (subject, "") in budgets or not references:
                references.insert(0, "")
            for reference in references:
                ratios = [mine / its for mine, its in zip(values, measured.get(reference, ()), strict=False) if its]
                self.lines.append(
                    _line(case, figure, subject, values, reference, ratios, budgets.get((subject, reference)))
                )

    def say(self, case: str, subject: str, note: str) -> None:
        """Say of a subject what no figure says, for one that it was not measured and why."""
        self.lines.append(Line(case=case, subject=subject, figure="", note=note))

    def write(self, path: Path) -> None:
        """Write the file."""
        names = [each.name for each in fields(Line)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([getattr(line, name) for name in names] for line in self.lines)

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read a file that `write` wrote."""
        with path.open(newline="") as file:
            return cls([Line(**row) for row in csv.DictReader(file)])

    def markdown(self) -> Iterator[str]:
        """Give a table for each case: a row for each subject, a column for each figure, and the notes below it."""
        for case in dict.fromkeys(line.case for line in self.lines):
            mine = [line for line in self.lines if line.case == case]
            # Where it is compared with several, the table has the first.
            reference = next((line.compared_with for line in mine if line.ratio), "")
            cells: dict[str, dict[str, Line]] = {}
            for line in mine:
                if line.figure and (line.compared_with == reference or line.figure not in cells.get(line.subject, {})):
                    cells.setdefault(line.subject, {})[line.figure] = line
            yield from ("", f"**{case}**") if case else ()
            if cells:
                figures = list(dict.fromkeys(figure for found in cells.values() for figure in found))
                beside = f"(**ratio** to: {reference})" if reference else ""
                yield from ("", f"| {beside} | {' | '.join(figures)} |", f"| --- |{' ---: |' * len(figures)}")
                for subject, found in cells.items():
                    shown = [_cell(found[figure], reference) if figure in found else "" for figure in figures]
                    yield f"| {subject} | {' | '.join(shown)} |"
            yield from (f"\n{line.subject}: {line.note}." for line in mine if line.note)

    def judged(self) -> Iterator[Line]:
        """Give the lines that a budget is held against."""
        return (line for line in self.lines if line.budget)


def summarise(lines: Iterable[Line]) -> Iterator[str]:
    """Give a table of budgets: the ratio where it is one, and whether it is met."""
    yield "| budget | limit | measured (min to max) | |"
    yield "| --- | ---: | ---: | --- |"
    for line in lines:
        is_ratio = bool(line.ratio)
        value = line.ratio if is_ratio else line.median
        least, most = (line.ratio_min, line.ratio_max) if is_ratio else (line.min, line.max)
        spread = f" ({least} to {most})" if least != most else ""
        verdict = "met" if line.is_met == "yes" else "**missed**"
        yield f"| {line.promise} | {line.budget} | {value}{spread} | {verdict} |"


def show(value: float) -> str:
    """Write a number with three digits that say something."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:.0f}"


def _line(
    case: str,
    figure: str,
    subject: str,
    values: Sequence[float],
    reference: str,
    ratios: Sequence[float],
    budget: Budget | None,
) -> Line:
    judged = (max if budget and budget.is_of_the_worst else median)(ratios or values)
    return Line(
        case=case,
        subject=subject,
        figure=figure,
        median=show(median(values)),
        min=show(min(values)),
        max=show(max(values)),
        rounds=str(len(values)),
        compared_with=reference if ratios else "",
        ratio=show(median(ratios)) if ratios else "",
        ratio_min=show(min(ratios)) if ratios else "",
        ratio_max=show(max(ratios)) if ratios else "",
        promise=budget.promise if budget else "",
        budget=budget.limit if budget else "",
        is_met=("yes" if budget.is_met_by(judged) else "no") if budget else "",
    )


def _cell(line: Line, reference: str) -> str:
    if line.ratio and line.compared_with == reference:
        spread = f" ({line.ratio_min} to {line.ratio_max})" if line.ratio_min != line.ratio_max else ""
        return f"**{line.ratio}**{spread} · {line.median}"
    return f"{line.median} ({line.min} to {line.max})" if line.min != line.max else line.median
