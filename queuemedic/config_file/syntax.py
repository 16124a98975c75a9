"""Say what is wrong where a file is no YAML, in words that tell what to write instead.

The parser's messages are PyYAML 6.0.3's (scanner.py, parser.py, reader.py); one that is not listed is shown as it is.
"""

import re

import yaml

from .faults import Fault

WORDS = (
    (r"found character '\\t'", "a tab; write spaces"),
    (r"found character ('.*')", r"a text cannot begin with \1; write it in quotes"),
    (r"mapping values are not allowed", "a ': ' where none can be; check the indentation, or quote the text"),
    (r"expected <block end>", "is not indented like the lines above it; indent it as they are"),
    (r"expected ',' or '([]}])', but got '<", r"a bracket opens here and is not closed; write '\1'"),
    (
        r"expected ',' or '([]}])'",
        r"not expected here; write ',' or '\1', or quote a text with brackets such as '${NAME}'",
    ),
    (r"found unexpected end of stream", "a quote opens here and is not closed; close it"),
    (r"could not find expected ':'", "a line without a key; write 'key: value'"),
    (r"found undefined tag handle", "a tag that is not known; leave it out, or write the text in quotes"),
    (r"found unknown escape character", r"a backslash that begins no escape; write \\\\, or use single quotes"),
)
SHOWN_AT_ITS_BEGINNING = ("found unexpected end of stream", "could not find expected ':'")


def syntax_fault(error: yaml.YAMLError, text: str) -> Fault:
    """Return the fault with its line and column."""
    if isinstance(error, yaml.reader.ReaderError):
        line, column = _place(text, error.position)
        return Fault(
            line=line, text=f"column {column}: the character U+{error.character:04X} is not allowed; remove it"
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(line=1, text=f"{error}; correct the YAML")
    problem = error.problem or "is no YAML"
    begins = problem.startswith(SHOWN_AT_ITS_BEGINNING) or "'<stream end>'" in problem
    mark = (begins and error.context_mark) or error.problem_mark
    place = f"column {mark.column + 1}: " if mark else ""
    return Fault(line=mark.line + 1 if mark else 1, text=place + _in_words(problem))


def _in_words(problem: str) -> str:
    for pattern, words in WORDS:
        if found := re.match(pattern, problem):
            return found.expand(words)
    return f"{problem}; correct the YAML here"


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")
