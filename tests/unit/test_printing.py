"""Tables on a narrow terminal: a row fits, and words stay whole as long as they can."""

import io

import pytest
from rich.console import Console

from queuemedic.printing import make_table

COLUMNS = ("job", "kind", "about", "host", "pid", "started", "worker", "stuck because")
ROW = ("317", "day", "site 2 2026-11-21", "web02", "20894", "3h 12m ago", "unknown (unreachable)", "longer than 2h")


def draw(row: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, width: int) -> list[str]:
    """Return the lines of a table of one row, at that width."""
    monkeypatch.setenv("COLUMNS", str(width))
    drawn = Console(file=io.StringIO(), width=width)
    with drawn.capture() as captured:
        drawn.print(make_table(COLUMNS, [row]))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 90, 200])
def test_a_word_is_not_broken_where_all_words_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each word of the row is on some line in one piece, and no line is longer than the terminal."""
    lines = draw(ROW, monkeypatch, width=width)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert {word for cell in ROW for word in cell.split()} <= words


def test_a_word_that_cannot_fit_is_broken_and_times_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of 120 letters costs lines, not the width."""
    lines = draw((*ROW[:3], "w" * 120, *ROW[4:]), monkeypatch, width=80)
    assert max(map(len, lines)) <= 80
    assert sum(line.count("w") for line in lines) >= 120
    assert any("3h 12m ago" in line for line in lines)
