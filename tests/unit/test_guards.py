"""One table for each guard: what it lets pass, what it refuses, and what it says. All other guards are content."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from exporter.jobs import Role
from healers import guards
from healers.breaker import BreakerState
from healers.guards import GUARDS
from healers.refusals import RefusalReason
from healers.situation import Person
from healers.verdicts import Liveness, Reason
from tests.builders import ALIVE, DEAD, NOON, a_candidate, a_person, a_situation, an_attempt

Given = Mapping[str, object]
SHOWING = a_person(applies=False)


def refuse(candidate: Given, situation: Given) -> tuple[str, str] | None:
    """Ask all guards about an ordinary candidate in an ordinary situation, but for what is given."""
    refusal = guards.refuse(a_candidate(**candidate), a_situation(**situation))  # type: ignore[arg-type]
    return None if refusal is None else (refusal.reason, refusal.detail)


def test_an_ordinary_dead_attempt_passes() -> None:
    """So that each table below shows its own guard at work."""
    assert refuse({}, {}) is None
    assert refuse({}, {"by_person": a_person()}) is None


@pytest.mark.parametrize("reason", Reason)
def test_only_dead_passes(reason: Reason) -> None:
    """Alive is never reset; unknown never heals."""
    assert (refuse({"reason": reason}, {}) is None) is (reason in DEAD)
    if reason not in DEAD:
        value = Liveness.ALIVE if reason in ALIVE else Liveness.UNKNOWN
        assert refuse({"reason": reason}, {}) == ("unknown", f"its worker is {value} ({reason})")


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"is_paused": False, "pause_detail": "kept"}, None),
        (
            {"is_paused": True, "pause_detail": "by ann since 11:00: moving web1"},
            "healing is paused: by ann since 11:00: moving web1; `queuemedic resume` ends it",
        ),
        ({"is_paused": True}, "healing is paused: no reason was given; `queuemedic resume` ends it"),
        ({"is_paused": None}, "whether healing is paused cannot be read"),
        (
            {"is_paused": True, "by_person": a_person()},
            "healing is paused: no reason was given; `queuemedic resume` ends it",
        ),
    ],
)
def test_pause(given: Given, detail: str | None) -> None:
    """The kill switch holds for everybody, and one that cannot be read is on."""
    assert refuse({}, given) == (detail and ("paused", detail))


@pytest.mark.parametrize(
    ("mode", "by_person", "passes"),
    [
        ("reset", None, True),
        ("dry_run", None, True),
        ("disabled", None, False),
        ("disabled", a_person(), True),
    ],
)
def test_mode(mode: str, by_person: Person | None, passes: bool) -> None:
    """A dry run plans as if; a person has asked."""
    refused = ("disabled", "healing.mode is disabled; dry_run shows what reset would do")
    assert refuse({}, {"options": {"mode": mode}, "by_person": by_person}) == (None if passes else refused)


@pytest.mark.parametrize("by_person", [None, a_person(), SHOWING])
@pytest.mark.parametrize("is_usable", [True, False, None])
def test_ledger(is_usable: bool | None, by_person: Person | None) -> None:
    """No journal, no healing, and no true plan."""
    refused = ("ledger", "the ledger cannot be read and written")
    assert refuse({}, {"is_ledger_usable": is_usable, "by_person": by_person}) == (None if is_usable else refused)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"drift": 4.9, "offset_jump": -4.9}, None),
        ({"drift": 5}, "this machine's wall clock and boot clock moved apart by 5.0 s since the last pass"),
        ({"drift": -3600}, "this machine's wall clock and boot clock moved apart by 3600.0 s since the last pass"),
        ({"drift": None}, "whether this machine's wall clock and boot clock agree is not known"),
        (
            {"offset_jump": 5, "by_person": a_person()},
            "the clocks of the database and of this machine moved apart by 5.0 s since the last pass",
        ),
        (
            {"offset_jump": -7.25},
            "the clocks of the database and of this machine moved apart by 7.2 s since the last pass",
        ),
        ({"offset_jump": None}, "whether the clocks of the database and of this machine agree is not known"),
    ],
)
def test_clock(given: Given, detail: str | None) -> None:
    """Either clock, in either direction."""
    assert refuse({}, given) == (detail and ("clock", detail))


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"role": Role.PRIMARY}, None),
        ({"role": Role.REPLICA}, "the database is a replica or read-only; give the address of the primary"),
        (
            {"role": None, "by_person": a_person()},
            "the database does not say whether it is a primary; give the address of the primary",
        ),
    ],
)
def test_replica(given: Given, detail: str | None) -> None:
    """Only a server that says that it is a primary is one."""
    assert refuse({}, given) == (detail and ("replica", detail))


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"is_answering": True, "back_for": None}, None),
        ({"is_answering": True, "back_for": "30s"}, None),
        (
            {"is_answering": True, "back_for": "29s"},
            "the database came back 29s ago; healing waits for 2 poll intervals of 15s",
        ),
        (
            {"is_answering": True, "back_for": "0s", "by_person": a_person()},
            "the database came back 0s ago; healing waits for 2 poll intervals of 15s",
        ),
        ({"is_answering": False, "back_for": "1h"}, "the last poll did not succeed"),
        ({"is_answering": None}, "the last poll did not succeed"),
    ],
)
def test_outage(given: Given, detail: str | None) -> None:
    """Two poll intervals, from the first poll that succeeded."""
    assert refuse({}, given) == (detail and ("outage", detail))


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"has_new_schema": False}, None),
        ({"has_new_schema": True}, "the schema has just changed"),
        ({"has_new_schema": True, "by_person": a_person()}, "the schema has just changed"),
        ({"has_new_schema": None}, "whether the schema has changed is not known"),
    ],
)
def test_schema(given: Given, detail: str | None) -> None:
    """One pass waits."""
    assert refuse({}, given) == (detail and ("schema_changed", detail))


OPEN = BreakerState(open_since=NOON - timedelta(minutes=5), suspect_at=NOON, dead_hosts=3, hosts=4)
SAID = (
    "open since 2026-11-22 11:55:00Z: workers died on 3 of 4 hosts; look at them, then run `queuemedic resume`",
    "whether the breaker is open cannot be read",
)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"breaker": BreakerState(dead_hosts=1, hosts=4)}, None),
        ({"breaker": OPEN}, SAID[0]),
        ({"breaker": OPEN, "by_person": a_person("1", accepts_unknown=True)}, SAID[0]),
        ({"breaker": None}, SAID[1]),
    ],
)
def test_breaker(given: Given, detail: str | None) -> None:
    """For every attempt of the queue, an enrolled one too, and for everybody."""
    assert refuse({}, given) == (detail and ("breaker", detail))
    assert refuse({"is_enrolled": True}, given) == (detail and ("breaker", detail))


PUT_BACK = "find out why its worker dies, then name it: `heal --job 1`"


@pytest.mark.parametrize(
    ("resets", "given", "detail"),
    [
        (2, {}, None),
        (3, {}, f"resets within 1d: 3 of 3; {PUT_BACK}"),
        (4, {"by_person": a_person()}, f"resets within 1d: 4 of 3; {PUT_BACK}"),
        (4, {"by_person": a_person("11", "2")}, f"resets within 1d: 4 of 3; {PUT_BACK}"),
        (4, {"by_person": a_person("1")}, None),
        (None, {"by_person": a_person("1")}, None),
        (None, {}, "how often it was put back before is not known"),
        (
            1,
            {"options": {"max_resets_per_job": {"resets": 1, "within": "1h"}}},
            f"resets within 1h: 1 of 1; {PUT_BACK}",
        ),
    ],
)
def test_quarantine(resets: int | None, given: Given, detail: str | None) -> None:
    """Only a person who names the job lifts it."""
    assert refuse({"resets": resets}, given) == (detail and ("quarantined", detail))


NIGHTS = ["Mon-Sun 22:00-06:00 Europe/Berlin"]


@pytest.mark.parametrize(
    ("options", "by_person", "detail"),
    [
        ({}, None, None),
        ({"windows": ["Sun 12:00-13:00 UTC"]}, None, None),
        ({"windows": NIGHTS}, None, "healing.windows open next on 2026-11-22 at 22:00 Europe/Berlin"),
        ({"windows": NIGHTS}, a_person(), None),
        ({"windows": []}, None, "healing.windows is an empty list, which means never; leave it out for always"),
        ({"windows": []}, a_person(), None),
    ],
)
def test_window(options: Given, by_person: Person | None, detail: str | None) -> None:
    """Left out it is always, empty it is never; a person chooses the hour."""
    assert refuse({}, {"options": options, "by_person": by_person}) == (detail and ("outside_window", detail))


@pytest.mark.parametrize(
    ("hosts", "limit", "loads", "detail"),
    [
        (["web1"], None, {}, None),
        (["web1"], 2.0, {"web1": 2.0}, None),
        (["web1"], 2.0, {"web1": 2.01}, "the load of web1 is 2.01 per processor; max_load_per_processor is 2"),
        (["web1"], 2.0, {"web1": float("nan")}, "the load of web1 is nan per processor; max_load_per_processor is 2"),
        (["web1"], 2.0, {"web1": None}, "the load of web1 is not known"),
        (["web1"], 2.0, {"web2": 0.1}, "the load of web1 is not known"),
        (
            ["app2", "app1"],
            0.5,
            {"app1": 0.1, "app2": 0.9},
            "the load of app2 is 0.90 per processor; max_load_per_processor is 0.5",
        ),
        ([], 2.0, {}, None),
    ],
)
def test_host_load(hosts: list[str], limit: float | None, loads: Given, detail: str | None) -> None:
    """Only where a limit is set; then a load that is not known is too high."""
    for by_person in (None, a_person()):
        given = {"options": {"max_load_per_processor": limit}, "loads": loads, "by_person": by_person}
        assert refuse({"hosts": hosts}, given) == (detail and ("host_load", detail))


@pytest.mark.parametrize(
    ("started_for", "first_seen_for", "detail"),
    [
        ("5m", None, None),
        ("4m59s", "1h", "4m59s old; heal_after is 5m"),
        ("2m10s", None, "2m10s old; heal_after is 5m"),
        (None, "5m", None),
        (None, "4m59s", "4m59s old; heal_after is 5m"),
        (None, None, "how old it is is not known"),
    ],
)
def test_heal_after(started_for: str | None, first_seen_for: str | None, detail: str | None) -> None:
    """By the database's clock, or since it was first seen where the row does not say when it was started."""
    candidate = {"attempt": an_attempt(started_for=started_for, started=started_for), "first_seen_for": first_seen_for}
    for by_person in (None, a_person("1")):
        given = {"options": {"heal_after": "5m"}, "by_person": by_person}
        assert refuse(candidate, given) == (detail and ("too_young", detail))


