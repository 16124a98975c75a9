"""A person's word that a worker nobody can judge is gone: for what it passes, and for what it is refused."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from healers import guards
from healers.verdicts import Reason
from tests.builders import ALIVE, DEAD, a_candidate, a_person, a_situation, an_attempt, span

Given = Mapping[str, object]
VOUCHING = a_person(accepts_unknown=True)


def refuse(candidate: Given, situation: Given) -> tuple[str, str] | None:
    """Ask all guards about an ordinary candidate in an ordinary situation, but for what is given."""
    refusal = guards.refuse(a_candidate(**candidate), a_situation(**situation))  # type: ignore[arg-type]
    return None if refusal is None else (refusal.reason, refusal.detail)


@pytest.mark.parametrize("reason", Reason)
def test_a_person_who_vouches_passes_unknown_but_never_alive(reason: Reason) -> None:
    """Nor can anybody vouch for a worker before its host was asked."""
    refusal = refuse({"reason": reason, "is_confirmed": reason in DEAD}, {"by_person": VOUCHING})
    assert (refusal is None) is (reason not in ALIVE | {Reason.NOT_ASKED})
    assert refuse({"reason": reason, "is_confirmed": True}, {"by_person": a_person()}) == (
        None if reason in DEAD else refuse({"reason": reason}, {})
    )


@pytest.mark.parametrize(("vouched", "passes"), [(None, True), ({"1", "2"}, True), ({"2"}, False), (set(), False)])
def test_a_person_vouches_only_for_what_was_shown_as_unknown(vouched: set[str] | None, passes: bool) -> None:
    """What was shown as dead and is unknown now was never theirs to say."""
    keys = None if vouched is None else frozenset(an_attempt(job).key for job in vouched)
    refusal = refuse({"reason": Reason.TIMEOUT}, {"by_person": replace(VOUCHING, vouched=keys)})
    assert refusal == (None if passes else ("unknown", "its worker is unknown (timeout)"))


@pytest.mark.parametrize(
    ("started_for", "first_seen_for", "passes"),
    [
        # the command began a minute before noon, when the rows were read; a start time may be a second off
        ("10m", None, True),
        ("62s", None, True),
        ("61s", None, False),
        ("60s", "10m", False),
        (None, "61s", True),
        (None, "60s", False),
        (None, None, False),
    ],
)
def test_a_person_vouches_only_for_what_was_started_before_the_command(
    started_for: str | None, first_seen_for: str | None, passes: bool
) -> None:
    """Nobody has looked at a worker that did not run then."""
    attempt = an_attempt(started_for=started_for, started=started_for)
    candidate = {"attempt": attempt, "reason": Reason.UNREACHABLE, "first_seen_for": first_seen_for}
    found = "its worker is unknown (unreachable), and it is not known to have been started before this command"
    given = {"by_person": VOUCHING, "options": {"heal_after": "1s"}}
    assert refuse(candidate, given) == (None if passes else ("unknown", found))


@pytest.mark.parametrize(
    ("heartbeat", "still_for", "passes"),
    [
        (None, None, True),
        ("12:00:00", None, False),
        ("12:00:00", "29s", False),
        ("12:00:00", "30s", True),
    ],
)
def test_a_person_vouches_only_for_heartbeats_that_were_seen_to_stand_still(
    heartbeat: str | None, still_for: str | None, passes: bool
) -> None:
    """Whatever somebody says, a heart that beats is alive; a run that never had one cannot be watched."""
    attempt = an_attempt(started_for="10m", heartbeat=heartbeat)
    candidate = replace(a_candidate(attempt, reason=Reason.HEARTBEAT_ONLY), still_for=span(still_for))
    refusal = guards.refuse(candidate, a_situation(by_person=VOUCHING))
    found = "its worker is unknown (heartbeat_only); its heartbeat may still move: watch it for 30 s"
    assert (refusal and (refusal.reason, refusal.detail)) == (None if passes else ("unknown", found))
