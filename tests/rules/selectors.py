"""Find the selectors of a panel's expression, with what stands around each; Grafana's variables are read as they stand.

Outside of strings only spans are variables, so a span that nobody writes stands for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import promql_parser as promql

STAND_INS: Final = {"$__rate_interval": "1234s", "$__range": "5678s"}
SPANS: Final = {promql.parse_duration(span): name for name, span in STAND_INS.items()}
OPERATORS: Final = (
    (promql.MatchOp.Equal, "="),
    (promql.MatchOp.NotEqual, "!="),
    (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function or an aggregation, with `by` or `without` and its labels if it has them."""

    name: str
    grouping: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One metric in an expression; `calls` are those around it, the innermost first.

    `matchers` are label, operator and value; `span` is what stands in brackets, if any.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    span: str
    calls: tuple[Call, ...]


def without_variables(expression: str) -> str:
    """Put a span of its own in the place of each of Grafana's."""
    for name, span in STAND_INS.items():
        expression = expression.replace(name, span)
    return expression


def selectors_of(expression: str) -> list[Selector]:
    """Return the selectors, in the order in which they stand; ValueError if it is no PromQL."""
    return list(_find(promql.parse(without_variables(expression)), ()))


def _find(expr: promql.Expr, around: tuple[Call, ...]) -> Iterator[Selector]:
    match expr:
        case promql.VectorSelector():
            yield _selector(expr, "", around)
        case promql.MatrixSelector():
            yield _selector(expr.vector_selector, _span(expr.range), around)
        case promql.Call():
            for part in expr.args:
                yield from _find(part, (Call(name=expr.func.name), *around))
        case promql.AggregateExpr():
            yield from _find(expr.expr, (_aggregation(expr), *around))
        case promql.BinaryExpr():
            yield from _find(expr.lhs, around)
            yield from _find(expr.rhs, around)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _find(expr.expr, around)


def _selector(selector: promql.VectorSelector, span: str, around: tuple[Call, ...]) -> Selector:
    matchers = tuple((found.name, _operator(found.op), found.value) for found in selector.matchers.matchers)
    return Selector(metric=selector.name or "", matchers=matchers, span=span, calls=around)


def _operator(wanted: promql.MatchOp) -> str:
    return next(sign for operator, sign in OPERATORS if operator == wanted)


def _aggregation(expr: promql.AggregateExpr) -> Call:
    if expr.modifier is None:
        return Call(name=str(expr.op))
    grouping = "without" if expr.modifier.type == promql.AggModifierType.Without else "by"
    return Call(name=str(expr.op), grouping=grouping, labels=tuple(expr.modifier.labels))


def _span(span: timedelta) -> str:
    return SPANS.get(span) or promql.display_duration(span)