@pytest.mark.parametrize(
    ("candidate", "given", "detail"),
    [
        ({"is_confirmed": True}, {}, None),
        (
            {"is_confirmed": False, "dead_for": "12s"},
            {},
            "proven dead once, 12s ago; the second proof comes 30s after the first",
        ),
        (
            {"is_confirmed": False, "dead_for": None},
            {"options": {"mode": "dry_run", "confirm_after": "1m"}},
            "proven dead once at most; the second proof comes 1m after the first",
        ),
        (
            {"is_confirmed": False, "dead_for": "12s"},
            {"by_person": a_person(accepts_unknown=True)},
            "proven dead once, 12s ago; the second proof comes 30s after the first",
        ),
        ({"is_confirmed": False}, {"by_person": SHOWING}, None),
    ],
)
def test_confirmation(candidate: Given, given: Given, detail: str | None) -> None:
    """Nothing is written on one proof; a plan that is only shown comes before the second."""
    assert refuse(candidate, given) == (detail and ("unconfirmed", detail))


@pytest.mark.parametrize(
    ("has_lock", "given", "passes"),
    [
        (True, {}, True),
        (False, {}, False),
        (None, {}, False),
        (False, {"by_person": a_person()}, False),
        (False, {"by_person": SHOWING}, True),
        (None, {"options": {"mode": "dry_run"}}, True),
        (False, {"options": {"mode": "dry_run"}, "by_person": a_person()}, False),
    ],
)
def test_lock(has_lock: bool | None, given: Given, passes: bool) -> None:
    """Whatever writes needs it."""
    refused = ("lock", "another healer has the lock of this queue, or it cannot be had")
    assert refuse({}, {"has_lock": has_lock, **given}) == (None if passes else refused)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"resets_last_hour": 0, "planned": 499}, None),
        (
            {"resets_last_hour": 0, "planned": 500},
            "0 put back in the last hour and 500 planned; max_resets_per_hour is 500",
        ),
        (
            {"resets_last_hour": 499, "planned": 1},
            "499 put back in the last hour and 1 planned; max_resets_per_hour is 500",
        ),
        (
            {"resets_last_hour": 7, "options": {"max_resets_per_hour": 5}},
            "7 put back in the last hour and 0 planned; max_resets_per_hour is 5",
        ),
        ({"resets_last_hour": None}, "how many jobs were put back in the last hour is not known"),
        ({"resets_last_hour": None, "planned": 9999, "by_person": a_person()}, None),
        ({"resets_last_hour": 9999, "planned": 1, "by_person": a_person(limit=2)}, None),
        ({"planned": 2, "by_person": a_person(limit=2)}, "--limit is 2"),
        ({"planned": 0, "by_person": a_person(limit=0)}, "--limit is 0"),
    ],
)
def test_rate(given: Given, detail: str | None) -> None:
    """The journal's hour and the plan together; for a person the limit of the command."""
    assert refuse({}, given) == (detail and ("rate", detail))


