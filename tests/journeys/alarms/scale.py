"""Shorten the time of rules, of Alertmanager's example and of the program's limits, all by one factor; pure.

So an hour is ten seconds, and three days are twelve minutes. What is shortened in an expression: each range, each
offset, and the numbers that are seconds. Those are listed, as are the large numbers that are none, so that a rule with
a number that nobody has thought of is refused instead of being tested with the wrong one.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import yaml

from exporter.options import read_duration, show_duration

FACTOR: Final = 360
SECONDS: Final = frozenset({3600, 7200, 21600, 86400})
OTHERS: Final = frozenset({10000})
"""Bytes."""
LEAST_IN_QUESTION: Final = 600
SECOND: Final = timedelta(seconds=1)
MILLISECOND: Final = timedelta(milliseconds=1)

SPAN: Final = r"(?:[0-9]+(?:ms|[smhdwy]))+"
TOKEN: Final = re.compile(
    rf"""(?P<text>"[^"]*"|'[^']*')|(?P<name>[A-Za-z_$][\w:.]*)|(?P<span>{SPAN})(?!\w)|(?P<number>[0-9]+(?:\.[0-9]+)?)"""
)
RULE_SPANS: Final = ("for", "keep_firing_for")
ROUTE_SPANS: Final = ("group_wait", "repeat_interval")
LEAST_GROUP_INTERVAL: Final = timedelta(seconds=5)
"""Alertmanager hears of each alert every 3 to 4 s (`lab.prometheus`), and of all between two messages."""


def shorten(span: str) -> str:
    """Write a span of Prometheus shorter by the factor, in milliseconds: `1h` is `10000ms`."""
    return _write(read_duration(span) / FACTOR)


def limit(span: str) -> str:
    """Write a limit of the program's configuration shorter by the factor, in whole seconds and one at least."""
    return show_duration(max(SECOND, round(read_duration(span) / FACTOR / SECOND) * SECOND))


def shorten_expression(expression: str) -> str:
    """Shorten every range, every offset, and every number that is seconds; raises ValueError where it may be either."""
    return TOKEN.sub(_shorten_token, expression)


def shorten_rules(text: str) -> str:
    """Shorten a file of rules."""
    tree = yaml.safe_load(text)
    for group in tree["groups"]:
        _shorten_keys(group, ("interval",), shorten)
        for rule in group["rules"]:
            _shorten_keys(rule, RULE_SPANS, shorten)
            _shorten_keys(rule, ("expr",), shorten_expression)
    return yaml.safe_dump(tree)


def shorten_routes(text: str) -> str:
    """Shorten a configuration of Alertmanager."""
    tree = yaml.safe_load(text)
    _shorten_route(tree["route"])
    return yaml.safe_dump(tree)


def _shorten_route(route: dict[str, Any]) -> None:
    _shorten_keys(route, ROUTE_SPANS, shorten)
    _shorten_keys(route, ("group_interval",), _shorten_group_interval)
    for inner in route.get("routes", ()):
        _shorten_route(inner)


def _shorten_group_interval(span: str) -> str:
    return _write(max(LEAST_GROUP_INTERVAL, read_duration(span) / FACTOR))


def _write(span: timedelta) -> str:
    return f"{max(1, round(span / MILLISECOND))}ms"


def _shorten_keys(mapping: dict[str, Any], keys: tuple[str, ...], change: Callable[[str], str]) -> None:
    for key in keys:
        if key in mapping:
            mapping[key] = change(mapping[key])


def _shorten_token(token: re.Match[str]) -> str:
    if span := token["span"]:
        return shorten(span)
    if not token["number"]:
        return token[0]
    number = float(token["number"])
    if number in SECONDS:
        return f"{number / FACTOR:g}"
    if number >= LEAST_IN_QUESTION and number not in OTHERS:
        raise ValueError(f"{token[0]}: seconds, or a number of something? Add it to SECONDS or OTHERS")
    return token[0]
