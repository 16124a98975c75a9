"""Work out which labels an expression of PromQL has, and refuse a metric or a label that does not exist.

As Prometheus 2.42 matches vectors: one side's labels with `on` are those listed, with `ignoring` all others, and a set
operator keeps the left side's. Raises AssertionError, with the part of the expression that is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import promql_parser as promql

from .shipped import TARGET_LABELS

Labels = frozenset[str]
NOTHING: Labels = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A matcher of a selector: which metric, label, operator and value."""

    metric: str
    label: str
    value: str
    is_regex: bool


@dataclass(slots=True)
class Reader:
    """Reads expressions; `names` are the metrics that exist, with the labels that they have beside the target's."""

    names: Mapping[str, Labels]
    selected: list[str] = field(default_factory=list)
    unaggregated: list[str] = field(default_factory=list)
    matched: list[Matched] = field(default_factory=list)

    def read(self, text: str) -> Labels:
        """Return the labels of the result; `selected`, `unaggregated` and `matched` get what was found on the way."""
        return self._labels(promql.parse(text), is_aggregated=False)

    def _labels(self, expr: promql.Expr, *, is_aggregated: bool) -> Labels:
        labels = NOTHING
        match expr:
            case promql.VectorSelector():
                labels = self._select(expr, is_aggregated=is_aggregated)
            case promql.MatrixSelector():
                labels = self._select(expr.vector_selector, is_aggregated=is_aggregated)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                labels = self._labels(expr.expr, is_aggregated=is_aggregated)
            case promql.Call():
                labels = self._call(expr, is_aggregated=is_aggregated)
            case promql.AggregateExpr():
                labels = self._aggregate(expr, is_aggregated=is_aggregated)
            case promql.BinaryExpr():
                labels = self._binary(expr, is_aggregated=is_aggregated)
            case _:
                assert isinstance(expr, promql.NumberLiteral | promql.StringLiteral), f"cannot read {expr}"
        return labels

    def _select(self, selector: promql.VectorSelector, *, is_aggregated: bool) -> Labels:
        name = selector.name or ""
        assert name in self.names, f"no such metric: {name}"
        self.selected.append(name)
        if not is_aggregated and ":" not in name:
            self.unaggregated.append(name)
        labels = self.names[name] | (TARGET_LABELS if ":" not in name else NOTHING)
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{name} has no label {matcher.name}"
            is_regex = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
            found = Matched(metric=name, label=matcher.name, value=matcher.value, is_regex=is_regex)
            self.matched.append(found)
        return labels

    def _call(self, call: promql.Call, *, is_aggregated: bool) -> Labels:
        is_absence = call.func.name == "absent"
        labels = [self._labels(part, is_aggregated=is_aggregated or is_absence) for part in call.args]
        return NOTHING if is_absence else frozenset().union(*labels)

    def _aggregate(self, expr: promql.AggregateExpr, *, is_aggregated: bool) -> Labels:
        modifier = expr.modifier
        removed = frozenset(modifier.labels) if modifier else NOTHING
        is_without = modifier is not None and modifier.type == promql.AggModifierType.Without
        labels = self._labels(expr.expr, is_aggregated=is_aggregated or (is_without and {"instance", "pod"} <= removed))
        assert removed <= labels, f"{expr}: there is no {sorted(removed - labels)}"
        return labels - removed if is_without else removed

    def _binary(self, expr: promql.BinaryExpr, *, is_aggregated: bool) -> Labels:
        left = self._labels(expr.lhs, is_aggregated=is_aggregated)
        right = self._labels(expr.rhs, is_aggregated=is_aggregated)
        if _is_scalar(expr.lhs) or _is_scalar(expr.rhs):
            return left | right
        matching = expr.modifier.matching if expr.modifier else None
        listed = frozenset(matching.labels) if matching else NOTHING
        is_on = matching is not None and matching.type == promql.LabelModifierType.Include
        assert listed <= left | right, f"{expr}: there is no {sorted(listed - left - right)}"
        if str(expr.op) == "or":
            return left | right
        matched = (listed, listed) if is_on else (left - listed, right - listed)
        assert matched[0] == matched[1], f"{expr}: {sorted(left)} never match {sorted(right)}"
        if str(expr.op) in ("and", "unless"):
            return left
        is_many = expr.modifier is not None and expr.modifier.card == promql.VectorMatchCardinality.ManyToOne
        return left if is_many else matched[0]


def _is_scalar(expr: promql.Expr) -> bool:
    match expr:
        case promql.NumberLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return _is_scalar(expr.expr)
        case promql.Call():
            return expr.func.name in ("time", "scalar")
        case promql.BinaryExpr():
            return _is_scalar(expr.lhs) and _is_scalar(expr.rhs)
    return False
