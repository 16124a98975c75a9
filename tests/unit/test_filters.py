"""What a person asks for on the command line chooses attempts, and nothing else."""

from datetime import date, datetime, timedelta, timezone

import pytest

from exporter.jobs import JobId, Kind, QueueName
from healers.filters import Filter, matches
from tests.builders import NOON, an_attempt, span

ROW = an_attempt(
    "7",
    kind="week",
    host="web1",
    started_for="2h",
    detail={"site": 12, "date1": "2026-11-16", "date2": "2026-11-22", "period": 2},
)
BARE = an_attempt("8", kind="week", host=None, pid=None, started=None)
TEN = NOON - timedelta(hours=2)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), True),
        (Filter(queues={QueueName("q")}), True),
        (Filter(queues={QueueName("Q")}), False),
        (Filter(hosts={"web1", "web2"}), True),
        (Filter(hosts={"web"}), False),
        (Filter(jobs={JobId("7")}), True),
        (Filter(jobs={JobId("07")}), False),
        (Filter(sites={"12"}), True),
        (Filter(sites={"1"}), False),
        (Filter(kinds={Kind("week")}), True),
        (Filter(kinds={Kind("day")}), False),
        (Filter(started_before=TEN), False),
        (Filter(started_before=TEN + timedelta(seconds=1)), True),
        (Filter(started_after=TEN), True),
        (Filter(started_after=TEN + timedelta(seconds=1)), False),
        (Filter(started_after=TEN, started_before=NOON), True),
        (Filter(started_after=TEN.astimezone(timezone(timedelta(hours=5)))), True),
        (Filter(dates=(date(2026, 11, 16), date(2026, 11, 22))), True),
        (Filter(dates=(date(2026, 11, 1), date(2026, 11, 30))), True),
        (Filter(dates=(date(2026, 11, 17), date(2026, 11, 30))), False),
        (Filter(dates=(date(2026, 11, 1), date(2026, 11, 21))), False),
        (Filter(hosts={"web1"}, kinds={Kind("day")}), False),  # each part has to match
    ],
)
def test_an_attempt_matches_if_every_part_that_is_given_matches(wanted: Filter, expected: bool) -> None:
    """Starts are compared on the database's clock; a job's own days have to lie within the range, all of them."""
    assert matches(ROW, wanted, NOON) is expected


@pytest.mark.parametrize("part", ["queues", "hosts", "jobs", "sites", "kinds"])
def test_an_empty_part_matches_nothing(part: str) -> None:
    """An empty filter means nothing, never everything."""
    nothing: frozenset[str] = frozenset()
    assert not matches(ROW, Filter(**{part: nothing}), NOON)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(hosts={"web1", "None", ""}),
        Filter(sites={"12", "None", ""}),
        Filter(started_before=NOON + timedelta(days=9999)),
        Filter(started_after=NOON - timedelta(days=9999)),
        Filter(dates=(date.min, date.max)),
    ],
)
def test_what_an_attempt_does_not_have_never_matches(wanted: Filter) -> None:
    """A row without a host is on no host, and one without a start time was started neither before nor after."""
    assert matches(BARE, Filter(), NOON)
    assert not matches(BARE, wanted, NOON)


@pytest.mark.parametrize("text", ["0000-00-00", "None", "", "2026-11-16; drop table"])
def test_days_that_are_no_dates_never_match(text: str) -> None:
    """MySQL keeps 0000-00-00 where a mode allows it."""
    row = an_attempt(detail={"date1": text, "date2": "2026-11-22"})
    assert not matches(row, Filter(dates=(date.min, date.max)), NOON)


def test_starts_are_compared_on_the_databases_clock() -> None:
    """A database that is a day ahead says itself when a job was started."""
    ahead = NOON + timedelta(days=1)
    row = an_attempt(started_for="1h")
    assert row.age == span("1h")
    assert matches(row, Filter(started_after=ahead - timedelta(hours=1)), ahead)
    assert not matches(row, Filter(started_after=ahead - timedelta(hours=1)), NOON)


def test_a_filter_says_whether_it_asks_for_anything() -> None:
    """To vouch for unknown workers, a person has to say which; an empty part says it: none."""
    assert not Filter().is_given
    assert Filter(hosts={"web1"}).is_given
    assert Filter(jobs=frozenset()).is_given


def test_a_range_of_days_may_be_one_day() -> None:
    """Its first day is its last."""
    day = date(2026, 11, 16)
    row = an_attempt(detail={"date1": "2026-11-16", "date2": "2026-11-16"})
    assert matches(row, Filter(dates=(day, day)), NOON)


def test_an_impossible_filter_is_refused() -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match=r"^started_before: 2026-11-22 12:00:00 has no time zone; write one, such as"):
        Filter(started_before=datetime.fromisoformat("2026-11-22T12:00"))
    with pytest.raises(ValueError, match=r"^dates: 2026-11-22 is after 2026-11-16; write the first day first$"):
        Filter(dates=(date(2026, 11, 22), date(2026, 11, 16)))
