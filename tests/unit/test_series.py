"""What plots are made of: bounded, true at every width, and down is not empty."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.series import LONGEST_SECONDS, POINTS, WIDEST_SECONDS, Point, Series


def noted(count: int, *, every: float = 15.0) -> Series:
    """Return a queue that lost a job at each poll, and got two."""
    series = Series()
    for number in range(count):
        series.note(1000 + number * every, waiting=number, enqueued=2 * number, ended=number)
    return series


def test_the_first_polls_are_points_of_their_own() -> None:
    """Nothing is counted at the first one; each later one says of how long it speaks."""
    assert noted(3).points() == (
        Point(at_seconds=1000, waiting=0),
        Point(at_seconds=1015, waiting=1, enqueued=2, ended=1, over_seconds=15),
        Point(at_seconds=1030, waiting=2, enqueued=2, ended=1, over_seconds=15),
    )


def test_what_merges_loses_nothing() -> None:
    """A day of polls is as many points as fit, over six hours, and counts add up."""
    points = noted(24 * 240).points()
    assert POINTS / 2 <= len(points) <= POINTS
    span = points[-1].at_seconds - points[0].at_seconds
    assert LONGEST_SECONDS - 2 * WIDEST_SECONDS <= span <= LONGEST_SECONDS + WIDEST_SECONDS
    assert sum(point.ended for point in points[1:]) == span / 15
    assert points[-1].waiting == 24 * 240 - 1
    assert all(point.enqueued == 2 * point.ended for point in points[1:])


def test_a_failed_poll_is_a_hole_and_what_ended_meanwhile_is_spread_over_it() -> None:
    """The rate after an outage is that of the outage, no peak."""
    series = Series()
    series.note(0, waiting=10)
    series.note(15, waiting=None)
    series.note(30, waiting=4, ended=6)
    assert [(point.waiting, point.ended, point.over_seconds) for point in series.points()] == [
        (10, 0, 0),
        (None, 0, 0),
        (4, 6, 30),
    ]


def test_one_good_poll_fills_a_slot() -> None:
    """A slot is a hole only where every poll in it failed."""
    series = noted(POINTS + 1)
    at = series.points()[-1].at_seconds
    slot = 2 * (at - 1000) / POINTS
    begin = (at // slot + 1) * slot
    series.note(begin, waiting=7, enqueued=2 * POINTS, ended=POINTS)
    series.note(begin + slot / 2, waiting=None)
    assert series.points()[-1].waiting == 7


@given(
    st.lists(
        st.tuples(st.floats(0, 4000), st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 9), st.integers(0, 9)),
        max_size=600,
    )
)
def test_any_polls_are_bounded_in_order_and_add_up(polls: list[tuple[float, int | None, int, int]]) -> None:
    """Whatever the intervals: never more points than fit, times rise, the last poll is the last point."""
    series, at, came, ended = Series(), 0.0, 0, 0
    for after, waiting, more_came, more_ended in polls:
        at += after
        if waiting is not None:
            came, ended = came + more_came, ended + more_ended
        series.note(at, waiting=waiting, enqueued=came, ended=ended)
    points = series.points()
    assert len(points) <= min(len(polls), POINTS)
    times = [point.at_seconds for point in points]
    assert times == sorted(times)
    assert times[-1:] == [at][: len(polls)]
    assert sum(point.ended for point in points) <= ended
