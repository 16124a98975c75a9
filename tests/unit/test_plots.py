"""Plots: within their frame, true at both ends, small, and with holes where nothing was read."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.series import Point, Series
from exporter.web.plots import HEIGHT, Plot, count_ended, plot_backlog, plot_throughput, rate
from tests.lab.scenes import SECONDS, a_series

NUMBER = re.compile(r"-?\d+")


def points_of(*polls: tuple[float, int | None, int]) -> Sequence[Point]:
    """Return points of polls: when, how many waited, how many had ended."""
    series = Series()
    for at, waiting, ended in polls:
        series.note(at, waiting=waiting, enqueued=0, ended=ended)
    return series.points()


def drawn(points: Sequence[Point], *, now: float | None = None, columns: int = 60) -> tuple[Plot, Plot]:
    """Return both plots."""
    now = points[-1].at_seconds if now is None else now
    backlog = plot_backlog(points, now=now, columns=columns)
    throughput = plot_throughput(points, now=now, columns=columns)
    assert backlog is not None
    assert throughput is not None
    return backlog, throughput


def test_a_backlog_goes_from_its_top_to_nothing() -> None:
    """The largest value touches the top, zero the bottom, now is at the right."""
    backlog, _ = drawn(points_of((0, 10, 0), (60, 5, 5), (120, 0, 10)))
    assert backlog.line == "M0 0L90 50L180 100"
    assert backlog.area == "M0 100L0 0L90 50L180 100L180 100Z"
    assert (backlog.top, backlog.since) == ("10", "2m")
    assert backlog.label == "Waiting jobs over 2m: from 10 to 0, at most 10"


def test_throughput_is_steps_of_what_ended_in_a_time() -> None:
    """A step is as long as the time it speaks of."""
    _, throughput = drawn(points_of((0, 10, 0), (60, 4, 6), (120, 1, 9)))
    assert throughput.line == "M0 0V0H90V50H180"
    assert throughput.top == "6/min"
    assert throughput.label == "Jobs over 2m: 9 ended and 0 came in, at most 6/min"


def test_a_queue_that_is_not_read_any_more_shows_how_long() -> None:
    """The line ends where the last poll was, and a hole begins where they fail."""
    backlog, throughput = drawn(points_of((0, 10, 0), (60, 10, 1), (90, None, 0)), now=180)
    assert backlog.line == "M0 0L60 0"
    assert backlog.holes == throughput.holes == ((90, 90),)
    assert "could not be read all the time" in backlog.label


def test_too_little_is_no_plot() -> None:
    """One poll says nothing about throughput."""
    points = points_of((0, 10, 0))
    assert plot_backlog(points, now=0, columns=60) is None
    assert plot_throughput(points, now=0, columns=60) is None


def test_an_outage_makes_no_peak() -> None:
    """What ended while nothing was read is spread over that time."""
    _, throughput = drawn(points_of((0, 10, 0), (60, 9, 1), (120, None, 0), (180, None, 0), (240, 6, 4)))
    assert throughput.top == "1/min"


def test_six_hours_are_small() -> None:
    """Two plots of a row are about two kilobytes, whatever the queue did."""
    backlog, throughput = drawn(a_series(waiting=27_000_000, down_for=0.5).points(), now=SECONDS)
    assert len(backlog.line + backlog.area) < 1300
    assert len(throughput.line + throughput.area + throughput.second) < 2500


@pytest.mark.parametrize(("seconds", "expected"), [(600.0, 40), (60.0, 4)])
def test_what_ended_lately_is_counted(seconds: float, expected: int) -> None:
    """Of points that go back far enough."""
    points = points_of(*((15.0 * number, 1, number) for number in range(101)))
    assert count_ended(points, now=1500, seconds=seconds) == expected
    assert count_ended(points, now=1500, seconds=3600) is None
    ended, came = rate(points, now=1500, seconds=600) or (0.0, 1.0)
    assert (round(ended, 4), came) == (round(1 / 15, 4), 0)


@given(
    st.lists(
        st.tuples(st.floats(0.1, 4000), st.one_of(st.none(), st.integers(0, 10**9)), st.integers(0, 10**6)),
        min_size=2,
        max_size=200,
    ),
    st.sampled_from([60, 144]),
)
def test_whatever_happened_stays_within_the_frame(polls: list[tuple[float, int | None, int]], columns: int) -> None:
    """No coordinate is outside, no path is without a beginning."""
    at, ended, noted = 0.0, 0, []
    for after, waiting, more in polls:
        at, ended = at + after, ended + more
        noted.append((at, waiting, ended))
    points = points_of(*noted)
    for plot in (plot_backlog(points, now=at, columns=columns), plot_throughput(points, now=at, columns=columns)):
        if plot is None:
            continue
        for path in (plot.line, plot.area, plot.second):
            assert path == "" or path.startswith("M")
            for letter, numbers in re.findall(r"([MLHVZ])([^MLHVZ]*)", path):
                found = [int(number) for number in NUMBER.findall(numbers)]
                xs, ys = {"H": (found, []), "V": ([], found)}.get(letter, (found[::2], found[1::2]))
                assert all(0 <= x <= plot.width + 1 for x in xs)
                assert all(0 <= y <= HEIGHT for y in ys)
        assert all(0 <= x <= plot.width and width > 0 for x, width in plot.holes)
