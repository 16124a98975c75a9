"""What happened between two snapshots is counted once, as what it was."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts import derive_facts
from exporter.jobs import Finished, Kind, Snapshot, State, WorkerSigns
from exporter.options import QueueOptions
from exporter.tracker import Ending, History, track
from tests.builders import DAY, NOON, a_snapshot, a_waiting, an_attempt, span

OPTIONS = QueueOptions(timeout_after=span("4h"))


def run(*snapshots: Snapshot, options: QueueOptions = OPTIONS, kinds: Iterable[Kind] = (DAY,)) -> History:
    """Track the snapshots in order."""
    history = History.begin(kinds, options, aliases={"web1.example": "web1"})
    for snapshot in snapshots:
        history = track(history, snapshot, options)
    return history


def test_the_first_snapshot_counts_nothing() -> None:
    """A restart makes no burst: what is there at the first poll is the baseline."""
    history = run(a_snapshot(an_attempt(started_for="5h"), waiting=[a_waiting(1000, enqueued=0)]))
    assert (history.enqueued, history.ended, history.attempts_started, history.timed_out) == ({DAY: 0},) * 4


@pytest.mark.parametrize(
    ("before", "new", "after", "enqueued", "ended"),
    [
        (10, 0, 10, 0, 0),
        (10, 5, 15, 5, 0),
        (10, 0, 4, 0, 6),
        (10, 5, 4, 5, 11),
        (0, 7, 0, 7, 7),
        (10, 0, 12, 2, 0),
        (10, 1, 14, 4, 0),
    ],
)
def test_jobs_are_counted_by_what_came_and_what_is_left(
    before: int, new: int, after: int, enqueued: int, ended: int
) -> None:
    """Ended = before + enqueued - after; rows committed behind the cursor are enqueued late, never ended below zero."""
    history = run(
        a_snapshot(waiting=[a_waiting(before)]),
        a_snapshot(waiting=[a_waiting(after, enqueued=new)], at="15s"),
    )
    assert (history.enqueued[DAY], history.ended[DAY]) == (enqueued, ended)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_counters_rise_and_explain_the_backlog(steps: list[tuple[int, int]]) -> None:
    """Whatever is enqueued and ends, counters never fall, and first + enqueued - ended is what is there."""
    waiting = 5
    history = run(a_snapshot(waiting=[a_waiting(waiting)]))
    for number, (new, most) in enumerate(steps, start=1):
        last = history
        done = min(most, waiting + new)
        waiting += new - done
        snapshot = a_snapshot(waiting=[a_waiting(waiting, enqueued=new)], at=f"{number * 15}s")
        history = track(history, snapshot, OPTIONS)
        assert history.enqueued[DAY] >= last.enqueued[DAY]
        assert history.ended[DAY] >= last.ended[DAY]
        assert 5 + history.enqueued[DAY] - history.ended[DAY] == waiting


@pytest.mark.parametrize(
    ("second", "endings", "started"),
    [
        (a_snapshot(at="15s"), {Ending.GONE: 1}, 0),
        (a_snapshot(at="15s", left_started={"1": State.WAITING}), {Ending.RETURNED: 1}, 0),
        (a_snapshot(at="15s", left_started={"1": State.STARTED}), {}, 0),
        (a_snapshot(an_attempt(pid="200"), at="15s"), {Ending.RESTARTED: 1}, 1),
        (a_snapshot(an_attempt(started="2026-11-22 12:00:10"), at="15s"), {Ending.RESTARTED: 1}, 1),
        (a_snapshot(an_attempt(started_for="75s"), at="15s"), {}, 0),
        (a_snapshot(an_attempt("2"), at="15s"), {Ending.GONE: 1}, 1),
    ],
)
def test_attempts_end_as_gone_returned_or_restarted(second: Snapshot, endings: dict[Ending, int], started: int) -> None:
    """An attempt is its row, start time, host and pid; a change of any is another attempt."""
    history = run(a_snapshot(an_attempt()), second)
    assert {ending: history.attempts_ended[DAY, ending] for ending in Ending} == {
        ending: endings.get(ending, 0) for ending in Ending
    }
    assert history.attempts_started[DAY] == started


def test_a_gone_attempt_lasted_at_most_until_the_poll_that_missed_it() -> None:
    """The histogram has the upper bound: the last age that was seen, and the time since."""
    history = run(a_snapshot(an_attempt(started_for="50s")), a_snapshot(at="15s"))
    histogram = history.attempt_durations[DAY]
    assert (histogram.sum_seconds, sum(histogram.counts)) == (65.0, 1)
    assert dict(histogram.cumulative())["60.0"] == 0


def test_waiting_is_measured_when_an_attempt_is_first_seen() -> None:
    """From enqueued to the poll that first saw it started; once."""
    seen = an_attempt(enqueued_for="10m")
    history = run(a_snapshot(), a_snapshot(seen, at="15s"), a_snapshot(seen, at="30s"))
    assert (history.waiting_durations[DAY].sum_seconds, sum(history.waiting_durations[DAY].counts)) == (600.0, 1)


def test_a_crossing_counts_once_and_only_if_seen_below() -> None:
    """First seen beyond the limit is no crossing; seen below and then beyond is one, however long it stays."""
    below, beyond = an_attempt(started_for="3h"), an_attempt(started_for="5h")
    late = an_attempt("2", started_for="6h")
    history = run(a_snapshot(below, late), a_snapshot(beyond, late, at="2h"), a_snapshot(beyond, late, at="3h"))
    assert history.timed_out == {DAY: 1}


def test_the_timeout_ratio_counts_crossings_and_what_is_still_over() -> None:
    """Three hung workers cross once and stay over: they go on counting; a crossing leaves after the window."""
    options = QueueOptions(timeout_after=span("4h"), timeout_window=span("1h"))
    hung = [an_attempt(str(number), started_for="3h59m") for number in range(3)]
    over = [an_attempt(str(number), started_for="4h1m") for number in range(3)]
    first = a_snapshot(*hung, waiting=[a_waiting(20)])
    second = a_snapshot(*over, waiting=[a_waiting(12)], at="2m")
    history = run(first, second, options=options)
    assert derive_facts(second, history, options, WorkerSigns()).timeout_ratio == pytest.approx(3 / 11)
    third = a_snapshot(waiting=[a_waiting(12)], at="4m")
    history = track(history, third, options)
    assert derive_facts(third, history, options, WorkerSigns()).timeout_ratio == pytest.approx(3 / 11)
    later = a_snapshot(waiting=[a_waiting(2)], at="70m")
    history = track(history, later, options)
    assert derive_facts(later, history, options, WorkerSigns()).timeout_ratio == 0.0


def test_the_timeout_ratio_is_absent_where_little_happened() -> None:
    """Below ten ended or overdue jobs a ratio says nothing."""
    second = a_snapshot(waiting=[a_waiting(1)], at="15s")
    history = run(a_snapshot(waiting=[a_waiting(10)]), second)
    assert derive_facts(second, history, OPTIONS, WorkerSigns()).timeout_ratio is None


def test_a_worker_is_dated_over_all_its_jobs_and_one_missed_poll() -> None:
    """Between two batches an archiver holds nothing for a moment; it is still the same run."""
    first = a_snapshot(an_attempt("1", started_for="10m"))
    gap = a_snapshot(at="15s")
    second = a_snapshot(an_attempt("2", started_for="5s"), at="30s")
    history = run(first, gap, second)
    assert [worker.since for worker in history.workers.values()] == [NOON - timedelta(minutes=10)]
    assert run(first, gap, a_snapshot(at="30s")).workers == {}


def test_a_clock_that_is_set_makes_nobody_time_out_or_grow_old() -> None:
    """The database's clock a day ahead for one poll, and right again: no crossing, and workers are dated anew."""
    usual, ahead = an_attempt(started_for="10m"), an_attempt(started_for="1d10m")
    day = timedelta(days=1)
    first = a_snapshot(usual)
    second = replace(a_snapshot(ahead, at="15s"), database_now=NOON + day + timedelta(seconds=15))
    third = a_snapshot(an_attempt(started_for="11m"), at="1m")
    history = run(first, second, third)
    assert history.timed_out == {DAY: 0}
    assert [worker.since for worker in history.workers.values()] == [NOON - timedelta(minutes=10)]
    gone = track(run(first), replace(a_snapshot(at="15s"), database_now=NOON + day), OPTIONS)
    assert gone.attempt_durations[DAY].sum_seconds == 615.0


