"""Panels, rows and dashboards as Grafana 11 reads them: what is the same everywhere is said here once.

A panel is as wide as it says, of 24 columns; a row fills lines from left to right. Ids count from 1 in reading order.
Every panel asks the data source that `$datasource` names, has a description, and a unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
GREEN, BLUE, ORANGE, RED, GREY = "green", "blue", "orange", "red", "text"

Json = dict[str, object]
Steps = tuple[tuple[str, float | None], ...]
Words = Mapping[int, tuple[str, str]]

PLAIN: Final[Steps] = ((GREY, None),)
NONE_IS_GOOD: Final[Steps] = ((GREEN, None), (RED, 1))
NONE_IS_BEST: Final[Steps] = ((GREEN, None), (ORANGE, 1))
UNDER_ONE: Final[Steps] = ((GREEN, None), (ORANGE, 0.8), (RED, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `kind` is Grafana's type; `runbooks` names the alerts whose runbooks it links to."""

    kind: str
    title: str
    description: str
    unit: str
    targets: Sequence[Json]
    width: int
    height: int
    options: Json
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()
    steps: Steps = PLAIN
    runbooks: Sequence[str] = ()

    def sized(self, width: int, height: int | None = None) -> "Panel":
        """Return it in another size."""
        return replace(self, width=width, height=height or self.height)

    def explained_by(self, *alerts: str) -> "Panel":
        """Return it with links to the runbooks of alerts, named without what all their names begin with."""
        return replace(self, runbooks=[f"Queuemedic{alert}" for alert in alerts])

    def json(self, number: int, x: int, y: int) -> Json:
        """Return it at a place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "links": [_link_to_runbook(alert) for alert in self.runbooks],
            "targets": list(self.targets),
            "transformations": list(self.transformations),
            "fieldConfig": {
                "defaults": {"unit": self.unit, "thresholds": thresholds(self.steps), **self.defaults},
                "overrides": list(self.overrides),
            },
            "options": self.options,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a heading; those of a folded row ask nothing until somebody opens it."""

    title: str
    panels: Sequence[Panel]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard. `variables` come after the data source; `hours` is how far back it begins."""

    uid: str
    title: str
    description: str
    variables: Sequence[Json]
    links: Sequence[Json]
    rows: Sequence[Row]
    hours: int = 6

    def json(self) -> Json:
        """Return the whole of it, as a file that can be imported."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["queuemedic"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": f"now-{self.hours}h", "to": "now"},
            "timezone": "browser",
            "links": list(self.links),
            "annotations": {"list": []},
            "templating": {"list": list(self.variables)},
            "panels": list(_placed(self.rows)),
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One query of a graph; a limit is drawn dashed and red."""

    expression: str
    legend: str
    is_limit: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a table's rows."""

    title: str
    expression: str
    unit: str = "none"
    steps: Steps = PLAIN
    words: Words = field(default_factory=dict)


def thresholds(steps: Steps) -> Json:
    """Say from which value on which colour holds."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}


def mappings(words: Words) -> list[Json]:
    """Show whole numbers as words, in a colour of their own."""
    shown = {str(number): {"text": text, "color": color} for number, (text, color) in words.items()}
    return [{"type": "value", "options": shown}] if shown else []


def _link_to_runbook(alert: str) -> Json:
    return {
        "title": f"Runbook {alert}",
        "type": "link",
        "url": f"${{runbooks}}{alert}.md",
        "targetBlank": True,
        "asDropdown": False,
        "icon": "doc",
        "includeVars": False,
        "keepTime": False,
        "tags": [],
        "tooltip": "",
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """Give each row and panel its place and its number."""
    number, y = 1, 0
    for row in rows:
        heading = number
        number += 1
        x, height, inside = 0, 0, []
        below = y + 1
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, below, height = 0, below + height, 0
            inside.append(panel.json(number, x, below))
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {
            "id": heading,
            "type": "row",
            "title": row.title,
            "collapsed": row.is_folded,
            "gridPos": place,
            "panels": inside if row.is_folded else [],
        }
        if not row.is_folded:
            yield from inside
        y = below + height if not row.is_folded else y + 1
