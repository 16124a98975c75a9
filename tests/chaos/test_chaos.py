"""A minute of chaos with a seed that stays the same: every kind of fault, and no promise breaks."""

from typing import Any

import pytest

from tests.conftest import installed
from tests.lab.hosts import NotAllowed

from .ground import TARGETS
from .play import Outcome, play
from .report import show
from .schedule import KINDS, make_schedule

SEED, SECONDS = 6, 60.0
"""One of the few seeds of which a minute has every kind: hosts that boot anew, and clocks of watchdogs that are set."""


def played(seed: int, *, seconds: float, **how: Any) -> Outcome:
    """Play a seed; skip where hosts cannot be made."""
    with installed():
        try:
            return play(make_schedule(seed, seconds=seconds, targets=TARGETS), seed=seed, seconds=seconds, **how)
        except NotAllowed as reason:
            pytest.skip(str(reason))


@pytest.mark.timeout(300)
def test_a_minute_of_chaos_breaks_no_promise() -> None:
    """Jobs are put back on both databases, and none whose worker lived; what is seen of it is a table."""
    outcome = played(SEED, seconds=SECONDS)
    print(show(outcome))
    assert outcome.broken == (), show(outcome)
    assert {fault.kind for fault in outcome.faults} == KINDS.keys()
    assert min(outcome.resets["matomo"], outcome.resets["meltano"], outcome.truth.reused) > 0, show(outcome)
    assert outcome.scrapes > 50
