"""Turn the points of a queue into small plots: paths for SVG, and the same in words; pure.

A plot begins at nothing and ends at its largest value; its time goes from the first point to now, so that a queue that
is not read any more shows how long. Where polls failed there is a hole, not a zero. Coordinates are whole numbers, and
each of a plot's columns has at most one value: paths stay below a kilobyte or two.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from exporter.series import Point

from .words import show_number, show_rate, show_span

HEIGHT: Final = 100
HALF_HOUR: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot, `width` by 100 units. `second` is a further line, `holes` are where nothing is known: x and width.

    `top` is the largest value, `since` how long ago it begins, `label` what the plot shows in words.
    """

    width: int
    line: str
    area: str
    second: str
    holes: tuple[tuple[int, int], ...]
    top: str
    since: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What was true between two moments; None where nothing is known."""

    begins: float
    ends: float
    value: float | None
    second: float = 0.0


def plot_backlog(points: Sequence[Point], *, now: float, columns: int) -> Plot | None:
    """Draw how many jobs waited; None where there is too little to draw."""
    if len(points) < 2:
        return None
    known = [point.waiting for point in points if point.waiting is not None]
    top = max(known, default=0)
    shown = show_number(top if known else None)
    begins, width = points[0].at_seconds, 3 * columns
    scale = _Scale(begins=begins, ends=max(now, points[-1].at_seconds), width=width, top=top)
    lines, areas = [], []
    for is_known, run in groupby(_by_column(points, scale, columns), key=lambda point: point.waiting is not None):
        if not is_known:
            continue
        dots = [(scale.x(point.at_seconds), scale.y(point.waiting or 0)) for point in run]
        if len(dots) == 1:
            dots.append((dots[0][0] + 1, dots[0][1]))
        path = "L".join(f"{x} {y}" for x, y in dots)
        lines.append(f"M{path}")
        areas.append(f"M{dots[0][0]} {HEIGHT}L{path}L{dots[-1][0]} {HEIGHT}Z")
    since = show_span(scale.ends - begins)
    said = f"from {show_number(known[0])} to {show_number(known[-1])}, at most {show_number(top)}" if known else "none"
    return Plot(
        width=width,
        line="".join(lines),
        area="".join(areas),
        second="",
        holes=tuple(_holes(points, scale)),
        top=shown,
        since=since,
        label=f"Waiting jobs over {since}: {said}{_failed(points)}",
    )


def plot_throughput(points: Sequence[Point], *, now: float, columns: int) -> Plot | None:
    """Draw how many jobs ended in a time, and as a second line how many came in; None where nothing was counted."""
    spans = _spans(points)
    if not any(span.value is not None for span in spans):
        return None
    width = 3 * columns
    begins, ends = points[0].at_seconds, max(now, points[-1].at_seconds)
    drawn = [*_joined(spans, seconds=(ends - begins) / columns)]
    top = max((max(span.value, span.second) for span in drawn if span.value is not None), default=0.0)
    scale = _Scale(begins=begins, ends=ends, width=width, top=top)
    lines, areas, seconds = [], [], []
    for is_known, run in groupby(drawn, key=lambda span: span.value is not None):
        steps = [*run]
        if is_known:
            line = _steps(steps, scale, [span.value or 0.0 for span in steps])
            lines.append(f"M{line}")
            areas.append(f"M{scale.x(steps[0].begins)} {HEIGHT}V{line.split(' ', 1)[1]}V{HEIGHT}Z")
            seconds.append(f"M{_steps(steps, scale, [span.second for span in steps])}")
    since = show_span(ends - begins)
    ended, came = sum(point.ended for point in points), sum(point.enqueued for point in points)
    said = f"{show_number(ended)} ended and {show_number(came)} came in"
    return Plot(
        width=width,
        line="".join(lines),
        area="".join(areas),
        second="".join(seconds),
        holes=tuple(_holes(points, scale)),
        top=show_rate(top),
        since=since,
        label=f"Jobs over {since}: {said}, at most {show_rate(top)}{_failed(points)}",
    )


def rate(points: Sequence[Point], *, now: float, seconds: float) -> tuple[float, float] | None:
    """Return how many jobs ended and came in, by second, over the last `seconds`; None where that is not known."""
    counted = [point for point in points if point.over_seconds and point.at_seconds > now - seconds]
    over = sum(point.over_seconds for point in counted)
    if not over:
        return None
    return sum(point.ended for point in counted) / over, sum(point.enqueued for point in counted) / over


def count_ended(points: Sequence[Point], *, now: float, seconds: float = HALF_HOUR) -> int | None:
    """Count the jobs that ended within the last `seconds`; None where the points do not go back so far."""
    if not points or points[0].at_seconds > now - seconds:
        return None
    return sum(point.ended for point in points if point.at_seconds > now - seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    begins: float
    ends: float
    width: int
    top: float

    def x(self, at: float) -> int:
        return round((at - self.begins) / ((self.ends - self.begins) or 1) * self.width)

    def y(self, value: float) -> int:
        return HEIGHT - round(value / (self.top or 1) * HEIGHT)


def _by_column(points: Iterable[Point], scale: _Scale, columns: int) -> Iterator[Point]:
    """Leave one point a column: the last that is known, else a hole."""
    for _, found in groupby(points, key=lambda point: scale.x(point.at_seconds) * columns // scale.width):
        column = [*found]
        yield next((point for point in reversed(column) if point.waiting is not None), column[-1])


def _spans(points: Sequence[Point]) -> list[Span]:
    """Return what is known of the time between points; polls that failed are made up for by the next good one."""
    return [
        Span(begins=before.at_seconds, ends=point.at_seconds, value=None)
        if point.waiting is None
        else Span(
            begins=point.at_seconds - point.over_seconds,
            ends=point.at_seconds,
            value=point.ended / point.over_seconds if point.over_seconds else None,
            second=point.enqueued / point.over_seconds if point.over_seconds else 0.0,
        )
        for before, point in pairwise(points)
    ]


def _joined(spans: Sequence[Span], *, seconds: float) -> Iterator[Span]:
    """Join spans until each takes `seconds`, with the mean of their values; failures that were made up for go."""
    run: list[Span] = []
    for place, span in enumerate(spans):
        follower = spans[place + 1] if place + 1 < len(spans) else None
        if span.value is None:
            if run:
                yield _mean(run)
                run = []
            if follower is None:
                yield span
            continue
        run.append(span)
        if span.ends - run[0].begins >= seconds:
            yield _mean(run)
            run = []
    if run:
        yield _mean(run)


def _mean(spans: Sequence[Span]) -> Span:
    over = sum(span.ends - span.begins for span in spans)
    return Span(
        begins=spans[0].begins,
        ends=spans[-1].ends,
        value=sum((span.value or 0.0) * (span.ends - span.begins) for span in spans) / over,
        second=sum(span.second * (span.ends - span.begins) for span in spans) / over,
    )


def _steps(spans: Sequence[Span], scale: _Scale, values: Sequence[float]) -> str:
    """Return a path of steps, without its first letter."""
    path = f"{scale.x(spans[0].begins)} {scale.y(values[0])}"
    for span, value in zip(spans, values, strict=True):
        path += f"V{scale.y(value)}H{scale.x(span.ends)}"
    return path


def _holes(points: Sequence[Point], scale: _Scale) -> Iterator[tuple[int, int]]:
    """Return where polls failed, from the first that did to the next that did not."""
    begins: float | None = None
    for point in points:
        if point.waiting is None:
            begins = point.at_seconds if begins is None else begins
        elif begins is not None:
            yield scale.x(begins), max(1, scale.x(point.at_seconds) - scale.x(begins))
            begins = None
    if begins is not None:
        yield scale.x(begins), max(1, scale.width - scale.x(begins))


def _failed(points: Sequence[Point]) -> str:
    return "; it could not be read all the time" if any(point.waiting is None for point in points) else ""
