"""The tree of a configuration file, in which every key and value knows its line.

A plain scalar is what it looks like: null, a boolean of YAML 1.1, a decimal number, else text. Dates, `010`, `0x10` and
`1:30` stay texts: nothing here is a date, and YAML 1.1 and 1.2 disagree on the others.
`values` and `depth` are those after unfolding every alias; both are known without unfolding.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from .faults import Fault

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
FLOAT = re.compile(r"[-+]?[0-9]{1,40}\.[0-9]{0,40}(?:[eE][-+][0-9]{1,3})?")
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {
    spelling: is_true
    for words, is_true in ((("yes", "on", "true"), True), (("no", "off", "false"), False))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}

ScalarValue: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "ScalarValue | list[Plain] | dict[str, Plain]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value: `text` as the file has it, `value` as it is meant. `is_broken`: a fault already names it."""

    values: ClassVar[int] = 1
    depth: ClassVar[int] = 0

    line: int
    text: str
    value: ScalarValue
    is_quoted: bool = False
    is_broken: bool = False

    @property
    def plain(self) -> Plain:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    line: int
    items: "tuple[Node, ...]"

    values: int
    depth: int

    @property
    def plain(self) -> Plain:
        return [item.plain for item in self.items]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value, and the line of its key."""

    line: int
    node: "Node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A mapping, with its merge keys merged in."""

    line: int
    entries: Mapping[str, Entry]

    values: int
    depth: int

    @property
    def plain(self) -> Plain:
        return {key: entry.node.plain for key, entry in self.entries.items()}


Node: TypeAlias = Scalar | Items | Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file as read; `variables` are those that were filled in: messages must not show what they hold."""

    root: Node | None
    faults: tuple[Fault, ...]
    variables: Mapping[str, str]


def child(node: Node | None, step: str | int) -> Entry | None:
    """Return what stands below a key or at an index, with its line; None if nothing does."""
    match node, step:
        case Keys(entries=entries), str():
            return entries.get(step)
        case Items(items=items), int() if 0 <= step < len(items):
            return Entry(line=items[step].line, node=items[step])
    return None


def is_broken(node: Node | None) -> bool:
    """Whether a fault already names this value, so that no second one should."""
    return isinstance(node, Scalar) and node.is_broken


def kind_of(node: Node) -> str:
    """Name what a node is read as."""
    match node:
        case Items():
            return "a list"
        case Keys():
            return "a mapping"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool(is_true)):
            return f"a boolean ({str(is_true).lower()})"
        case Scalar(value=int() | float()):
            return "a number"
    return "a text"


def meaning(text: str) -> ScalarValue:
    """Return what a scalar without quotes means."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text
