"""Kinds of panels: a number, a graph, a heatmap, a band for each series, a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dashboards.panels import DATASOURCE, PLAIN, RED, Column, Json, Line, Panel, Steps, Words, mappings, thresholds

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def query(expression: str, letter: str, *, legend: str = "", form: str = "time_series") -> Json:
    """Return a query: over the time shown, or as a table of how it is now."""
    is_now = form == "table"
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "format": form,
        "instant": is_now,
        "range": not is_now,
        "legendFormat": legend or "__auto",
    }


def stat(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str = "none",
    steps: Steps = PLAIN,
    words: Words | None = None,
) -> Panel:
    """Show one number large, on the colour that it deserves."""
    return Panel(
        kind="stat",
        title=title,
        description=description,
        unit=unit,
        width=3,
        height=4,
        targets=[{**query(expression, "A"), "instant": True, "range": False}],
        steps=steps,
        defaults={"mappings": mappings(words)} if words else {},
        options={
            "colorMode": "background" if steps != PLAIN or words else "value",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": "value",
            "wideLayout": True,
        },
    )


def graph(
    title: str,
    description: str,
    *lines: Line,
    unit: str = "none",
    steps: Steps | None = None,
    maximum: float | None = None,
    stacked: bool = False,
) -> Panel:
    """Draw lines over time; `steps` draw limits that are the same everywhere."""
    letters = dict(zip(LETTERS, lines, strict=False))
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        unit=unit,
        width=8,
        height=8,
        targets=[query(line.expression, letter, legend=line.legend) for letter, line in letters.items()],
        steps=steps or PLAIN,
        defaults={
            "color": {"mode": "palette-classic"},
            "custom": custom,
            "min": 0,
            **({} if maximum is None else {"max": maximum}),
        },
        overrides=[_as_limit(letter) for letter, line in letters.items() if line.is_limit],
        options={
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def heatmap(title: str, description: str, expression: str) -> Panel:
    """Show how many of a histogram's observations fell into each bucket."""
    return Panel(
        kind="heatmap",
        title=title,
        description=description,
        unit="s",
        width=8,
        height=8,
        targets=[query(expression, "A", legend="{{le}}", form="heatmap")],
        options={
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "none"},
            "color": {
                "exponent": 0.5,
                "fill": "dark-orange",
                "mode": "scheme",
                "reverse": False,
                "scale": "exponential",
                "scheme": "Oranges",
                "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
        },
    )


def timeline(title: str, description: str, expression: str, *, legend: str, steps: Steps) -> Panel:
    """Show a band for each series, in the colour that its value deserves at each time."""
    return Panel(
        kind="state-timeline",
        title=title,
        description=description,
        unit="none",
        width=24,
        height=8,
        targets=[query(expression, "A", legend=legend)],
        steps=steps,
        defaults={"color": {"mode": "thresholds"}, "custom": {"fillOpacity": 80, "lineWidth": 0}},
        options={
            "alignValue": "left",
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "auto",
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def table(
    title: str,
    description: str,
    labels: Mapping[str, str],
    *columns: Column,
    sort_by: str,
    ascending: bool = False,
    links: Mapping[str, Json] | None = None,
) -> Panel:
    """Show a row for each set of labels, sorted; `labels` says how their columns are called, `links` where cells lead.

    Of several columns the queries' rows are put together by their labels, a cell without a value stays empty.
    """
    letters = dict(zip(LETTERS, columns, strict=False))
    names = dict(labels)
    names |= {f"Value #{letter}": column.title for letter, column in letters.items()}
    if len(columns) == 1:
        names["Value"] = columns[0].title
    hidden = {"Time": True, **{f"Time {number}": True for number in range(1, len(columns) + 1)}}
    return Panel(
        kind="table",
        title=title,
        description=description,
        unit="none",
        width=24,
        height=8,
        targets=[query(column.expression, letter, form="table") for letter, column in letters.items()],
        transformations=[
            *_put_together(list(labels), len(columns)),
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: place for place, name in enumerate(names)},
                    "renameByName": names,
                },
            },
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": sort_by, "desc": not ascending}]}},
        ],
        defaults={"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}, "noValue": "–"},
        overrides=[
            *(_of_field(column.title, _cell(column)) for column in columns),
            *(_of_field(name, {"links": [link]}) for name, link in (links or {}).items()),
        ],
        options={
            "cellHeight": "sm",
            "footer": {"show": False, "countRows": False, "reducer": ["sum"], "fields": []},
            "frameIndex": 0,
            "showHeader": True,
            "sortBy": [{"displayName": sort_by, "desc": not ascending}],
        },
    )


def _put_together(labels: Sequence[str], columns: int) -> Iterator[Json]:
    if columns > 1 and len(labels) == 1:
        yield {"id": "joinByField", "options": {"byField": labels[0], "mode": "outer"}}
    elif columns > 1:
        yield {"id": "merge", "options": {}}


def _cell(column: Column) -> Json:
    is_coloured = column.steps != PLAIN or bool(column.words)
    return {
        "unit": column.unit,
        "thresholds": thresholds(column.steps),
        **({"mappings": mappings(column.words)} if column.words else {}),
        **({"custom.cellOptions": {"type": "color-background", "mode": "basic"}} if is_coloured else {}),
    }


def _of_field(name: str, properties: Json) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _as_limit(letter: str) -> Json:
    return {
        "matcher": {"id": "byFrameRefID", "options": letter},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
            {"id": "custom.lineStyle", "value": {"dash": [8, 8], "fill": "dash"}},
            {"id": "custom.fillOpacity", "value": 0},
        ],
    }
