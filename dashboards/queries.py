"""PromQL for panels, made of the catalogue's metrics: an unknown metric or label is an error when dashboards are built.

Whatever reads a metric takes the largest value of all instances first, so that several of them double nothing. Metrics
of queues are of those chosen by `$queue`; hosts are chosen by `$host` where a query says so.
"""

from collections.abc import Mapping
from typing import Final

from exporter.catalogue import METRICS, Metric, Type

INSTANCES: Final = "without (instance, pod)"
INTERVAL: Final = "$__rate_interval"
SHOWN: Final = "$__range"
HOUR: Final = "1h"
CHOSEN_HOSTS: Final = "=~$host"
OPERATORS: Final = ("=~", "!~", "!=")
BOUND: Final = "le"


class NoSuchSeries(Exception):
    """A query asks for what the catalogue does not have."""


def now(name: str, /, **matchers: str) -> str:
    """Return a gauge; a matcher is `label="value"`, or begins with an operator: `"!=ok"`."""
    return _read(name, Type.GAUGE, "{}", matchers)


def by_instance(name: str, /) -> str:
    """Return a gauge of each instance apart: the one query that is about instances, not about what they see."""
    metric = METRICS[name]
    return f"max by (queue, instance) ({metric.full_name}{_matchers(metric, {})})"


def age(name: str, /, **matchers: str) -> str:
    """Return the seconds since a timestamp."""
    if not name.endswith("_timestamp_seconds"):
        raise NoSuchSeries(f"{name} is no timestamp")
    return f"time() - {now(name, **matchers)}"


def rate(name: str, /, **matchers: str) -> str:
    """Return a counter's growth by second."""
    return _read(name, Type.COUNTER, f"rate({{}}[{INTERVAL}])", matchers)


def grown(name: str, over: str, /, **matchers: str) -> str:
    """Return how much a counter has grown over a span."""
    return _read(name, Type.COUNTER, f"increase({{}}[{over}])", matchers)


def buckets(name: str, /) -> str:
    """Return a histogram's growth in the interval, by bucket."""
    return total(_read(name, Type.HISTOGRAM, f"increase({{}}[{INTERVAL}])", {}), BOUND)


def quantile(share: float, name: str, /, *labels: str) -> str:
    """Return what a share of a histogram's observations did not exceed."""
    rates = _read(name, Type.HISTOGRAM, f"rate({{}}[{INTERVAL}])", {})
    return f"histogram_quantile({share}, {total(rates, *labels, BOUND)})"


def total(expression: str, *labels: str) -> str:
    """Add up, by labels if some are given."""
    return _aggregated("sum", expression, labels)


def most(expression: str, *labels: str) -> str:
    """Take the largest, by labels if some are given."""
    return _aggregated("max", expression, labels)


def least(expression: str, *labels: str) -> str:
    """Take the smallest, by labels if some are given."""
    return _aggregated("min", expression, labels)


def top(number: int, expression: str) -> str:
    """Take the largest series."""
    return f"topk({number}, {expression})"


def over(part: str, whole: str) -> str:
    """Divide, and be absent where there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def firing(*labels: str) -> str:
    """Return the program's alerts that fire, as Prometheus itself says in ALERTS."""
    alerts = 'ALERTS{alertname=~"Queuemedic.+", alertstate="firing"}'
    return most(f"max {INSTANCES} ({alerts})", *labels)


def _aggregated(operator: str, expression: str, labels: tuple[str, ...]) -> str:
    by = f" by ({', '.join(labels)}) " if labels else ""
    return f"{operator}{by}({expression})"


def _read(name: str, type_: Type, form: str, matchers: Mapping[str, str]) -> str:
    metric = METRICS[name]
    if metric.type is not type_:
        raise NoSuchSeries(f"{name} is a {metric.type}, not a {type_}")
    series = metric.full_name + ("_bucket" if type_ is Type.HISTOGRAM else "")
    return f"max {INSTANCES} ({form.format(series + _matchers(metric, matchers))})"


def _matchers(metric: Metric, matchers: Mapping[str, str]) -> str:
    unknown = matchers.keys() - set(metric.labels)
    if unknown:
        raise NoSuchSeries(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    chosen = {"queue": "=~$queue"} if "queue" in metric.labels else {}
    found = [_matcher(label, value) for label, value in {**chosen, **matchers}.items()]
    return "{" + ", ".join(found) + "}" if found else ""


def _matcher(label: str, value: str) -> str:
    operator = next((one for one in OPERATORS if value.startswith(one)), "")
    return f'{label}{operator or "="}"{value.removeprefix(operator)}"'
