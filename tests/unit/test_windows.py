"""A window is open exactly while its zone's wall clock reads a time inside it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from healers.options import HealingOptions
from healers.windows import DAYS, is_open, opens_at, read_window

NIGHTS = "Mon-Fri 22:00-06:00 Europe/Berlin"
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC")


def at(text: str) -> datetime:
    """Read an instant; without an offset it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        # 2026-11-23 is a Monday; Berlin is an hour ahead of UTC in winter
        (NIGHTS, "2026-11-23T20:59:59", False),
        (NIGHTS, "2026-11-23T21:00", True),
        (NIGHTS, "2026-11-24T04:59:59", True),
        (NIGHTS, "2026-11-24T05:00", False),
        (NIGHTS, "2026-11-23T02:00", False),  # Monday's small hours are Sunday's night
        (NIGHTS, "2026-11-28T04:59", True),  # and Saturday's are Friday's
        (NIGHTS, "2026-11-28T21:00", False),
        ("Sun 22:00-06:00 UTC", "2026-11-23T05:59", True),  # a week's end is as any midnight
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-27T23:59:59", False),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-28T00:00", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-29T23:59:59", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-30T00:00", False),
        ("Fri-Mon 12:00-13:00 UTC", "2026-11-23T12:30", True),
        ("Fri-Mon 12:00-13:00 UTC", "2026-11-24T12:30", False),
        ("Tue 12:00-00:00 UTC", "2026-11-24T23:59", True),
        ("Tue 12:00-00:00 UTC", "2026-11-25T00:00", False),
        ("Mon 00:00-01:00 Asia/Kolkata", "2026-11-22T18:30", True),
        ("Mon 00:00-01:00 Asia/Kolkata", "2026-11-22T18:29", False),
    ],
)
def test_a_window_is_open_from_its_first_minute_to_before_its_last(window: str, now: str, expected: bool) -> None:
    """In its own zone, on its own days; across midnight it belongs to the day on which it begins."""
    assert is_open([read_window(window)], at(now)) is expected


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        # Berlin, 2026-03-29: 02:00 +01:00 becomes 03:00 +02:00. What the clock leaps over is not there.
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T01:59:59+01:00", False),
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T03:00+02:00", False),
        ("Sun 02:30-03:30 Europe/Berlin", "2026-03-29T01:59:59+01:00", False),
        ("Sun 02:30-03:30 Europe/Berlin", "2026-03-29T03:00+02:00", True),
        ("Sun 02:30-03:30 Europe/Berlin", "2026-03-29T03:30+02:00", False),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-03-29T01:59:59+01:00", True),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-03-29T03:00+02:00", False),
        ("Sat 22:00-06:00 Europe/Berlin", "2026-03-29T05:59+02:00", True),
        ("Sat 22:00-06:00 Europe/Berlin", "2026-03-29T06:00+02:00", False),
        # Berlin, 2026-10-25: 03:00 +02:00 becomes 02:00 +01:00. What the clock shows twice counts both times.
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:30+02:00", True),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:50+02:00", False),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:10+01:00", False),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:30+01:00", True),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:45+01:00", False),
        ("Sat 22:00-06:00 Europe/Berlin", "2026-10-25T05:59+01:00", True),
        # New York, 2026-03-08: 02:00 -05:00 becomes 03:00 -04:00; 2026-11-01: 02:00 -04:00 becomes 01:00 -05:00.
        ("Sun 02:00-03:00 America/New_York", "2026-03-08T03:00-04:00", False),
        ("Sun 02:30-03:30 America/New_York", "2026-03-08T03:00-04:00", True),
        ("Sun 01:00-02:00 America/New_York", "2026-11-01T01:30-04:00", True),
        ("Sun 01:00-02:00 America/New_York", "2026-11-01T01:30-05:00", True),
        ("Sun 01:00-02:00 America/New_York", "2026-11-01T02:00-05:00", False),
        # Lord Howe, 2026-10-04: 02:00 +10:30 becomes 02:30 +11:00; 2026-04-05: 02:00 +11:00 becomes 01:30 +10:30.
        ("Sun 02:00-02:30 Australia/Lord_Howe", "2026-10-04T01:59:59+10:30", False),
        ("Sun 02:00-02:30 Australia/Lord_Howe", "2026-10-04T02:30+11:00", False),
        ("Sun 02:10-02:40 Australia/Lord_Howe", "2026-10-04T02:30+11:00", True),
        ("Sun 01:40-01:50 Australia/Lord_Howe", "2026-04-05T01:45+11:00", True),
        ("Sun 01:40-01:50 Australia/Lord_Howe", "2026-04-05T01:55+11:00", False),
        ("Sun 01:40-01:50 Australia/Lord_Howe", "2026-04-05T01:45+10:30", True),
        ("Sun 01:40-01:50 Australia/Lord_Howe", "2026-04-05T02:00+10:30", False),
    ],
)
def test_when_the_clocks_change_the_wall_clock_decides(window: str, now: str, expected: bool) -> None:
    """No window is open at a time that is not written, nor closed at one that is."""
    assert is_open([read_window(window)], at(now)) is expected


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        (NIGHTS, "2026-11-22T12:00", "2026-11-23T22:00+01:00"),
        (NIGHTS, "2026-11-23T22:30", "2026-11-23T23:30+01:00"),  # it is open
        ("Sun 12:00-13:00 UTC", "2026-11-22T13:00", "2026-11-29T12:00"),
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T00:30", "2026-04-05T02:00+02:00"),
        ("Sun 02:30-03:30 Europe/Berlin", "2026-03-29T00:30", "2026-03-29T03:00+02:00"),
        ("Sun 02:10-02:40 Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-04T02:30+11:00"),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T02:50+02:00", "2026-10-25T02:15+01:00"),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-10-25T02:50+02:00", "2026-10-25T02:00+01:00"),
        ("Fri 12:00-13:00 Pacific/Apia", "2011-12-29T12:00", "2012-01-06T12:00+14:00"),  # 30 December was left out
    ],
)
def test_the_next_opening_is_named(window: str, now: str, expected: str) -> None:
    """A refusal tells a person when to look again."""
    opening = opens_at([read_window(window)], at(now))
    assert opening is not None
    assert opening.isoformat() == at(expected).astimezone(opening.tzinfo).isoformat()


