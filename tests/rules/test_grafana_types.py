"""The dashboards are what Grafana 11.6 understands: no key that it would drop, no value of another type."""

import copy
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from .linting import panels_of
from .shipped import ROOT

DASHBOARDS: Final = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "dashboards").glob("*.json"))}

Dashboard = dict[str, Any]
Faults = Callable[[Dashboard], list[str]]


@pytest.fixture(scope="module")
def faults_of() -> Faults:
    """Imported only where it is used: the SDK takes a fifth of a second."""
    from . import grafana_types  # noqa: PLC0415

    return grafana_types.faults_of


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_grafana_knows_every_key_and_takes_every_value(dashboard: Dashboard, faults_of: Faults) -> None:
    """Of the dashboard, its variables, rows, panels, queries, links, and what each kind of panel has of its own."""
    assert faults_of(dashboard) == []


def _panel(dashboard: Dashboard, kind: str, *, having: str = "") -> Any:
    return next(
        panel
        for panel in panels_of(dashboard)
        if panel["type"] == kind and having in [one["id"] for one in _properties(panel)] + [""]
    )


def _properties(panel: Any) -> list[Any]:
    return [one for override in panel["fieldConfig"]["overrides"] for one in override["properties"]]


def _misspell(found: Any, key: str) -> None:
    found[f"{key}s"] = found.pop(key)


def _set(property_id: str, value: object) -> Callable[[Dashboard], None]:
    def change(dashboard: Dashboard) -> None:
        panel = _panel(dashboard, "table", having=property_id)
        next(one for one in _properties(panel) if one["id"] == property_id)["value"] = value

    return change


BROKEN: Final[dict[str, Callable[[Dashboard], object]]] = {
    "key of the dashboard": lambda it: _misspell(it, "refresh"),
    "key in other case": lambda it: it.update(graph_tooltip=it.pop("graphTooltip")),
    "key of a variable": lambda it: _misspell(it["templating"]["list"][1], "refresh"),
    "key of a link": lambda it: _misspell(it["links"][0], "targetBlank"),
    "key of a panel": lambda it: _misspell(_panel(it, "stat"), "description"),
    "key of a query": lambda it: _misspell(_panel(it, "stat")["targets"][0], "instant"),
    "key of options": lambda it: _misspell(_panel(it, "stat")["options"], "colorMode"),
    "key of what a plugin adds": lambda it: _misspell(
        _panel(it, "timeseries")["fieldConfig"]["defaults"]["custom"], "lineWidth"
    ),
    "key of a transformation": lambda it: _misspell(_panel(it, "table")["transformations"][0], "id"),
    "number for a text": lambda it: it.update(title=11),
    "text for a number": lambda it: it.update(schemaVersion="39"),
    "truth for a number": lambda it: _panel(it, "stat")["gridPos"].update(w=True),
    "text for a list": lambda it: _panel(it, "stat").update(links="docs"),
    "text for an object": lambda it: _panel(it, "stat").update(gridPos="24"),
    "no such kind of panel": lambda it: _panel(it, "stat").update(type="stats"),
    "no such kind of query": lambda it: _panel(it, "stat").update(datasource={"type": "prom", "uid": "$datasource"}),
    "no such value": lambda it: _panel(it, "stat")["options"].update(colorMode="loud"),
    "no such mode of tooltips": lambda it: it.update(graphTooltip=7),
    "no such property": lambda it: _properties(_panel(it, "table", having="unit"))[0].update(id="units"),
    "no such property of the plugin": lambda it: _properties(_panel(it, "table", having="unit"))[0].update(
        id="custom.fillOpacity"
    ),
    "number for a unit": _set("unit", 5),
    "text for a list of mappings": _set("mappings", "ok"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_grafana_does_not_know_is_found(change: Callable[[Dashboard], object], faults_of: Faults) -> None:
    """A check that finds nothing would hold of everything."""
    dashboard = copy.deepcopy(DASHBOARDS["queue"])
    change(dashboard)
    assert faults_of(dashboard) != []
