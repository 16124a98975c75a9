"""Two proofs make a death; one does not, nor do two that differ."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.jobs import Attempt, AttemptKey
from healers.probes.protocol import HostAnswer, NoAnswer
from healers.proofs import Suspect, follow, hosts_to_confirm, is_confirmed, keep_claimed, prove, seconds_to_proof
from healers.reasons import Liveness, Reason
from healers.rounds import Host
from healers.verdicts import Verdict
from tests.builders import BOOTED_FOR, NOON, a_round, an_answer, an_attempt, hear, no_answer, span

CONFIRM_AFTER = timedelta(seconds=30)
GONE = an_answer()
Suspects = Mapping[AttemptKey, Suspect]


def at(text: str) -> float:
    """Return this machine's boot clock so long after noon."""
    return BOOTED_FOR + (span(text) or timedelta(0)).total_seconds()


def after(
    suspects: Suspects,
    when: str,
    *,
    value: str = "dead",
    reason: str = "no_process",
    answer: HostAnswer | NoAnswer = GONE,
    is_fresh: bool = True,
    attempt: Attempt | None = None,
    took: str = "0s",
) -> dict[AttemptKey, Suspect]:
    """Return the suspects after a verdict on one attempt."""
    attempt = attempt or an_attempt()
    one = hear(a_round(attempt), answer, at=when, is_fresh=is_fresh, took=took)
    verdict = Verdict(key=attempt.key, value=Liveness(value), reason=Reason(reason), seen_at=one.at)
    return follow(
        suspects,
        [verdict],
        claims=one.round.claims(),
        proof=prove([one], seconds=one.ended_seconds),
        confirm_after=CONFIRM_AFTER,
    )


def confirmed(suspects: Suspects, when: str) -> bool:
    """Tell whether the attempt is confirmed dead so long after noon."""
    return any(is_confirmed(suspect, at(when)) for suspect in suspects.values())


FIRST = after({}, "0s", is_fresh=False)


def test_one_proof_is_none() -> None:
    """However long ago it was."""
    assert not confirmed(FIRST, "0s")
    assert not confirmed(FIRST, "4m")


def test_two_proofs_apart_confirm() -> None:
    """The second over a fresh connection; the delay counts from the first."""
    both = after(FIRST, "30s")
    assert confirmed(both, "30s")
    assert both[an_attempt().key].first_dead_at == NOON


@pytest.mark.parametrize(
    "second",
    [
        after(FIRST, "29s"),
        after(FIRST, "35s", took="6s"),
        after(FIRST, "60s", is_fresh=False),
        after(FIRST, "60s", answer=replace(GONE, boot_id="boot-2")),
        after(FIRST, "60s", answer=replace(GONE, machine_id="b" * 32)),
        after(FIRST, "60s", answer=replace(GONE, pid_namespace=7)),
        after(FIRST, "60s", answer=no_answer(), reason="host_retired"),
        after(FIRST, "6m"),
        after(after(FIRST, "20s", value="unknown", reason="timeout"), "60s"),
        after(after(FIRST, "20s", value="alive", reason="running"), "60s"),
        after(FIRST, "60s", value="unknown", reason="two_machines"),
    ],
)
def test_what_does_not_confirm(second: Suspects) -> None:
    """Too soon, not fresh, another machine or boot or namespace, too late, or something else said in between."""
    assert not confirmed(second, "60s")
    assert not confirmed(second, "6m")


def test_a_claim_that_changed_begins_anew() -> None:
    """A heartbeat came in between."""
    first = after({}, "0s", attempt=an_attempt(heartbeat="12:00:00"))
    second = after(first, "60s", attempt=an_attempt(heartbeat="12:00:30"))
    assert not confirmed(second, "60s")
    (suspect,) = second.values()
    assert suspect.first_dead_at == NOON + timedelta(seconds=60)
    assert confirmed(after(first, "60s", attempt=an_attempt(heartbeat="12:00:00")), "60s")


def test_proofs_expire() -> None:
    """On the boot clock, which goes on while this machine sleeps; five minutes after the first."""
    both = after(FIRST, "60s")
    assert confirmed(both, "5m")
    assert not confirmed(both, "301s")
    assert not is_confirmed(next(iter(both.values())), at("0s") - 1000)
    slow = after(after({}, "10s", took="10s"), "60s")
    assert confirmed(slow, "5m")
    assert not confirmed(slow, "301s")


def test_proofs_are_renewed_while_nothing_may_be_done() -> None:
    """Outside the window, the second proof becomes the first."""
    suspects = FIRST
    for minute in range(1, 30):
        suspects = after(suspects, f"{minute}m")
        assert confirmed(suspects, f"{minute}m")
    assert next(iter(suspects.values())).first_dead_at == NOON


def test_a_routine_round_in_between_changes_nothing() -> None:
    """It is neither a second proof nor a new first one."""
    routine = after(after(FIRST, "15s", is_fresh=False), "25s", is_fresh=False)
    assert confirmed(after(routine, "30s"), "30s")
    both = after(routine, "30s")
    assert confirmed(after(both, "45s", is_fresh=False), "45s")