def test_hosts_beyond_the_limit_are_other_and_the_first_keep_their_label() -> None:
    """First come and sticky: a host that has a label keeps it."""
    options = QueueOptions(max_hosts=3)
    first = a_snapshot(an_attempt("1", host="a"), an_attempt("2", host="b"))
    second = a_snapshot(*(an_attempt(str(number), host=f"h{number}") for number in range(5)), at="15s")
    history = run(first, second, options=options)
    facts = derive_facts(second, history, options, WorkerSigns())
    assert list(history.hosts.known) == ["none", "a", "b"]
    assert {host: load.started for host, load in facts.hosts.items()} == {"none": 0, "a": 0, "b": 0, "other": 5}
    assert facts.labels_dropped["host"] == 5


def test_an_alias_is_its_host() -> None:
    """A recorded name that is configured as an alias is published under the host's own name."""
    snapshot = a_snapshot(an_attempt(host="web1.example"), an_attempt("2", host="web1"))
    facts = derive_facts(snapshot, run(snapshot), OPTIONS, WorkerSigns())
    assert {host: load.started for host, load in facts.hosts.items()} == {"none": 0, "web1": 2}


def test_kinds_beyond_the_limit_are_other() -> None:
    """The counters of folded kinds add up in `other`."""
    options = QueueOptions(max_kinds=1)
    first = a_snapshot(waiting=[a_waiting(1, kind="a"), a_waiting(5, kind="b"), a_waiting(5, kind="c")])
    second = a_snapshot(waiting=[a_waiting(1, kind="a"), a_waiting(3, kind="b"), a_waiting(4, kind="c")], at="15s")
    history = run(first, second, options=options, kinds=())
    assert history.ended == {"a": 0, "other": 3}
    assert derive_facts(second, history, options, WorkerSigns()).jobs[State.WAITING, "other"] == 7