def test_the_earliest_of_several_windows_opens_next() -> None:
    """Whichever order they are written in."""
    windows = [read_window("Wed 12:00-13:00 UTC"), read_window("Tue 12:00-13:00 UTC")]
    assert opens_at(windows, at("2026-11-22T12:00")) == at("2026-11-24T12:00")
    assert is_open(windows, at("2026-11-24T12:00"))
    assert is_open(windows, at("2026-11-25T12:00"))


def test_of_two_openings_in_a_repeated_hour_the_first_comes_first() -> None:
    """02:40 the first time is before 02:15 the second time, whatever the digits say."""
    windows = [read_window("Sun 02:15-02:20 Europe/Berlin"), read_window("Sun 02:40-02:45 Europe/Berlin")]
    opening = opens_at(windows, at("2026-10-25T02:25+02:00").astimezone(ZoneInfo("Europe/Berlin")))
    assert opening is not None
    assert opening.isoformat() == "2026-10-25T02:40:00+02:00"


def test_no_windows_mean_always_and_an_empty_list_means_never() -> None:
    """An empty list means nothing, never everything."""
    now = at("2026-11-22T12:00")
    assert (is_open(None, now), opens_at(None, now)) == (True, now)
    assert (is_open((), now), opens_at((), now)) == (False, None)
    assert HealingOptions().windows is None
    assert HealingOptions.model_validate({"windows": []}).windows == ()


MINUTES = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
WINDOWS = st.builds(
    "{} {}-{} {}".format,
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=3).map(",".join),
    MINUTES,
    st.one_of(MINUTES, st.just("24:00")),
    st.sampled_from(ZONES),
).filter(lambda text: text.split()[1][:5] != text.split()[1][6:])
INSTANTS = st.one_of(
    st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2027-01-01")),
    st.builds(  # the nights in which clocks change
        lambda day, minutes: datetime.fromisoformat(day) + timedelta(minutes=minutes),
        st.sampled_from(["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03"]),
        st.integers(-1440, 2880),
    ),
).map(lambda instant: instant.replace(tzinfo=UTC, second=0, microsecond=0))


