"""Read YAML into a tree with lines, with aliases, merge keys and `${NAME}` resolved.

Built from the parser's events: `yaml.safe_load` drops duplicate keys and lines, and has no bounds. The pure parser is
used, since its messages are the same everywhere; 2,000 queues (220 kB) take it half a second.
Bounded: bytes of the file, depth, and the number of values with every alias unfolded, each alias costing what it names.
In: the file's bytes. Out: Document, whose root is None where nothing can be read. Raises nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml

from .faults import UNUSABLE, Fault, Where, is_secret, quote
from .syntax import syntax_fault
from .tree import Document, Entry, Items, Keys, Node, Scalar, is_broken, kind_of, meaning
from .variables import BadReference, fill_in

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 100_000

KNOWN_TAGS = frozenset({None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))})


class _TooMuch(Exception):
    """Reading on would cost more than any configuration is worth; holds the fault."""

    def __init__(self, line: int, text: str, where: Where = ()) -> None:
        super().__init__(text)
        self.fault = Fault(line=line, text=text, where=where)


@dataclass(slots=True, kw_only=True)
class _Open:
    """A list or mapping whose end is not yet read; `key` waits for its value."""

    line: int
    where: Where
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Keys] | None = None
    key: Node | None = None
    is_broken: bool = False

    @property
    def next_where(self) -> Where:
        """Where the next value stands; of a key, where its mapping does."""
        if not self.is_mapping:
            return (*self.where, len(self.items))
        return (*self.where, self.key.text) if isinstance(self.key, Scalar) else self.where


def read_yaml(content: bytes, environment: Mapping[str, str] | None) -> Document:
    """Read one file; what can be read past is read past. Without an environment a `$` is a `$`."""
    if len(content) > MAX_BYTES:
        return _unreadable(Fault(line=1, text=f"is longer than {MAX_BYTES} bytes; write a shorter file"))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unreadable(Fault(line=line, text="is not UTF-8 here; save the file as UTF-8"))
    return _Composer(environment).compose(text)


def _unreadable(fault: Fault) -> Document:
    return Document(root=None, faults=(fault,), variables={})


def _broken(line: int) -> Scalar:
    """Stand in for a value that a fault already names."""
    return Scalar(line=line, text="", value=None, is_broken=True)


class _Composer:
    """Builds the tree from events; holds what is open, what has an anchor, and what was wrong so far."""

    def __init__(self, environment: Mapping[str, str] | None) -> None:
        self.environment = environment
        self.faults: list[Fault] = []
        self.variables: dict[str, str] = {}
        self.anchors: dict[str, Node | None] = {}
        self.open: list[_Open] = []
        self.root: Node | None = None
        self.values = 0
        self.line = 1

    def compose(self, text: str) -> Document:
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                self.take(event)
        except _TooMuch as stop:
            return _unreadable(stop.fault)
        except yaml.YAMLError as error:
            return _unreadable(syntax_fault(error, text))
        except ValueError:  # PyYAML 6.0.3, scanner.py: chr() of "\U00110000"
            return _unreadable(Fault(line=self.line, text="here or below, an escape names no character; leave it out"))
        return Document(root=self.root, faults=tuple(self.faults), variables=self.variables)

    def take(self, event: yaml.Event) -> None:
        self.line = line = event.start_mark.line + 1 if event.start_mark else self.line
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                raise _TooMuch(line, "a second document begins; write one")
            case yaml.AliasEvent():
                self.put(self.aliased(event.anchor, line))
            case yaml.ScalarEvent():
                self.put(self.scalar(event, line), event.anchor)
            case yaml.CollectionStartEvent():
                self.begin(event, line)
            case yaml.CollectionEndEvent():
                ended = self.open.pop()
                self.put(self.collection(ended), ended.anchor)

    @property
    def where(self) -> Where:
        return self.open[-1].next_where if self.open else ()

    def fault(self, line: int, text: str, where: Where | None = None) -> None:
        self.faults.append(Fault(line=line, text=text, where=self.where if where is None else where))

    def is_known(self, tag: str | None, line: int) -> bool:
        if tag not in KNOWN_TAGS:
            shown = "here" if is_secret(self.where) else quote(str(tag).replace("tag:yaml.org,2002:", "!!"))
            self.fault(line, f"the tag {shown} is not known; leave it out, or write the text in quotes")
        return tag in KNOWN_TAGS

    def count(self, values: int, line: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            text = f"more than {MAX_VALUES} values, counting what aliases name; write fewer"
            raise _TooMuch(line, text, self.where)

    def aliased(self, anchor: str | None, line: int) -> Node:
        node = self.anchors.get(anchor or "")
        if node is not None:
            self.count(node.values, line)
            return node
        found = "stands inside what it names" if anchor in self.anchors else "names nothing above it"
        shown = "here" if is_secret(self.where) else f"*{anchor}"
        self.fault(line, f"the alias {shown} {found}; write the value itself, or a text in quotes")
        return _broken(line)

    def scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        self.count(1, line)
        text: str = event.value
        is_broken = not self.is_known(event.tag, line)
        if UNUSABLE.search(text):
            is_broken = True
            self.fault(line, "holds a character that is no text, such as NUL; leave it out")
        is_quoted = bool(event.style) or event.tag is not None
        value = text if is_quoted else meaning(text)
        return Scalar(line=line, text=text, value=value, is_quoted=is_quoted, is_broken=is_broken)

    def begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        self.count(1, line)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        is_broken = not self.is_known(event.tag, line)
        self.open.append(
            _Open(line=line, where=self.where, anchor=event.anchor, is_mapping=is_mapping, is_broken=is_broken)
        )
        self.check_depth(line, 0)
        if event.anchor:
            self.anchors[event.anchor] = None

    def check_depth(self, line: int, below: int) -> None:
        if len(self.open) + below > MAX_DEPTH:
            raise _TooMuch(line, f"is deeper than {MAX_DEPTH} levels; write it flatter")

    def collection(self, ended: _Open) -> Node:
        for merged in ended.merged or ():
            for key, entry in merged.entries.items():
                self.count(entry.node.values, ended.line)
                ended.entries.setdefault(key, entry)
        children = [entry.node for entry in ended.entries.values()] if ended.is_mapping else ended.items
        values = 1 + sum(child.values for child in children)
        depth = 1 + max((child.depth for child in children), default=0)
        self.check_depth(ended.line, depth)
        if ended.is_broken:
            return _broken(ended.line)
        if ended.is_mapping:
            return Keys(line=ended.line, entries=ended.entries, values=values, depth=depth)
        return Items(line=ended.line, items=tuple(ended.items), values=values, depth=depth)

    def put(self, node: Node, anchor: str | None = None) -> None:
        """Give a finished node to what is open around it."""
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = self.filled(node)
            return
        around = self.open[-1]
        if not around.is_mapping:
            around.items.append(self.filled(node))
        elif around.key is None:
            around.key = node
        else:
            self.pair(around, around.key, node)
            around.key = None

    def pair(self, around: _Open, key: Node, node: Node) -> None:
        match key:
            case Scalar(is_broken=True):
                pass
            case Scalar(text="<<", is_quoted=False):
                self.merge(around, node, key.line)
            case Scalar(value=str(text)) if text in around.entries:
                self.fault(key.line, f"is given twice, first in line {around.entries[text].line}; keep one")
            case Scalar(value=str(text)):
                around.entries[text] = Entry(line=key.line, node=self.filled(node))
            case Scalar(text=text):
                found = f"{text} is read as {kind_of(key)}; write {text!r} in quotes" if text else "no key; write one"
                self.fault(key.line, found)
            case _:
                self.fault(key.line, f"{kind_of(key)} is no key; write a text")

    def merge(self, around: _Open, node: Node, line: int) -> None:
        mappings = [one for one in (node.items if isinstance(node, Items) else (node,)) if isinstance(one, Keys)]
        if around.merged is not None:
            self.fault(line, "is given twice; write one list of aliases")
        elif not mappings and not is_broken(node):
            self.fault(line, f"{kind_of(node)} cannot be merged; write an alias of a mapping")
        around.merged = [*(around.merged or ()), *mappings]

    def filled(self, node: Node) -> Node:
        """Fill variables in, each time a text is used: never in a key, and never twice."""
        if self.environment is None or not isinstance(node, Scalar):
            return node
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            value, used = fill_in(node.value, self.environment)
        except BadReference as error:
            self.fault(node.line, str(error))
            return replace(node, is_broken=True)
        self.variables.update(used)
        return replace(node, value=value)