def test_a_limit_on_attempts_makes_no_false_starts_or_ends() -> None:
    """An attempt that falls behind the limit is not over, and one that comes into view again has not just begun."""
    shown = [an_attempt(str(number), started_for="1h") for number in range(3)]
    history = run(
        a_snapshot(*shown, left_out={DAY: 2}),
        a_snapshot(
            *shown[:2],
            an_attempt("9", started_for="1h"),
            left_out={DAY: 2},
            left_started={"2": State.STARTED},
            at="15s",
        ),
    )
    assert history.attempts_started == {DAY: 0}
    assert not any(history.attempts_ended.values())


def beats(*seen: tuple[str, str, str]) -> timedelta | None:
    """Track one attempt over (at, heartbeat, its age by the database's clock) and return its silence at the end."""
    snapshots = [
        a_snapshot(an_attempt(heartbeat=value, heartbeat_age=age, started_for="1d"), at=at) for at, value, age in seen
    ]
    return next(iter(run(*snapshots).silences.values()), None)


@pytest.mark.parametrize(
    ("seen", "silence"),
    [
        ([("0s", "a", "0s")], "0s"),
        ([("0s", "a", "45s")], "45s"),
        ([("0s", "a", "1s"), ("15s", "b", "1s")], "1s"),
        ([("0s", "a", "1s"), ("15s", "a", "16s"), ("30s", "a", "31s")], "31s"),
        # The worker's clock is ten minutes behind the database's, or ahead: what changes lives, the rest is silent.
        ([("0s", "a", "10m"), ("15s", "b", "10m")], "15s"),
        ([("0s", "a", "0s"), ("15s", "a", "0s"), ("40s", "a", "0s")], "40s"),
        ([("0s", "a", "0s"), ("40s", "a", "0s"), ("55s", "b", "0s")], "0s"),
    ],
)
def test_a_heartbeat_is_silent_for_as_long_as_it_does_not_change(
    seen: list[tuple[str, str, str]], silence: str
) -> None:
    """Its date, on its worker's clock, counts at first sight only."""
    assert beats(*seen) == span(silence)


def test_an_attempt_that_was_put_back_ends_as_healed() -> None:
    """Whether it waits, was taken by another worker, or is done by now; and only once it is over."""
    healed = an_attempt("1")
    first = run(a_snapshot(healed, an_attempt("2")))
    still = track(first, a_snapshot(healed, an_attempt("2"), at="15s"), OPTIONS, healed={healed.key})
    assert not sum(still.attempts_ended.values())
    for state in (State.WAITING, State.STARTED, None):
        left = {} if state is None else {"1": state}
        second = a_snapshot(at="30s", left_started={**left, "2": State.WAITING})
        ended = track(still, second, OPTIONS, healed={healed.key}).attempts_ended
        assert {key[1]: number for key, number in ended.items() if number} == {Ending.HEALED: 1, Ending.RETURNED: 1}


def test_an_attempt_without_a_heartbeat_has_no_silence() -> None:
    """It was never initialised."""
    assert run(a_snapshot(an_attempt())).silences == {}


def test_a_new_attempt_cannot_be_silent_for_longer_than_it_is_there() -> None:
    """It began since the last poll, whatever its worker's clock says; but not where it only came within the limit."""
    late = an_attempt(heartbeat="a", heartbeat_age="10m")
    assert run(a_snapshot(), a_snapshot(late, at="15s")).silences == {late.key: span("15s")}
    assert run(a_snapshot(left_out={DAY: 1}), a_snapshot(late, at="15s")).silences == {late.key: span("10m")}


def test_silence_grows_on_our_clock_where_the_databases_was_set() -> None:
    """An hour forward of the database's clock makes nobody silent for an hour."""
    first = a_snapshot(an_attempt(heartbeat="a", heartbeat_age="1s"))
    second = a_snapshot(an_attempt(heartbeat="a", heartbeat_age="1h"), at="15s", database_ahead="1h")
    assert list(run(first, second).silences.values()) == [span("16s")]


def test_finished_jobs_are_counted_by_outcome_and_timed_where_that_is_known() -> None:
    """What the rows of ended jobs say; nothing of the first snapshot counts."""
    done = Finished(kind=DAY, outcome="success", duration=timedelta(seconds=30))
    failed = Finished(kind=DAY, outcome="fail", duration=None)
    assert run(a_snapshot(finished=(done,))).finished == {}
    history = run(a_snapshot(), a_snapshot(finished=(done, failed, done), at="15s"))
    assert history.finished == {(DAY, "success"): 2, (DAY, "fail"): 1}
    assert history.finished_durations[DAY].sum_seconds == 60
