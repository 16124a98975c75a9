"""Give promtool's tests more instances of Queuemedic that watch the same queues; pure.

A twin sees what the first sees. A blind one sees nothing yet: where the rules take the largest of all instances it says
0, and where they take the smallest, far too much. Neither may change what any test expects.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from .shipped import read_rules, read_series

FIRST: Final = 'instance="a:9847"'
TWIN: Final = 'instance="b:9847"'
BLIND: Final = 'instance="c:9847"'
# What an instance does itself adds up: here the second one does nothing.
OF_EACH_INSTANCE: Final = "queuemedic_heals_total"
# Prometheus' own: an instance that is down is another matter.
OF_PROMETHEUS: Final = "up"
SMALLEST: Final = frozenset(
    name
    for rule in read_rules()
    for name in re.findall(r"\bmin without \(instance, pod\) \((?:\w+\()?(queuemedic_\w+)", rule.expr)
)
"""Metrics of which rules take the smallest."""
VALUE: Final = re.compile(r"(?:(?<=\s)|^)-?[\d.e]+(?:[+-][\d.e]+)?(?=x|\s|$)")

Group = Mapping[str, Any]


def with_other_instances(group: Group) -> dict[str, Any]:
    """Return a group of tests with a twin and a blind one beside the first instance."""
    others = []
    for series in group["input_series"]:
        name, _ = read_series(series["series"])
        values = str(series["values"])
        if FIRST not in series["series"]:
            continue
        if name != OF_EACH_INSTANCE:
            others.append({"series": series["series"].replace(FIRST, TWIN), "values": values})
        if name != OF_PROMETHEUS:
            others.append({"series": series["series"].replace(FIRST, BLIND), "values": _blind(name, values)})
    return {**group, "input_series": [*group["input_series"], *others]}


def has_one_instance(group: Group) -> bool:
    """Whether a group leaves it to this module what other instances say."""
    return TWIN not in str(group["input_series"])


def _blind(name: str, values: str) -> str:
    """Keep where there is a value and where there is none."""
    return VALUE.sub("1e12" if name in SMALLEST else "0", values)