def test_a_ledger_that_cannot_be_used_is_named_and_not_the_pause_that_it_cannot_tell() -> None:
    """Whoever reads `paused` would look for a person who paused it."""
    refused = guards.refuse(a_candidate(), a_situation(is_paused=None, is_ledger_usable=False))
    assert refused is not None
    assert refused.reason is RefusalReason.LEDGER


def test_each_guard_is_asked_in_the_order_of_the_reasons() -> None:
    """Each reason comes from one guard, and the first that refuses is the one that a person reads."""
    everything_wrong = a_situation(
        options={"mode": "disabled", "windows": [], "max_load_per_processor": 1},
        is_paused=True,
        is_ledger_usable=False,
        drift=9,
        role=Role.REPLICA,
        is_answering=False,
        has_new_schema=True,
        breaker=OPEN,
        has_lock=False,
        resets_last_hour=500,
    )
    young = an_attempt(started_for="1s")
    unknown = a_candidate(young, reason=Reason.UNREACHABLE, resets=3)
    dead = a_candidate(young, is_confirmed=False, resets=3)
    said = [guard(unknown if place == 0 else dead, everything_wrong) for place, guard in enumerate(GUARDS)]
    assert [refusal and refusal.reason for refusal in said] == list(RefusalReason)
    assert guards.refuse(unknown, everything_wrong) == said[0]
    assert guards.refuse(dead, everything_wrong) == said[1]
