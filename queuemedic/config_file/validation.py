"""Check a section of the tree against its options, and lead each finding of pydantic back to its line.

pydantic knows neither lines nor what the file says before it is converted; the tree knows both.
In: a section and a pydantic model. Out: the options or None, and the faults, of very many the first; O(values).
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .faults import MAX_SHOWN, Fault, Where
from .tree import Items, Keys, Node, Scalar, child, is_broken
from .wording import NUMBER, WHOLE, Finding, in_words, listed

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A mapping of the tree, where it stands, the line that names it, and the keys that are read elsewhere."""

    keys: Keys
    where: Where
    line: int
    apart: frozenset[str] = frozenset()


def validate(model: type[M], section: Section, variables: Mapping[str, str]) -> tuple[M | None, tuple[Fault, ...]]:
    """Return the options that a section describes, or None and why not."""
    faults = list(islice(_too_lax(model, section.keys, section.where), MAX_SHOWN + 1))
    named = {fault.where for fault in faults}
    given = {key: entry.node.plain for key, entry in section.keys.entries.items() if key not in section.apart}
    try:
        options = model.model_validate(given)
    except ValidationError as error:
        findings = [_led_back(details, section) for details in error.errors(include_url=False)[: MAX_SHOWN + 1]]
        findings = [finding for finding in findings if finding.where not in named and not is_broken(finding.node)]
        faults.extend(_worded(findings, model, section, variables))
        return None, tuple(faults)
    return (None if faults else options), tuple(faults)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Say that a key is not known, and which one may be meant."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"is not a known key; did you mean {close[0]}?" if close else f"is not a known key; write {listed(known)}"


def _led_back(details: ErrorDetails, section: Section) -> Finding:
    """Follow pydantic's location down the tree; what is not in the tree names one of several ways to write a value."""
    node: Node | None = section.keys
    where, line, is_choice = section.where, section.line, False
    for step in details["loc"]:
        if found := child(node, step):
            node, line, where = found.node, found.line, (*where, step)
        elif details["type"] == "missing" and step == details["loc"][-1]:
            node, where = None, (*where, step)
        else:
            is_choice = True
    return Finding(
        kind=details["type"],
        message=details["msg"],
        context=details.get("ctx", {}),
        node=node,
        where=where,
        line=line,
        is_choice=is_choice,
    )


def _worded(
    findings: list[Finding], model: type[BaseModel], section: Section, variables: Mapping[str, str]
) -> Iterator[Fault]:
    """Make one fault of all findings at one place: of ways to write a value, the one that was begun, else each."""
    choices = [finding.where for finding in findings if finding.is_choice]
    texts: dict[Where, list[str]] = {}
    lines: dict[Where, int] = {}
    for finding in findings:
        depth = len(finding.where)
        if finding.is_choice and any(len(other) > depth and other[:depth] == finding.where for other in choices):
            continue
        if finding.kind == "extra_forbidden":
            text = unknown_key(str(finding.where[-1]), _known_keys(model, section, finding.where))
        else:
            text = in_words(finding, variables)
        texts.setdefault(finding.where, []).append(text)
        lines[finding.where] = finding.line
    for where, found in texts.items():
        others = [text.partition("; ")[2] or text for text in found[1:]]
        yield Fault(line=lines[where], text=", or ".join((found[0], *others)), where=where)


def _known_keys(model: type[BaseModel], section: Section, where: Where) -> Iterable[str]:
    """Return the keys that could stand where an unknown one does."""
    inner = where[len(section.where) : -1]
    models = [model]
    for step in inner:
        types = frozenset[type]().union(*(_fields(one).get(str(step), frozenset()) for one in models))
        models = _models(types) or models
    return {key for one in models for key in _fields(one)} | (section.apart if not inner else frozenset())


def _too_lax(model: type[BaseModel], keys: Keys, where: Where) -> Iterator[Fault]:
    """Find what pydantic would convert without a word: `yes` into the number 1, an empty text into the path `.`."""
    for key, types in _fields(model).items():
        if key in keys.entries:
            entry = keys.entries[key]
            yield from _too_lax_value(types, entry.node, (*where, key), entry.line)


def _too_lax_value(types: frozenset[type], node: Node, where: Where, line: int) -> Iterator[Fault]:
    match node:
        case Scalar(value=bool(), text=text) if types & {int, float} and not types & {bool, str}:
            found, right = WHOLE if int in types else NUMBER
            yield Fault(line=line, text=f"{found.format(it=text)}; {right}", where=where)
        case Scalar(value="") if Path in types and str not in types:
            yield Fault(line=line, text="is empty; write a path, or leave the key out", where=where)
        case Items(items=items):
            for index, item in enumerate(items):
                yield from _too_lax_value(types, item, (*where, index), item.line)
        case Keys() if models := _models(types):
            for model in models:
                yield from _too_lax(model, node, where)
        case Keys(entries=entries):
            for key, entry in entries.items():
                yield from _too_lax_value(types, entry.node, (*where, key), entry.line)


def _fields(model: type[BaseModel]) -> dict[str, frozenset[type]]:
    """Return, for each key of a model, every type that its annotation is made of."""
    return {field.alias or name: frozenset(_types(field.annotation)) for name, field in model.model_fields.items()}


def _types(annotation: object) -> Iterator[type]:
    parts = get_args(annotation)
    if isinstance(annotation, type) and not parts:
        yield annotation
    for part in parts[:1] if get_origin(annotation) is Annotated else parts:
        yield from _types(part)


def _models(types: frozenset[type]) -> list[type[BaseModel]]:
    return [one for one in types if issubclass(one, BaseModel)]
