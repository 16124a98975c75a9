"""Read what is shipped: the rules by group, the files of their tests, and the labels that each metric has."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.catalogue import METRICS, Type

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "alerts"
RULE_FILES: Final = tuple(sorted((ALERTS / "rules").glob("*.yml")))
TEST_FILES: Final = tuple(sorted((ALERTS / "tests").glob("*.yml")))
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
SERIES: Final = re.compile(r"(\w+)\{(.*)\}")
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')

# What Prometheus adds to each series of a target, here and with an operator.
TARGET_LABELS: Final = frozenset({"job", "instance", "pod"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; `alert` or `record` is its name, the other is empty. `subject` is the name of its file."""

    subject: str
    alert: str
    record: str
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def read_rules() -> Iterator[Rule]:
    """Yield every rule that is shipped."""
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield Rule(
                    subject=file.stem,
                    alert=rule.get("alert", ""),
                    record=rule.get("record", ""),
                    expr=rule["expr"],
                    labels=rule.get("labels", {}),
                    annotations=rule.get("annotations", {}),
                )


def read_test_groups(file: Path) -> list[dict[str, Any]]:
    """Return the groups of one file of promtool's tests."""
    groups: list[dict[str, Any]] = yaml.safe_load(file.read_text())["tests"]
    return groups


def read_series(text: str) -> tuple[str, dict[str, str]]:
    """Return name and labels of a series as promtool's tests write it."""
    found = SERIES.fullmatch(text)
    assert found, text
    return found[1], dict(LABEL.findall(found[2]))


def published_labels() -> dict[str, frozenset[str]]:
    """Return each name on Queuemedic's page with its labels, those of the target not among them."""
    names: dict[str, frozenset[str]] = {"up": frozenset()}
    for metric in METRICS.values():
        labels = frozenset(metric.labels)
        if metric.type is Type.HISTOGRAM:
            names |= {f"{metric.full_name}_{part}": labels for part in ("sum", "count")}
            names[f"{metric.full_name}_bucket"] = labels | {"le"}
        else:
            names[metric.full_name] = labels
    return names
