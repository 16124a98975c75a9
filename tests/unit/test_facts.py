"""Facts are numbers of one snapshot, each under the first reason that fits."""

from datetime import timedelta

import pytest

from exporter.facts import Facts, StuckReason, derive_facts
from exporter.jobs import Attempt, Beginnings, Kind, LastSuccess, Snapshot, State, WorkerSigns
from exporter.options import QueueOptions
from exporter.tracker import History, track
from tests.builders import DAY, NOON, a_snapshot, a_waiting, an_attempt, span

OPTIONS = QueueOptions(stuck_after=span("2h"), timeout_after=span("4h"))
HEARTBEATS = WorkerSigns(has_heartbeats=True)


def facts_of(snapshot: Snapshot, signs: WorkerSigns = WorkerSigns()) -> Facts:  # noqa: B008  frozen
    """Derive the facts of one snapshot that is the first."""
    return derive_facts(snapshot, track(History.begin([DAY], OPTIONS, aliases={}), snapshot, OPTIONS), OPTIONS, signs)


@pytest.mark.parametrize(
    ("attempt", "signs", "reason"),
    [
        (an_attempt(started_for="1h59m"), WorkerSigns(), None),
        (an_attempt(started_for="2h"), WorkerSigns(), StuckReason.OVER_AGE),
        (an_attempt(started=None), WorkerSigns(), StuckReason.NO_START_TIME),
        (an_attempt(started_for=None), WorkerSigns(), None),
        (an_attempt(started=None), HEARTBEATS, StuckReason.NO_START_TIME),
        (an_attempt(started_for="1h"), HEARTBEATS, None),
        (an_attempt(started_for="2h"), HEARTBEATS, StuckReason.NEVER_INITIALISED),
        (an_attempt(started_for="9h", heartbeat_age="1s"), HEARTBEATS, None),
        (an_attempt(started_for="9h", heartbeat_age="2h"), HEARTBEATS, StuckReason.HEARTBEAT_LOST),
    ],
)
def test_a_job_is_stuck_for_the_first_reason_that_fits(
    attempt: Attempt, signs: WorkerSigns, reason: StuckReason | None
) -> None:
    """No start time, then heartbeats where there are any, then age."""
    assert facts_of(a_snapshot(attempt), signs).stuck == ({attempt.key: reason} if reason else {})


def test_an_empty_queue_is_zero_everywhere() -> None:
    """Counts are 0, ages unknown; the host `none` stands for a queue without any."""
    facts = facts_of(a_snapshot())
    assert facts.jobs == {(State.WAITING, DAY): 0, (State.STARTED, DAY): 0}
    assert facts.oldest_waiting == {DAY: None}
    assert [(host, load.started, load.oldest_age) for host, load in facts.hosts.items()] == [("none", 0, None)]


def test_load_is_counted_by_host_and_worker() -> None:
    """One archiver holds three rows; a row without a pid is load but no worker."""
    snapshot = a_snapshot(
        an_attempt("1", host="a", pid="1", started_for="3h"),
        an_attempt("2", host="a", pid="1", started_for="5h"),
        an_attempt("3", host="a", pid="2"),
        an_attempt("4", host="a", pid=None),
        an_attempt("5", host=None, pid="7"),
    )
    load = facts_of(snapshot).hosts["a"]
    assert (load.started, load.workers, load.max_jobs_per_worker, load.overdue) == (4, 2, 2, 1)
    assert load.oldest_age == span("5h")
    assert load.oldest_worker_at == NOON - timedelta(hours=5)
    assert sum(load.stuck.values()) == 2
    assert facts_of(snapshot).hosts["none"].workers == 1


def test_a_worker_under_two_names_is_one() -> None:
    """A name and its alias are one host, and its pid one worker."""
    snapshot = a_snapshot(an_attempt("1", host="web1", pid="7"), an_attempt("2", host="web1.example", pid="7"))
    history = track(History.begin([DAY], OPTIONS, aliases={"web1.example": "web1"}), snapshot, OPTIONS)
    load = derive_facts(snapshot, history, OPTIONS, WorkerSigns()).hosts["web1"]
    assert (load.started, load.workers, load.max_jobs_per_worker) == (2, 1, 2)


def test_jobs_that_were_not_read_are_counted_under_other() -> None:
    """Behind the limit there is a number but no host: the sum over hosts is still the number of started jobs."""
    facts = facts_of(a_snapshot(an_attempt(host="a"), left_out={DAY: 41}))
    assert facts.jobs[State.STARTED, DAY] == 42
    assert {host: load.started for host, load in facts.hosts.items()} == {"a": 1, "none": 0, "other": 41}


def test_the_oldest_waiting_job_is_the_oldest_of_its_kind() -> None:
    """Ages are by kind."""
    facts = facts_of(a_snapshot(waiting=[a_waiting(3, oldest="9h"), a_waiting(1, kind="week", oldest="1m")]))
    assert facts.oldest_waiting == {DAY: span("9h"), "week": span("1m")}


def test_a_heartbeat_that_goes_on_is_not_lost_whatever_its_date() -> None:
    """A worker whose clock is behind looks lost at first sight only."""
    history = History.begin([DAY], OPTIONS, aliases={})
    for at, heartbeat in (("0s", "a"), ("15s", "b")):
        snapshot = a_snapshot(an_attempt(heartbeat=heartbeat, heartbeat_age="3h"), at=at)
        history = track(history, snapshot, OPTIONS)
        facts = derive_facts(snapshot, history, OPTIONS, HEARTBEATS)
        assert list(facts.stuck.values()) == ([StuckReason.HEARTBEAT_LOST] if at == "0s" else [])
        assert facts.heartbeat_age == {DAY: span("3h" if at == "0s" else "15s")}


def test_of_the_kinds_that_share_a_label_the_last_success_longest_ago_is_kept() -> None:
    """A job that does not succeed any more must not hide behind one that does."""
    options = QueueOptions(max_kinds=1)
    last = tuple(
        LastSuccess(kind=Kind(kind), age=timedelta(hours=hours), duration=timedelta(minutes=hours))
        for kind, hours in ((DAY, 1), ("b", 2), ("c", 9), ("d", 3))
    )
    snapshot = a_snapshot(waiting=[a_waiting(kind=kind) for kind in (DAY, "b", "c", "d")], last_successes=last)
    history = track(History.begin([DAY], options, aliases={}), snapshot, options)
    facts = derive_facts(snapshot, history, options, HEARTBEATS)
    assert facts.last_success == {DAY: last[0], "other": last[2]}
    assert facts.labels_dropped["kind"] == 3


@pytest.mark.parametrize(
    ("beginnings", "ratio"),
    [
        (None, None),
        (Beginnings(started=0, initialised=0), None),
        (Beginnings(started=4, initialised=3), 0.75),
        (Beginnings(started=2, initialised=0), 0.0),
    ],
)
def test_the_initialisation_ratio_needs_a_run(beginnings: Beginnings | None, ratio: float | None) -> None:
    """Nothing of nothing is no ratio."""
    assert facts_of(a_snapshot(beginnings=beginnings), HEARTBEATS).initialisation_ratio == ratio
