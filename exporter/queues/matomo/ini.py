"""Read an ini text as PHP does: `parse_ini_string($text, true)`, normal scanner, PHP 8.2 (Zend/zend_ini_scanner.l).

A wrong password is worse than none, so this is PHP's grammar and not `configparser`, which joins an indented key to the
value above, merges repeated sections, ends a quoted value with its line and accepts files that PHP rejects.
In: text of n characters. Out: the entries of each section; O(n).
Raises ConfigurationError with file and line where PHP rejects the file. A value that PHP would compute from what is not
in the file becomes an entry with a doubt: only who needs it has to refuse. No message holds any part of a value.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from exporter.errors import ConfigurationError

LINE_END = re.compile(r"\r\n|\r|\n")
LABEL_CHAR = r'[^=\n\r\t;&|^$~(){}!"\[\]]'
SWITCH = r"(?i:true|on|yes|false|off|none|no|null)"
VALUE_CHAR = r"""(?:[^$= \t\n\r;&|^~()!"']|\$\\(?!\$).|\$[^{\\])"""

BLANK = re.compile(rf"[ \t]*(?:;[^\r\n]*)?(?:{LINE_END.pattern})")
SPACES = re.compile(r"[ \t]+")
LABEL = re.compile(rf"(?![ \t]*=)(?!{SWITCH} *(?!{LABEL_CHAR})){LABEL_CHAR}+")
OFFSET = re.compile(rf"({LABEL_CHAR}+)\[[ \t]*")
BRACKET = re.compile(r"\[")
BRACKET_END = re.compile(r"\][ \t]*")
EQUALS = re.compile(r"[ \t]*=[ \t]*")
VARIABLE = re.compile(rf"\$\{{({LABEL_CHAR}+)\}}")
SINGLE_QUOTED = re.compile(r"'([^']+)'")
NOTHING_QUOTED = re.compile(rf"''(?={BLANK.pattern})")
QUOTE = re.compile(r'[ \t]*"')
QUOTE_END = re.compile(r'"[ \t]*')
QUOTED = re.compile(r'(?:[^"$\\]|\$(?!\{)|\\(?="[\r\n])|\\(?!"[\r\n]).)+', re.DOTALL)
ESCAPED = re.compile(r'\\(["\\$])')
BRACKETED = re.compile(r"""(?:[^$\n\r;"'\]\\]|\\.|\$\\.|\$[^{])+""", re.DOTALL)
SWITCHED = re.compile(rf"{SWITCH}(?!{VALUE_CHAR})[ \t]*", re.DOTALL)
PLAIN = re.compile(rf"{VALUE_CHAR}+", re.DOTALL)
OPERATOR = re.compile(r"([&|^~()!])[ \t]*")
CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]*|STREAM_CRYPTO_\w+", re.ASCII)
GREEDY_DOLLAR = re.compile(r"""\$[= \t\n\r;&|^~()!"'\\]""")

TRUE_WORDS = frozenset({"true", "on", "yes"})
QUOTE_IT = "put the value in double quotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value as PHP gives it, or why it cannot be known; `place` is `file:line`."""

    place: str
    text: str = field(default="", repr=False)
    doubt: str | None = None


Sections = dict[str, dict[str, Entry]]


def read_ini(content: bytes, *, name: str, environment: Mapping[str, str]) -> Sections:
    """Give the entries of each section; `name` is the file's, for messages, `environment` expands `${NAME}`."""
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff") + "\n"
    if "\0" in text:
        raise ConfigurationError(f"{name}: the file holds a NUL byte; save it as UTF-8 text")
    return _Scanner(text, name=name, environment=environment).read()


class _Scanner:
    """The place reached in one text; each method reads one part of the grammar and moves on."""

    def __init__(self, text: str, *, name: str, environment: Mapping[str, str]) -> None:
        self._text = text
        self._name = name
        self._environment = environment
        self._at = 0
        self._line_ends = [found.end() for found in LINE_END.finditer(text)]
        self._doubts: list[str] = []

    def read(self) -> Sections:
        sections: Sections = {}
        entries: dict[str, Entry] = {}
        heading = "before any section,"
        while self._at < len(self._text):
            place = self._place()
            if self._take(BLANK):
                continue
            if self._take(BRACKET):
                # A repeated section replaces the one before it.
                section = self._bracketed(place)
                heading, entries = f"[{section}]", {}
                sections[section] = entries
            elif offset := self._take(OFFSET):
                key = offset[1].strip(" ")
                entries[key] = self._list_item(f"{heading} {key}", place)
            elif label := self._take(LABEL):
                key = label[0].strip(" ")
                if self._take(EQUALS):
                    entries[key] = self._value(f"{heading} {key}", place)
            elif not self._take(SPACES):
                reject(
                    place, "PHP reads no further than this: a character with a meaning of its own stands outside quotes"
                )
        return sections

    def _list_item(self, title: str, place: str) -> Entry:
        self._bracketed(place)
        if not self._take(EQUALS):
            reject(place, "PHP rejects the file here: a bracket follows a name or a space and no value follows it")
        self._value(title, place)
        return Entry(place=place, doubt="is a list; give one value, without []")

    def _value(self, title: str, place: str) -> Entry:
        """Read up to the end of the value; `symbols` is what PHP's grammar sees of it: strings, words, operators."""
        symbols, pieces = "", []
        self._doubts = []
        while not self._take(BLANK):
            if operator := self._take(OPERATOR):
                symbols += operator[1]
            elif word := self._take(SWITCHED):
                symbols += "b"
                pieces.append("1" if word[0].strip().lower() in TRUE_WORDS else "")
            elif (piece := self._piece(PLAIN)) is not None:
                symbols += "s"
                pieces.append(piece)
            elif space := self._take(SPACES):
                symbols += "s"
                pieces.append(space[0])
            elif not self._take(NOTHING_QUOTED):
                reject(place, f"{title}: PHP rejects this value; {QUOTE_IT}")
        if symbols not in ("", "b") and symbols.strip("s"):
            if not _is_calculation(symbols):
                reject(place, f"{title}: PHP rejects this value; {QUOTE_IT}")
            self._doubts.append(f"PHP calculates with one of & | ^ ~ ! ( ) outside quotes; {QUOTE_IT}")
        return Entry(place=place, text="".join(pieces), doubt="; ".join(dict.fromkeys(self._doubts)) or None)

    def _piece(self, plain: re.Pattern[str]) -> str | None:
        """Read one string of any kind; None where none starts."""
        if single := self._take(SINGLE_QUOTED):
            return single[1]
        if variable := self._take(VARIABLE):
            return self._expand(variable[1].strip(" "))
        if self._take(QUOTE):
            return self._double_quoted()
        if not (found := self._take(plain)):
            return None
        if CONSTANT.fullmatch(found[0]):
            self._doubts.append(f"a word in capitals may be a constant of PHP; {QUOTE_IT}")
        if GREEDY_DOLLAR.search(found[0]):
            self._doubts.append(f"PHP reads a $ outside quotes together with what follows it; {QUOTE_IT}")
        return found[0]

    def _double_quoted(self) -> str:
        """Read to the closing quote; `\\"` right before a line's end closes, so that Windows paths work in PHP."""
        place, pieces = self._place(), []
        while not self._take(QUOTE_END):
            if found := self._take(QUOTED):
                pieces.append(ESCAPED.sub(r"\1", found[0]))
            elif variable := self._take(VARIABLE):
                pieces.append(self._expand(variable[1].strip(" ")))
            elif self._text.startswith("${", self._at):
                reject(self._place(), "PHP rejects the ${ here; write &#36;{ for the two characters themselves")
            else:
                reject(place, "PHP rejects the file: a double quote is opened here and never closed")
        return "".join(pieces)

    def _bracketed(self, place: str) -> str:
        pieces = []
        while not self._take(BRACKET_END):
            piece = self._piece(BRACKETED)
            if piece is None:
                reject(place, "PHP rejects the file: a bracket is opened here and not closed on its line")
            pieces.append(piece)
        return "".join(pieces)

    def _expand(self, name: str) -> str:
        """Give a variable's value; PHP's environment is not ours, so what is not set here is not known."""
        if name not in self._environment:
            self._doubts.append(
                "names with ${} what is not set in Queuemedic's environment;"
                " set it there, or write &#36;{ for the two characters themselves"
            )
        return self._environment.get(name, "")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
        return found

    def _place(self) -> str:
        return f"{self._name}:{bisect_right(self._line_ends, self._at) + 1}"


def reject(place: str, message: str) -> NoReturn:
    raise ConfigurationError(f"{place}: {message}")


def _is_calculation(symbols: str) -> bool:
    """Tell whether strings and operators make an expression in PHP's grammar (zend_ini_parser.y, `expr`); O(n)."""
    depth, before = 0, "("
    for symbol in symbols:
        is_expected = before != ")" if symbol == "s" else (symbol in "(~!") == (before in "(&|^~!")
        depth += (symbol == "(") - (symbol == ")")
        if not is_expected or symbol == "b" or depth < 0:
            return False
        before = symbol
    return depth == 0 and before in "s)"