@given(text=WINDOWS, now=INSTANTS)
def test_a_window_opens_when_it_says_and_not_before(text: str, now: datetime) -> None:
    """Before the opening it is closed, in every minute of the last hours, and at the opening it is open."""
    windows = [read_window(text)]
    opening = opens_at(windows, now)
    assert opening is not None
    assert is_open(windows, opening)
    minutes = int((opening - now) / timedelta(minutes=1))
    every_minute, every_quarter = range(max(0, minutes - 240), minutes), range(0, minutes, 15)
    for minute in (*every_quarter, *every_minute):
        assert not is_open(windows, now + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("22:00-06:00", "'22:00-06:00' is not a window; write days, times and a time zone, such as "),
        ("", "'' is not a window; "),
        ("Mon 22:00 06:00 UTC", "'Mon 22:00 06:00 UTC' is not a window; "),
        ("Mon 22:00-06:00", "'Mon 22:00-06:00' is not a window; "),
        ("mon 22:00-06:00 UTC", "'mon' in 'mon' is not a day; write Mon, Tue, Wed, Thu, Fri, Sat, Sun, such as "),
        ("Mon-Fry 22:00-06:00 UTC", "'Fry' in 'Mon-Fry' is not a day; "),
        ("Mon, 22:00-06:00 UTC", "'' in 'Mon,' is not a day; "),
        ("Mon-Wed-Fri 22:00-06:00 UTC", "'Mon-Wed-Fri' has more than two days; write the first and the last, "),
        ("Mon 8:00-12:00 UTC", "'8:00-12:00' are not two times; write hours and minutes in two digits each, "),
        ("Mon 08:00-٢٢:00 UTC", "'08:00-٢٢:00' are not two times; "),
        ("Mon 22:60-23:00 UTC", "'22:60-23:00' has a time that no clock shows; write 00:00 to 23:59, or 24:00 as "),
        ("Mon 22:00-24:01 UTC", "'22:00-24:01' has a time that no clock shows; "),
        ("Mon 24:00-06:00 UTC", "'24:00-06:00' has a time that no clock shows; "),
        ("Mon 06:00-06:00 UTC", "'06:00-06:00' begins when it ends; write 00:00-24:00 for a whole day"),
        ("Mon 00:00-06:00 Europe/Berln", "'Europe/Berln' is not a time zone; did you mean Europe/Berlin?"),
        ("Mon 00:00-06:00 europe/berlin", "'europe/berlin' is not a time zone; did you mean Europe/Berlin?"),
        ("Mon 00:00-06:00 Europe", "'Europe' is not a time zone; "),
        ("Mon 00:00-06:00 ../../etc/passwd", "'../../etc/passwd' is not a time zone; write one such as Europe/Berlin "),
        ("Mon 00:00-06:00 /etc/localtime", "'/etc/localtime' is not a time zone; "),
    ],
)
def test_a_wrong_window_is_refused_with_what_would_be_right(text: str, message: str) -> None:
    """While the configuration is read, not at the first pass."""
    with pytest.raises(ValidationError) as caught:
        HealingOptions.model_validate({"windows": [NIGHTS, text]})
    (fault,) = caught.value.errors()
    assert fault["loc"] == ("windows", 1)
    assert message in fault["msg"]


def test_windows_are_written_as_they_were_read() -> None:
    """So that a configuration that is shown reads back the same."""
    options = HealingOptions.model_validate({"windows": [NIGHTS]})
    written = options.model_dump(mode="json")
    assert written["windows"] == [NIGHTS]
    assert HealingOptions.model_validate(written) == options


def test_a_key_without_windows_is_refused() -> None:
    """It could mean always as well as never."""
    with pytest.raises(
        ValidationError, match=r"nothing is written here; write windows, such as .* or leave the key out"
    ):
        HealingOptions.model_validate({"windows": None})
