"""Put pydantic's findings into words: what was found, and what would be right.

Kinds are those of pydantic_core 2.50, core_schema.ErrorType; one that is not listed keeps pydantic's words.
What a variable holds, and the value of a key that is named like a secret, is in no message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .faults import Where, is_secret, quote
from .tree import Node, Scalar, kind_of

MIN_HIDDEN: Final = 6
MAX_WORDS: Final = 500

NOTHING: Final = "nothing is written here"
WHOLE: Final = ("{it} is not a whole number", "write digits")
NUMBER: Final = ("{it} is not a number", "write digits, such as 0.5")
BOOLEAN: Final = ("{it} is neither true nor false", "write true or false")
CHOICE: Final = ("{it} is not available", "write {expected}")
LIST: Final = ("{it} is not a list", "write entries in [ ], or each on a line of its own after a -")
MAPPING: Final = ("{it} is not a mapping", "write keys and values below it")
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "missing": ("is missing", "add it"),
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": ("{it} is too large a number", "write fewer digits"),
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": NUMBER,
    "bool_type": BOOLEAN,
    "bool_parsing": BOOLEAN,
    "literal_error": CHOICE,
    "enum": CHOICE,
    "greater_than": ("{it} is too small", "write more than {gt}"),
    "greater_than_equal": ("{it} is too small", "write {ge} or more"),
    "less_than": ("{it} is too large", "write less than {lt}"),
    "less_than_equal": ("{it} is too large", "write {le} or less"),
    "string_too_short": ("{it} is too short", "write {min_length} characters or more"),
    "string_too_long": ("{it} is too long", "write at most {max_length} characters"),
    "string_pattern_mismatch": ("{it} has another form than expected", "write what matches {pattern}"),
    "too_short": ("{it} has too few entries", "write {min_length} or more"),
    "too_long": ("{it} has too many entries", "write at most {max_length}"),
    "list_type": LIST,
    "tuple_type": LIST,
    "set_type": LIST,
    "frozen_set_type": LIST,
    "dict_type": MAPPING,
    "mapping_type": MAPPING,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "dataclass_type": MAPPING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One of pydantic's errors, led back to the tree. `is_choice`: of one of several ways to write the value."""

    kind: str
    message: str
    context: Mapping[str, Any]
    node: Node | None
    where: Where
    line: int
    is_choice: bool


def in_words(finding: Finding, variables: Mapping[str, str]) -> str:
    """Return `what was found; what would be right`."""
    if finding.kind in ("value_error", "assertion_error"):
        return _author_words(finding, variables)
    is_text = isinstance(finding.node, Scalar) and isinstance(finding.node.value, str)
    if finding.kind in ("string_type", "path_type") and finding.node and not is_text:
        return text_expected(finding.node, finding.where)
    if finding.kind not in WORDS:
        return finding.message
    it = show_value(finding.node, finding.where) if finding.node else ""
    context = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in finding.context.items()}
    if "expected" in context:
        context["expected"] = str(context["expected"]).replace("'", "")
    found, right = WORDS[finding.kind]
    if isinstance(finding.node, Scalar) and finding.node.value is None:
        found = NOTHING
    return f"{found.format(it=it, **context)}; {right.format(it=it, **context)}"


def text_expected(node: Node, where: Where) -> str:
    """Say that something else than a text was found: mostly for want of quotes."""
    match node:
        case Scalar(value=None):
            return f"{NOTHING}; write a text"
        case Scalar(text=text):
            it = show_value(node, where)
            example = "" if is_secret(where) else f": '{text}'"
            return f"{it} is read as {kind_of(node)}, not as a text; write it in quotes{example}"
    return f"{kind_of(node)} is not a text; write one text"


def show_value(node: Node, where: Where) -> str:
    """Write a value as the file has it; a secret only by name."""
    match node:
        case Scalar(value=None):
            return "nothing"
        case Scalar() if is_secret(where):
            return "the value"
        case Scalar(value=str(), text=text):
            return quote(text)
        case Scalar(text=text):
            return text
    return kind_of(node)


def listed(words: Iterable[str]) -> str:
    """Write words as a choice: `a, b or c`."""
    *most, last = sorted(words) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def _author_words(finding: Finding, variables: Mapping[str, str]) -> str:
    """Take the words of a check of our own, with every value in them as the file has it."""
    words = str(finding.context["error"])
    if isinstance(finding.node, Scalar) and finding.node.value is None:
        return f"{NOTHING}; {words.partition('; ')[2] or 'write a value'}"
    if finding.node:
        value = finding.node.plain
        if isinstance(value, str) and len(value) >= MIN_HIDDEN and is_secret(finding.where) and value in words:
            return "the value is not usable; correct it"
        words = words.replace(repr(value), show_value(finding.node, finding.where), -1 if isinstance(value, str) else 1)
    for name, value in variables.items():
        if len(value) >= MIN_HIDDEN:
            words = words.replace(value, f"${{{name}}}").replace(repr(value)[1:-1], f"${{{name}}}")
    words = "".join(character if character.isprintable() else " " for character in words)
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"
