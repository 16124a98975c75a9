"""The referee, the schedule and the reduction, by stories that are made up: what is broken is seen, and no more."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from exporter.jobs import AttemptKey, JobId, QueueName
from healers.ledger import RecordedReset
from healers.ledger.entries import IntentId
from healers.outcomes import Outcome
from tests.contracts.ledgers import an_intent

from .ground import TARGETS
from .history import Change
from .reduce import reduce
from .referee import CHECKS, Evidence, QueueEvidence, Row, Rules, judge
from .schedule import KINDS, make_schedule
from .truth import NEVER, Life, Truth, Work, read_truth

CHECKED = tuple(CHECKS)
HEALER, PID = "healer", 77
RULES = Rules(heal_after=1.0, confirm_after=2.0, per_job=3, per_hour=100)


def change(at: float, what: str, *, worker: str | None = None, job: str = "1", has_lock: bool = True) -> Change:
    """Return a change of a row, by a worker or else by a healer."""
    return Change(
        at=at,
        what=what,
        job=job,
        name=f"job {job}",
        host="web01",
        pid="5",
        worker=worker,
        account="root" if worker else HEALER,
        has_lock=has_lock,
    )


def life(name: str, born_at: float, dead_at: float = NEVER) -> Life:
    """Return the life of a worker."""
    return Life(name=name, host="web01", pid=5, born_at=born_at, is_idle=False, dead_at=dead_at, why="killed")


def told(at: float, *, job: str = "1", outcome: Outcome | None = Outcome.RESET, number: int = 1) -> RecordedReset:
    """Return what the ledger has of a reset."""
    key = AttemptKey(queue=QueueName("q"), job_id=JobId(job), started=None, host="web01", pid_text="5")
    intent = replace(an_intent(key), at=datetime.fromtimestamp(at, UTC), instance=f"watch01:{PID}")
    return RecordedReset(number=IntentId(number), intent=intent, outcome=outcome)


STORY = (
    change(1, "born", worker="feeder"),
    change(10, "claimed", worker="a"),
    change(30, "reset"),
    change(31, "claimed", worker="b"),
    change(40, "ended", worker="b"),
)
QUEUE = QueueEvidence(changes=STORY, rows=(), recorded=(told(29.9),), open_intents=0, added=frozenset({"job 1"}))
TRUTH = Truth(
    lives={"a": life("a", 5, 20), "b": life("b", 5)},
    work=[
        Work(job="job 1", worker="a", began_at=10.1, ended_at=20),
        Work(job="job 1", worker="b", began_at=31.1, ended_at=40),
    ],
    finished={"job 1"},
)


def evidence(truth: Truth = TRUTH, **changes: object) -> Evidence:
    """Return the story in which a worker dies, its job is put back, and another finishes it; but for some `changes`."""
    queue = replace(QUEUE, **{key: value for key, value in changes.items() if hasattr(QUEUE, key)})  # type: ignore[arg-type]
    whole = Evidence(
        truth=truth, queues={"q": queue}, healers=frozenset({HEALER}), rules=RULES, offsets={PID: frozenset({0.0})}
    )
    return replace(whole, **{key: value for key, value in changes.items() if hasattr(whole, key)})  # type: ignore[arg-type]


def broken(found: Evidence) -> set[str]:
    """Name the promises that are broken."""
    return {finding.check for finding in judge(found) if finding.broken}


def with_lives(**lives: Life) -> Truth:
    """Return the truth with other lives."""
    return replace_truth(lives=dict(TRUTH.lives) | lives)


def replace_truth(**changes: object) -> Truth:
    """Return the truth with these changes."""
    parts = {"lives": TRUTH.lives, "work": TRUTH.work, "finished": TRUTH.finished}
    return Truth(**(parts | changes))  # type: ignore[arg-type]


def with_child(ended_at: float) -> Truth:
    """Return the truth in which the dead worker has left a child."""
    parent = life("a", 5, 20)
    parent.children.append([6, ended_at])
    return with_lives(a=parent)


STARTED = Row(job="1", name="job 1", is_started=True)
OVERLAP = [Work(job="job 1", worker=name, began_at=10, ended_at=20) for name in ("a", "b")]
TWIN = replace(change(50, "born", worker="feeder", job="2"), name="job 1")
STRANGE = replace(change(30, "reset"), account="reader")
TAKEN = (change(50, "born", worker="feeder", job="2"), change(51, "ended", job="2"))
TWICE_TOLD = (told(29.9), told(30.5, number=2))
ANOTHER_TOLD = (told(29.9), told(29.9, job="2", number=2))
BOTH_DEAD = {"a": life("a", 5, 20), "b": life("b", 5, 32)}
UNLOCKED = [replace(one, has_lock=False) for one in STORY]
FALSE, SOON, TWICE = CHECKED[0], CHECKED[5], CHECKED[1]
STUCK, LOST, ODD, LEDGER = CHECKED[2], CHECKED[3], CHECKED[4], CHECKED[8]
CASES: dict[str, tuple[str, Evidence]] = {
    "its worker lived": (FALSE, evidence(with_lives(a=life("a", 5, 35)))),
    "its child lived": (FALSE, evidence(with_child(35))),
    "nobody had it": (FALSE, evidence(replace_truth(lives={"b": life("b", 5)}))),
    "too soon after the death": (SOON, evidence(with_lives(a=life("a", 5, 28.5)))),
    "too soon after a child": (SOON, evidence(with_child(28.5))),
    "without the lock": ("resets without the lock", evidence(changes=UNLOCKED)),
    "two at once": (TWICE, evidence(replace_truth(work=OVERLAP))),
    "ended by another": (TWICE, evidence(changes=[*STORY[:4], change(40, "ended", worker="a")])),
    "never there": (LOST, evidence(added=frozenset({"job 1", "job 2"}))),
    "gone": (LOST, evidence(replace_truth(finished=set()), changes=STORY[:3])),
    "twice": (ODD, evidence(changes=[*STORY, TWIN], rows=[Row(job="2", name="job 1", is_started=False)])),
    "odd": (ODD, evidence(changes=[*STORY, change(50, "odd", worker="b")])),
    "put back by another account": (ODD, evidence(changes=[*STORY[:2], STRANGE, *STORY[3:]], recorded=())),
    "taken away while it waited": (TWICE, evidence(changes=[*STORY, *TAKEN])),
    "stuck": (STUCK, evidence(replace_truth(lives=BOTH_DEAD, finished=set()), changes=STORY[:4], rows=[STARTED])),
    "not in the ledger": (LEDGER, evidence(recorded=())),
    "twice in the ledger": (LEDGER, evidence(recorded=TWICE_TOLD)),
    "only in the ledger": (LEDGER, evidence(recorded=ANOTHER_TOLD)),
    "intended later": ("resets before their intent", evidence(recorded=(told(30.1),))),
    "no outcome": ("intents without outcome", evidence(open_intents=1)),
    "one job too often": ("budgets exceeded", evidence(rules=replace(RULES, per_job=0))),
    "too many in an hour": ("budgets exceeded", evidence(rules=replace(RULES, per_hour=0))),
    "chain": ("faults in the ledger's chain", evidence(chain_fault="entry 3 was changed")),
    "scrape": ("scrapes failed", evidence(scrapes_failed=("first: 500",))),
    "watchdog": ("watchdogs failed", evidence(watchdogs_failed=("first ended with 1",))),
}


def test_a_story_in_which_all_is_well() -> None:
    """Nothing is found; and there is a story for each check."""
    assert broken(evidence()) == set()
    assert {check for check, _ in CASES.values()} == set(CHECKS)


@pytest.mark.parametrize("story", CASES)
def test_a_broken_promise_is_seen(story: str) -> None:
    """By its own check, and by no other."""
    check, found = CASES[story]
    assert broken(found) == {check}


def test_a_job_that_moved_on_before_it_was_read_again_is_no_reset_that_is_left_out() -> None:
    """The answer was lost: whoever put it back, nobody can tell. Where none was lost, there is nothing to excuse."""
    moved = replace(told(29.9, outcome=Outcome.LOST_RACE), may_be_written=True)
    assert broken(evidence(recorded=(moved,))) == set()
    assert broken(evidence(recorded=(replace(moved, may_be_written=False),))) == {LEDGER}


def test_a_clock_that_was_set_makes_no_intent_late() -> None:
    """An intent is dated by the clock of its watchdog, which may be an hour off."""
    recorded = (told(29.9 + 3600),)
    assert broken(evidence(recorded=recorded)) == {"resets before their intent"}
    assert broken(evidence(recorded=recorded, offsets={PID: frozenset({0.0, 3600.0})})) == set()


@pytest.mark.parametrize("seed", range(1, 20))
def test_a_schedule_is_the_same_each_time_and_holds_every_kind(seed: int) -> None:
    """In a minute; and no two faults that undo each other overlap."""
    made = make_schedule(seed, seconds=60, targets=TARGETS)
    assert made == make_schedule(seed, seconds=60, targets=TARGETS)
    assert made != make_schedule(seed + 1, seconds=60, targets=TARGETS)
    kinds = {fault.kind for fault in made}
    assert kinds >= KINDS.keys() - {"rebooted", "watchdog's clock set", "run stopped for long"}
    assert all(fault.at + fault.lasts <= 60.01 for fault in made)
    for number, fault in enumerate(made):
        slot = KINDS[fault.kind].slot
        beside = [one for one in made[:number] if slot and KINDS[one.kind].slot == slot and one.target == fault.target]
        assert all(one.at + one.lasts < fault.at for one in beside)


@pytest.mark.parametrize("culprits", [(), (13,), (3, 17), (0, 9, 19)])
def test_a_schedule_is_reduced_to_what_makes_it_fail(culprits: Sequence[int]) -> None:
    """Whatever else was in it."""
    assert reduce(range(20), lambda some: set(culprits) <= set(some), may_go_on=lambda: True) == tuple(culprits)


def test_a_reduction_ends_when_it_has_to() -> None:
    """And returns what failed last."""
    turns = count()
    left = reduce(range(20), lambda some: {3, 17} <= set(some), may_go_on=lambda: next(turns) < 8)
    assert {3, 17} <= set(left)


def test_who_is_born_while_a_host_loses_its_power_is_dead_once_it_is_off() -> None:
    """So is what it left at work."""
    story: list[dict[str, object]] = [
        {"at": 1, "what": "born", "worker": "web01.1.1", "pid": 5, "is_idle": False},
        {"at": 10, "what": "power off"},
        {"at": 11, "what": "born", "worker": "web01.1.2", "pid": 6, "is_idle": False},
        {"at": 12, "what": "child born", "worker": "web01.1.2"},
        {"at": 13, "what": "is off"},
        {"at": 20, "what": "born", "worker": "web01.2.1", "pid": 5, "is_idle": False},
    ]
    lives = read_truth(map(json.dumps, story)).lives
    assert [life.over_at for life in lives.values()] == [10, 13, NEVER]
