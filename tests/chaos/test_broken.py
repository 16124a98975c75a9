"""Each promise broken once, on purpose: the referee says which, and that nothing else was."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import installed
from tests.lab.hosts import NotAllowed

from .broken import BREAKAGES
from .faults import CLOCK_SECONDS
from .ground import ARCHIVERS, DOGS
from .play import play
from .report import show
from .schedule import Fault

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
SECONDS = 14.0
AN_HOUR_FORTH = CLOCK_SECONDS.index(3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is broken, the faults in which it shows, what the referee has to find, and what else it may."""

    broken: str
    finds: str
    faults: tuple[Fault, ...] = ()
    may_find: frozenset[str] = frozenset()
    how: tuple[tuple[str, Any], ...] = ()


def faults(
    kind: str, *, lasts: float = 0.0, targets: tuple[str, ...] = ARCHIVERS, at: float = 4.0
) -> tuple[Fault, ...]:
    """Return the same fault of each of these."""
    return tuple(Fault(kind=kind, target=target, at=at + n, lasts=lasts) for n, target in enumerate(targets))


FALSE, TWICE = "jobs put back though their worker lived", "jobs in two hands at once"
STUCK, SOON = "orphans still stuck", "resets sooner than two proofs allow"
TOLD = "resets that are not once in the ledger"
LOST_COMMITS = faults("COMMIT unanswered", lasts=12, targets=DOGS, at=1)
"""For so long that what became of a reset cannot be found out at once either."""
HARM = frozenset({TWICE, SOON, "rows duplicated or changed oddly"})
CASES = (
    Case(broken="the living are judged dead", finds=FALSE, may_find=HARM),
    Case(broken="silence is judged death", finds=FALSE, faults=faults("cut off", lasts=8), may_find=HARM),
    Case(
        broken="start times are not compared",
        finds=STUCK,
        faults=faults("pid reused"),
        how=(("heirs_stay", True),),
    ),
    Case(broken="boots are not compared", finds=STUCK, faults=faults("rebooted", lasts=3)),
    Case(broken="children do not count", finds=FALSE, faults=faults("worker killed"), may_find=HARM),
    Case(broken="one proof is enough", finds=SOON),
    Case(broken="no lock is held", finds="resets without the lock", may_find=frozenset({"intents without outcome"})),
    Case(broken="the intent comes late", finds="resets before their intent"),
    Case(
        broken="no intent is settled",
        finds="intents without outcome",
        faults=LOST_COMMITS,
        may_find=frozenset({TOLD}),
    ),
    Case(broken="a lost reply is a failure", finds=TOLD, faults=LOST_COMMITS),
    Case(
        broken="scrapes wait for databases",
        finds="scrapes failed",
        faults=faults("server killed", lasts=8, targets=("mariadb",)),
    ),
    Case(broken="no budget is kept", finds="budgets exceeded", how=(("per_hour", 5),)),
    Case(
        broken="nothing has a deadline",
        finds=STUCK,
        faults=faults("watchdog cut off", lasts=3, targets=DOGS),
        may_find=frozenset({"watchdogs failed"}),
    ),
)


def test_there_is_a_case_for_each() -> None:
    """Nothing that can be broken is left out."""
    assert {case.broken for case in CASES} == BREAKAGES.keys()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.broken)
def test_a_broken_promise_is_found(case: Case) -> None:
    """By name, and by example."""
    with installed():
        try:
            outcome = play(case.faults, seed=1, seconds=SECONDS, broken=case.broken, **dict(case.how))
        except NotAllowed as reason:
            pytest.skip(str(reason))
    found = {finding.check: finding for finding in outcome.broken}
    print(show(outcome))
    assert case.finds in found, show(outcome)
    assert found[case.finds].examples
    assert found.keys() <= {case.finds} | case.may_find, show(outcome)


@pytest.mark.parametrize("how", [{}, {"heirs_stay": True}, {"per_hour": 5}], ids=str)
def test_nothing_is_found_where_nothing_is_broken(how: dict[str, Any]) -> None:
    """The same faults, and the program as it is."""
    made = (*faults("pid reused"), *faults("watchdog cut off", lasts=3, targets=DOGS, at=11))
    if not how:
        made = (*faults("cut off", lasts=5), *faults("rebooted", lasts=3, at=10))
    if "per_hour" in how:
        made += tuple(Fault(kind="watchdog's clock set", target=dog, at=8, lasts=5, pick=AN_HOUR_FORTH) for dog in DOGS)
    with installed():
        try:
            outcome = play(tuple(sorted(made, key=lambda one: one.at)), seed=1, seconds=SECONDS, **how)
        except NotAllowed as reason:
            pytest.skip(str(reason))
    assert outcome.broken == (), show(outcome)