def test_a_retired_host_needs_a_failed_ask_both_times() -> None:
    """Nobody answers, so nothing can be fresh."""
    first = after({}, "0s", answer=no_answer(), reason="host_retired", is_fresh=False)
    second = after(first, "30s", answer=no_answer("unreachable"), reason="host_retired", is_fresh=False)
    assert confirmed(second, "30s")
    assert not confirmed(after(first, "30s", is_fresh=True), "30s")


def test_runs_rest_on_all_their_hosts() -> None:
    """The second proof is as fresh as the stalest of its answers, and as early as the earliest."""
    attempt = an_attempt()
    rounds = [a_round(attempt), a_round(attempt, host=Host(name="web2", aliases=frozenset({"web1"})))]

    def proofs(first: str, second: str, *, is_fresh: bool, began: str = "0s") -> Suspects:
        suspects: Suspects = {}
        for whens, fresh in ((("0s", began), False), ((first, second), is_fresh)):
            heard = [hear(one, GONE, at=when, is_fresh=fresh) for one, when in zip(rounds, whens, strict=True)]
            heard[0] = replace(heard[0], is_fresh=True)
            verdict = Verdict(key=attempt.key, value=Liveness.DEAD, reason=Reason.HEARTBEAT_LOST, seen_at=NOON)
            suspects = follow(
                suspects,
                [verdict],
                claims={attempt.key: attempt.claim},
                proof=prove(heard, seconds=0),
                confirm_after=CONFIRM_AFTER,
            )
        return suspects

    assert confirmed(proofs("30s", "31s", is_fresh=True), "31s")
    assert not confirmed(proofs("31s", "15s", is_fresh=True), "31s")
    assert not confirmed(proofs("30s", "31s", is_fresh=False), "31s")
    assert not confirmed(proofs("30s", "31s", is_fresh=True, began="5s"), "31s")
    (suspect,) = proofs("30s", "31s", is_fresh=True).values()
    assert suspect.hosts == {"web1", "web2"}


def test_without_hosts_time_alone_confirms() -> None:
    """Where a person trusts the heartbeat nobody is asked."""
    attempt = an_attempt()
    verdict = Verdict(key=attempt.key, value=Liveness.DEAD, reason=Reason.HEARTBEAT_STALE, seen_at=NOON)
    suspects: Suspects = {}
    for when, expected in (("0s", False), ("29s", False), ("30s", True)):
        suspects = follow(
            suspects,
            [verdict],
            claims={attempt.key: attempt.claim},
            proof=prove([], seconds=at(when)),
            confirm_after=CONFIRM_AFTER,
        )
        assert confirmed(suspects, when) is expected


def test_hosts_are_asked_anew_as_soon_as_a_second_proof_counts() -> None:
    """Not before, and not once it is there."""

    def due(suspects: Suspects, when: str) -> frozenset[str]:
        return hosts_to_confirm(suspects.values(), seconds=at(when), confirm_after=CONFIRM_AFTER)

    assert due(FIRST, "29s") == frozenset()
    assert due(FIRST, "30s") == {"web1"}
    assert due(after(FIRST, "30s"), "45s") == frozenset()
    assert due(after(FIRST, "30s"), "6m") == {"web1"}


def test_when_a_second_proof_is_due() -> None:
    """The soonest that is still to come of what this host has to prove; one that is due has its round already."""

    def left(suspects: Suspects, when: str, host: str = "web1") -> float | None:
        return seconds_to_proof(suspects.values(), host, seconds=at(when), confirm_after=CONFIRM_AFTER)

    assert left(FIRST, "29s") == 1
    assert left(FIRST, "30s") is None
    assert left(FIRST, "10s", "web2") is None
    assert left(after(FIRST, "30s"), "31s") is None
    assert left(after(FIRST, "5s", attempt=an_attempt("2")), "10s") == 20
    assert left({}, "10s") is None


def test_what_is_over_is_let_go() -> None:
    """A row that is gone, or claims something else, is no suspect; one that nobody spoke of stays."""
    attempt = an_attempt()
    assert keep_claimed(FIRST, {attempt.key: attempt.claim}) == FIRST
    assert keep_claimed(FIRST, {}) == {}
    assert keep_claimed(FIRST, {attempt.key: replace(attempt.claim, rests_on=("later",))}) == {}
    assert set(after(FIRST, "5s", attempt=an_attempt("2"))) == {attempt.key, an_attempt("2").key}


def test_a_verdict_on_what_nobody_claims_is_none() -> None:
    """A row that the round did not ask about."""
    verdict = Verdict(key=an_attempt().key, value=Liveness.DEAD, reason=Reason.NO_PROCESS, seen_at=NOON)
    proof = prove([], seconds=at("0s"))
    assert follow({}, [verdict], claims={}, proof=proof, confirm_after=CONFIRM_AFTER) == {}
