"""Fill `${NAME}` in a text from the environment; `$$` is a dollar sign, and any other `$` is itself.

Once and not recursively: what a variable holds is never looked through again. What is filled in is bounded.
"""

import re
from collections.abc import Mapping
from typing import Final

from .faults import UNUSABLE

REFERENCE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
MAX_FILLED: Final = 1 << 20


class BadReference(ValueError):
    """A text names a variable that cannot be filled in; the message quotes no more of the text than that name."""


def fill_in(text: str, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Return the text with its variables filled in, and those variables; raises BadReference."""
    used: dict[str, str] = {}
    parts: list[str] = []
    end = filled = 0
    for reference in REFERENCE.finditer(text):
        parts.append(text[end : reference.start()])
        end = reference.end()
        if reference.group() == "$$":
            parts.append("$")
            continue
        name = reference.group(1)
        used[name] = _look_up(name, environment)
        filled += len(used[name])
        if filled > MAX_FILLED:
            raise BadReference(f"the environment variable {name} makes the text too long; write a shorter one")
        parts.append(used[name])
    return "".join((*parts, text[end:])), used


def _look_up(name: str | None, environment: Mapping[str, str]) -> str:
    if name is None:
        raise BadReference("'${' does not begin a variable; write ${NAME}, or $$ for a dollar sign")
    if name not in environment:
        raise BadReference(f"the environment variable {name} is not set; set it, or write $$ for a dollar sign")
    if UNUSABLE.search(environment[name]):
        raise BadReference(f"the environment variable {name} is not UTF-8; set it to text")
    return environment[name]
