"""Change one thing of a rule at a time: each number, span, comparison, condition and matcher of it.

A rule's text is cut into what may be changed by regular expressions, in which label matchers and strings are blanked
out, and what follows an `and` or `unless` goes to the next one of its level. Pure: rules in, rules out.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Rule = dict[str, Any]

MATCHERS: Final = re.compile(r"\{[^}]*\}")
SPAN: Final = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]")
NUMBER: Final = re.compile(r"(?<![\w.:])\d+(?:\.\d+)?(?![\w.:])")
COMPARISON: Final = re.compile(r"[<>=!]=|[<>]")
SET_OPERATOR: Final = re.compile(r"\b(?:and|or|unless)\b")
EXTREME: Final = re.compile(r"\b(?:min|max)(?=\b|_over_time)")
ONE_MATCHER: Final = re.compile(r'\w+(?:=~|!~|=|!=)"[^"]*"')
OTHER_COMPARISONS: Final = {
    ">": (">=", "<"),
    ">=": (">", "<"),
    "<": ("<=", ">"),
    "<=": ("<", ">"),
    "==": ("!=",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A rule of which one thing is changed; the name tells what, and is the only one of it."""

    name: str
    rule: Rule


def mutants_of(rule: Rule) -> Iterator[Mutant]:
    """Yield the rule with each change."""
    seen: Counter[str] = Counter()
    changed = [(what, {**rule, "expr": expr}) for what, expr in _changed_expressions(rule["expr"])]
    for key in ("for", "keep_firing_for"):
        changed += [(f"{key} {rule[key]} → {span}", {**rule, key: span}) for span in _spans(rule.get(key, ""))]
    for what, other in changed:
        seen[what] += 1
        place = f" #{seen[what]}" if seen[what] > 1 else ""
        yield Mutant(name=f"{rule.get('alert') or rule['record']}: {what}{place}", rule=other)


def _changed_expressions(expr: str) -> Iterator[tuple[str, str]]:
    blank = MATCHERS.sub(lambda found: "_" * len(found[0]), expr)
    for found in SPAN.finditer(blank):
        for span in _spans(found[0]):
            yield _replaced(expr, found, span)
    for found in NUMBER.finditer(blank):
        for number in _numbers(found[0]):
            yield _replaced(expr, found, number)
    for found in COMPARISON.finditer(blank):
        for comparison in OTHER_COMPARISONS[found[0]]:
            yield _replaced(expr, found, comparison)
    for found in EXTREME.finditer(blank):
        yield _replaced(expr, found, "max" if found[0] == "min" else "min")
    for found in SET_OPERATOR.finditer(blank):
        yield from _without_operand(expr, blank, found)
    for braces in MATCHERS.finditer(expr):
        yield from _changed_matchers(expr, braces)


def _replaced(expr: str, found: re.Match[str], text: str) -> tuple[str, str]:
    return f"{found[0]} → {text}", expr[: found.start()] + text + expr[found.end() :]


def _spans(span: str) -> Iterator[str]:
    """Yield twice and half of it, in seconds."""
    if span:
        seconds = int(span[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[span[-1]]
        yield from (f"{seconds * 2}s", f"{seconds // 2}s")


def _numbers(number: str) -> tuple[str, ...]:
    value = float(number)
    return (f"{value * 2:g}", f"{value / 2:g}") if value else ("1", "-1")


def _without_operand(expr: str, blank: str, operator: re.Match[str]) -> Iterator[tuple[str, str]]:
    """Yield the expression without what stands right of an operator, and of `or` without what stands left of it."""
    words = {"or"} if operator[0] == "or" else {"and", "or", "unless"}
    end = _end_of_operand(blank, operator.end(), words)
    without = " ".join(expr[operator.start() : end].split())
    yield f"without {without}", expr[: operator.start()] + expr[end:]
    if operator[0] == "or":
        start = len(blank) - _end_of_operand(blank[::-1].translate(TURNED), len(blank) - operator.start(), {"ro"})
        yield "without what is left of or", expr[:start] + expr[operator.end() :]


TURNED: Final = str.maketrans("()", ")(")


def _end_of_operand(blank: str, start: int, words: set[str]) -> int:
    depth = 0
    for found in re.compile(r"[()]|\b\w+\b").finditer(blank, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth < 0 or (depth == 0 and found[0] in words):
            return found.start()
    return len(blank)


def _changed_matchers(expr: str, braces: re.Match[str]) -> Iterator[tuple[str, str]]:
    """Yield the expression without one matcher, and without one of several values of it."""
    matchers = ONE_MATCHER.findall(braces[0])
    for position, matcher in enumerate(matchers):
        left = [*matchers[:position], *matchers[position + 1 :]]
        yield f"without {matcher}", _with_matchers(expr, braces, left)
        head, values = matcher.split('"')[:2]
        alternatives = values.split("|") if "~" in head else []
        for value in alternatives if len(alternatives) > 1 else ():
            rest = "|".join(one for one in alternatives if one != value)
            yield f"{matcher} without {value}", _with_matchers(expr, braces, [*left, f'{head}"{rest}"'])


def _with_matchers(expr: str, braces: re.Match[str], matchers: list[str]) -> str:
    return expr[: braces.start()] + "{" + ",".join(matchers) + "}" + expr[braces.end() :]
