"""What the page on guarantees promises is proven by tests that are there."""

import ast
import re
from itertools import chain
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "guarantees.md"
TEST = re.compile(r"`(tests/[^`]+)`")
ROW = re.compile(r"^\| \*\*(\w+)\*\* (.+\.) \| (.+) \|$")
PROPERTIES: Final = {"I": 13, "E": 16, "A": 12, "H": 4, "R": 6, "U": 3, "O": 4}
"""Of invariants, evidence, action, ownership, record, upgrade and load; none may be lost from the page."""


def rows() -> list[tuple[str, str]]:
    """Return each property of the page with its cell of tests."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| **")]
    found = [ROW.fullmatch(line) for line in lines]
    assert [line for line, row in zip(lines, found, strict=True) if row is None] == []
    return [(row[1], row[3]) for row in found if row is not None]


def names_in(file: Path) -> set[str]:
    """Return the names of the tests of a module."""
    found = ast.parse(file.read_text()).body if file.is_file() else []
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_property_is_there_once_and_in_order() -> None:
    """By its number; each has a sentence and at least one test, and nothing else than tests beside it."""
    expected = chain.from_iterable(
        [f"{of}{number}" for number in range(1, last + 1)] for of, last in PROPERTIES.items()
    )
    assert [name for name, _ in rows()] == list(expected)
    assert [name for name, cell in rows() if not TEST.findall(cell) or TEST.sub("", cell).strip()] == []


def test_every_test_that_is_named_exists() -> None:
    """By file and function; none is named twice for one property."""
    named = TEST.findall(PAGE.read_text())
    wrong = [
        name
        for name in named
        if name.count("::") != 1 or name.split("::")[1] not in names_in(ROOT / name.split("::")[0])
    ]
    assert wrong == []
    assert [name for name, cell in rows() if len(set(TEST.findall(cell))) < len(TEST.findall(cell))] == []
