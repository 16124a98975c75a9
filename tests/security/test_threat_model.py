"""Each line of the threat model has what it needs, and is proven by tests that are there."""

import re
from pathlib import Path
from typing import Final

from tests.unit.test_guarantees_page import names_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "about" / "threat-model.md"
TEST = re.compile(r"`(tests/[^`]+)`")
HEAD = "| They could | What stops them | What is left | Proven by |"
WHO: Final = {
    "Who may write rows of a watched table": 9,
    "Who owns a host that is asked, or an account on it": 7,
    "Who owns the database server, or answers in its place": 7,
    "Who sits on the network": 5,
    "Who reaches the port": 8,
    "Who reads the disk, or is another account on this machine": 6,
    "Who supplies what it is built of": 4,
}
"""How many lines there are of each; none of them may be lost from the page."""


def lines() -> dict[str, list[list[str]]]:
    """Return the lines of each table, as cells, by the heading above it."""
    found: dict[str, list[list[str]]] = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        rows = [line for line in text.splitlines() if line.startswith("|")]
        if rows:
            assert rows[0] == HEAD, title
            found[title] = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]
    return found


def test_every_line_says_all_and_is_proven() -> None:
    """By at least one test, and nothing else beside it."""
    found = lines()
    assert {title: len(rows) for title, rows in found.items()} == WHO
    for rows in found.values():
        for row in rows:
            assert len(row) == 4, row
            assert all(row), row
            assert TEST.findall(row[3]), row
            assert not TEST.sub("", row[3]).strip(), row
            assert len(set(TEST.findall(row[3]))) == len(TEST.findall(row[3])), row


def test_every_test_that_is_named_exists() -> None:
    """By file and function."""
    named = TEST.findall(PAGE.read_text())
    there = {file: names_in(ROOT / file) for file in {name.split("::")[0] for name in named}}
    wrong = [name for name in named if name.count("::") != 1 or name.split("::")[1] not in there[name.split("::")[0]]]
    assert wrong == []


def test_every_test_of_security_is_named() -> None:
    """But for those of the page itself, and those that run for long."""
    named = set(TEST.findall(PAGE.read_text()))
    there = {
        f"tests/security/{file.name}::{name}"
        for file in Path(__file__).parent.glob("test_*.py")
        for name in names_in(file)
    }
    left = {name for name in there - named if not name.startswith("tests/security/test_threat_model.py")}
    assert left == {"tests/security/test_fuzz.py::test_nothing_comes_of_very_many_either"}
