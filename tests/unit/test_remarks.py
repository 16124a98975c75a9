"""How a queue is, in words: what is bad, what is worth a look, and what is well."""

from datetime import timedelta
from typing import Any

import pytest

from exporter.facts import StuckReason
from exporter.views import HealingView, KindView, PauseView, QueueView
from exporter.web.remarks import Level, Remark, remark, worst
from exporter.web.words import REFUSALS, RESULTS, STUCK, VERDICTS
from healers.metrics import MODES
from healers.outcomes import Outcome
from healers.reasons import Reason
from healers.refusals import RefusalReason
from tests.lab.scenes import NOW, a_dead_queue, a_queue, glance_at

PAUSE = PauseView(queue="analytics", why="deploying", actor="anna", at=NOW)
OLD = KindView(kind="day", waiting=9, started=0, oldest_waiting_age_seconds=5500.0)


def said(view: QueueView, *, pause: PauseView | None = None, ended: int | None = 0) -> tuple[Remark, ...]:
    """Return the remarks."""
    return remark(glance_at(view), now=NOW, pause=pause, ended_lately=lambda: ended)


def healing(**known: Any) -> HealingView:
    """Return what a healer does."""
    ordinary: dict[str, Any] = {"mode": "reset", "breaker_open": False, "quarantined": 0, "blocked": {}}
    return HealingView(**{**ordinary, "passed_at": NOW, **known})


@pytest.mark.parametrize(
    ("view", "level", "text"),
    [
        (a_queue(), Level.GOOD, "nothing stuck"),
        (a_queue(waiting=0, started=0), Level.GOOD, "nothing waits"),
        (a_queue(unjudged=3), Level.GOOD, "nothing stuck; nobody can tell which workers are alive"),
        (a_dead_queue(error=None), Level.WARN, "not read yet"),
        (a_dead_queue(error="refused"), Level.BAD, "never read: refused"),
        (
            a_queue(up=False, error="gone", read_at=NOW - timedelta(hours=2), stuck=3),
            Level.BAD,
            "not read for 2h: gone",
        ),
        (
            a_queue(orphaned=2, healing=healing()),
            Level.BAD,
            "2 of 3 started jobs orphaned: the worker is proven dead; being put back",
        ),
        (
            a_queue(orphaned=1, healing=healing(blocked={"rate": 1})),
            Level.BAD,
            (
                "1 of 3 started jobs orphaned: the worker is proven dead; not put back because"
                " enough was put back within the hour"
            ),
        ),
        (
            a_queue(orphaned=1, healing=healing(mode="dry_run")),
            Level.BAD,
            "1 of 3 started jobs orphaned: the worker is proven dead; not put back because healing is rehearsed",
        ),
        (
            a_queue(orphaned=1, healing=healing(mode="paused")),
            Level.BAD,
            "1 of 3 started jobs orphaned: the worker is proven dead; not put back because healing is paused",
        ),
        (
            a_queue(orphaned=1, healing=healing(mode="disabled")),
            Level.BAD,
            "1 of 3 started jobs orphaned: the worker is proven dead",
        ),
        (a_queue(stuck=2, stuck_reasons={"over_age": 2}), Level.BAD, "2 jobs started longer than 2h ago"),
        (
            a_queue(stuck=1, stuck_reasons={"over_age": 1}, stuck_alive=1),
            Level.WARN,
            "1 job started longer than 2h ago; the worker is alive",
        ),
        (
            a_queue(stuck=2, stuck_reasons={"no_start_time": 2}, stuck_alive=1),
            Level.BAD,
            "2 jobs started without a start time",
        ),
        (
            a_queue(stuck=1, stuck_reasons={"heartbeat_lost": 1}, stuck_after_seconds=30.0, stuck_alive=None),
            Level.BAD,
            "1 job without a heartbeat for 30s",
        ),
        (a_queue(overdue=1), Level.WARN, "1 job started longer than 4h ago"),
        (
            a_queue(signals={"matomo_blocked_jobs": 14}),
            Level.WARN,
            "14 waiting jobs held back by a job that does not end",
        ),
        (a_queue(signals={"matomo_maintenance_mode": 1}), Level.WARN, "Matomo is in maintenance mode"),
        (
            a_queue(started=0, kinds=(OLD,)),
            Level.BAD,
            "jobs wait for up to 1h 31m, and nobody starts any",
        ),
        (
            a_queue(healing=healing(breaker_open=True)),
            Level.BAD,
            "the breaker stopped healing: too many hosts lost workers at once",
        ),
        (a_queue(healing=healing(quarantined=1)), Level.BAD, "1 job in quarantine: put back too often"),
    ],
)
def test_one_thing_is_said(view: QueueView, level: Level, text: str) -> None:
    """Each state has its words and its level."""
    assert [(one.level, one.text) for one in said(view)] == [(level, text)]


def test_the_worst_is_said_first() -> None:
    """And gives the queue its level."""
    remarks = said(a_queue(overdue=1, orphaned=1), pause=PAUSE)
    assert [one.level for one in remarks] == [Level.BAD, Level.WARN, Level.WARN]
    assert worst(remarks) is Level.BAD
    assert remarks[-1].text.startswith("healing is paused: deploying (anna, ")


@pytest.mark.parametrize("ended", [1, None])
def test_nobody_is_missed_where_jobs_end_or_nobody_knows(ended: int | None) -> None:
    """A queue that is worked on, or was not watched for long enough, is not said to stand still."""
    assert said(a_queue(started=0, kinds=(OLD,)), ended=ended)[0].level is Level.GOOD


def test_down_is_not_empty() -> None:
    """Of a queue that is not read, old figures are no news."""
    down = said(a_queue(up=False, error="gone", orphaned=2, stuck=2, stuck_reasons={"over_age": 2}))
    assert [one.text.partition(":")[0] for one in down] == ["not read for 4s"]


def test_every_reason_has_words() -> None:
    """Nothing that the healer can say is shown as a bare name."""
    assert set(VERDICTS) == set(Reason)
    assert set(REFUSALS) == set(RefusalReason)
    assert set(STUCK) == set(StuckReason)
    assert set(RESULTS) == {*Outcome, "planned", "refused"}
    assert {"disabled", "dry_run", "reset", "paused"} == set(MODES)
