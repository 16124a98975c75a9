"""Which jobs are put back, in which order, and that nothing is planned that a guard would refuse."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs import Role
from healers import guards
from healers.breaker import BreakerState
from healers.candidates import Candidate
from healers.plan import Plan, make_plan
from healers.refusals import RefusalReason
from healers.situation import Person, Situation
from healers.verdicts import Liveness, Reason
from tests.builders import ALIVE, DEAD, NOON, a_candidate, a_person, a_situation, a_verdict, an_attempt


def a_dead(job_id: str, started_for: str | None = "10m", **given: object) -> Candidate:
    """Return an ordinary candidate with an id and an age."""
    attempt = an_attempt(job_id, started_for=started_for, started=started_for)
    return a_candidate(attempt, **given)  # type: ignore[arg-type]


def ids(plan: Plan) -> list[str]:
    """Return the ids of the jobs to put back."""
    return [candidate.attempt.job_id for candidate in plan.resets]


def refused(plan: Plan) -> dict[str, str]:
    """Return the reason of each job that is left alone."""
    return {refusal.key.job_id: refusal.reason for refusal in plan.refusals}


def test_alive_is_neither_planned_nor_refused() -> None:
    """There is nothing to say of it."""
    candidates = [a_dead(reason.value, reason=reason) for reason in Reason]
    for by_person in (None, a_person(*(reason.value for reason in Reason), accepts_unknown=True)):
        plan = make_plan(candidates, a_situation(by_person=by_person))
        assert {*ids(plan), *refused(plan)} == {reason.value for reason in Reason} - ALIVE


def test_the_oldest_come_first() -> None:
    """A budget goes to those that wait longest; one without a start time ages from when it was first seen."""
    candidates = [
        a_dead("young", "2m"),
        a_dead("old", "3h"),
        a_dead("unsaid", None, first_seen_for="1h"),
        a_dead("b", "10m"),
        a_dead("a", "10m"),
    ]
    expected = ["old", "unsaid", "a", "b", "young"]
    assert ids(make_plan(candidates, a_situation())) == expected
    assert ids(make_plan(reversed(candidates), a_situation())) == expected


def test_refusals_come_the_oldest_first_too() -> None:
    """What has no age to go by comes last."""
    candidates = [a_dead("ageless", None, first_seen_for=None), a_dead("young", "5s"), a_dead("older", "50s")]
    assert list(refused(make_plan(candidates, a_situation()))) == ["older", "young", "ageless"]


def test_the_rate_bounds_a_plan() -> None:
    """What was put back in the last hour counts, and so does each reset that the plan already holds."""
    candidates = [a_dead(str(number), f"{90 - number}m") for number in range(5)]
    plan = make_plan(candidates, a_situation(options={"max_resets_per_hour": 10}, resets_last_hour=8))
    assert ids(plan) == ["0", "1"]
    assert refused(plan) == dict.fromkeys("234", "rate")


def test_a_persons_limit_bounds_a_plan_instead() -> None:
    """The hourly rate does not hold for a person, and without a limit nothing bounds it."""
    candidates = [a_dead(str(number), f"{90 - number}m") for number in range(5)]
    spent = {"options": {"max_resets_per_hour": 1}, "resets_last_hour": 99}
    assert ids(make_plan(candidates, a_situation(**spent, by_person=a_person(limit=3)))) == ["0", "1", "2"]  # type: ignore[arg-type]
    assert len(ids(make_plan(candidates, a_situation(**spent, by_person=a_person())))) == 5  # type: ignore[arg-type]


def test_what_a_guard_refuses_uses_up_no_budget() -> None:
    """Older jobs that may not be put back do not starve those that may (River 1318)."""
    blocked = [a_dead(f"unknown{number}", "9h", reason=Reason.UNREACHABLE) for number in range(9)]
    plan = make_plan([*blocked, a_dead("dead")], a_situation(options={"max_resets_per_hour": 1}))
    assert ids(plan) == ["dead"]


def test_twins_in_one_plan_share_the_budget_of_their_job() -> None:
    """Two rows of one job, each put back twice before: the third reset is the last."""
    twins = [
        a_candidate(an_attempt(str(number), started_for="10m", natural_key=("site1", "day")), resets=2)
        for number in range(3)
    ]
    plan = make_plan(twins, a_situation())
    assert ids(plan) == ["0"]
    assert refused(plan) == {"1": "quarantined", "2": "quarantined"}
    assert plan.resets == (twins[0],)


@pytest.mark.parametrize(
    ("mode", "by_person", "is_dry_run"),
    [
        ("dry_run", None, True),
        ("reset", None, False),
        ("reset", a_person(applies=False), True),
        ("dry_run", a_person(applies=True), False),
    ],
)
def test_a_dry_run_is_planned_as_if(mode: str, by_person: Person | None, is_dry_run: bool) -> None:
    """The plan is the same, and says that nothing is to be written."""
    plan = make_plan([a_dead("1")], a_situation(options={"mode": mode}, by_person=by_person))
    assert (ids(plan), plan.is_dry_run) == (["1"], is_dry_run)


def test_a_verdict_belongs_to_its_attempt() -> None:
    """A verdict of an earlier spell of the same row says nothing of this one."""
    other = an_attempt("1", started="2026-11-22 11:58:00")
    with pytest.raises(ValueError, match=r"^verdict: it is of "):
        replace(a_dead("1"), verdict=a_verdict(other, Reason.NO_PROCESS))


MAYBE = st.sampled_from([True, False, None])
SPANS = st.sampled_from(["1s", "59s", "60s", "61s", "2m", "3h", None])


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Make attempts with distinct keys, in any state."""
    made = []
    for number in range(draw(st.integers(0, 8))):
        started_for = draw(SPANS)
        attempt = an_attempt(
            str(number),
            started_for=started_for,
            started=started_for,
            natural_key=(draw(st.sampled_from("ab")),),
        )
        made.append(
            a_candidate(
                attempt,
                reason=draw(st.one_of(st.just(Reason.NO_PROCESS), st.sampled_from(Reason))),
                hosts=draw(st.sampled_from([(), ("web1",), ("web1", "web2")])),
                is_confirmed=draw(st.booleans()),
                dead_for=draw(SPANS),
                is_enrolled=draw(st.booleans()),
                first_seen_for=draw(SPANS),
                resets=draw(st.sampled_from([0, 0, 1, 2, 3, None])),
            )
        )
    return made


PEOPLE = st.one_of(
    st.none(),
    st.builds(
        a_person,
        st.sampled_from("01234567"),
        applies=st.booleans(),
        limit=st.one_of(st.none(), st.integers(0, 5)),
        accepts_unknown=st.booleans(),
    ),
)
OPEN = BreakerState(open_since=NOON, suspect_at=NOON)


def mostly(usual: object, *others: object) -> st.SearchStrategy[object]:
    """Draw the usual value nine times in ten, so that some plans hold resets."""
    return st.integers(0, 9).flatmap(lambda number: st.just(usual) if number else st.sampled_from(others))


SITUATIONS = st.builds(
    a_situation,
    options=st.fixed_dictionaries(
        {"mode": mostly("reset", "dry_run", "disabled"), "max_resets_per_hour": st.integers(1, 5)},
        optional={
            "windows": st.sampled_from([[], ["Sun 12:00-13:00 UTC"], ["Mon 12:00-13:00 UTC"]]),
            "max_load_per_processor": st.just(1),
        },
    ),
    is_paused=mostly(False, True, None),
    resets_last_hour=mostly(1, 0, 5, None),
    breaker=mostly(BreakerState(), OPEN, None),
    role=mostly(Role.PRIMARY, Role.REPLICA, None),
    is_answering=mostly(True, False, None),
    back_for=st.sampled_from([None, "5s", "1m"]),
    has_new_schema=mostly(False, True, None),
    drift=mostly(0, 9, None),
    offset_jump=mostly(0, -9, None),
    is_ledger_usable=mostly(True, False, None),
    has_lock=mostly(True, False, None),
    loads=st.sampled_from([{}, {"web1": 0.5}, {"web1": 0.5, "web2": 5}]),
    by_person=PEOPLE,
)


@given(candidates=candidates(), situation=SITUATIONS)
def test_every_candidate_that_is_not_alive_is_planned_or_refused_once(
    candidates: list[Candidate], situation: Situation
) -> None:
    """Nothing is lost, and nothing appears that was not there."""
    plan = make_plan(candidates, situation)
    seen = [candidate.attempt.job_id for candidate in plan.resets] + [refusal.key.job_id for refusal in plan.refusals]
    assert sorted(seen) == [c.attempt.job_id for c in candidates if c.verdict.value is not Liveness.ALIVE]
    assert all(refusal.detail for refusal in plan.refusals)


@given(candidates=candidates(), situation=SITUATIONS)
def test_nothing_unproven_is_ever_planned(candidates: list[Candidate], situation: Situation) -> None:
    """Alive is never reset; unknown only for a person who vouches; dead only by both proofs, if anything is written."""
    person = situation.by_person
    for candidate in make_plan(candidates, situation).resets:
        match candidate.verdict.value:
            case Liveness.DEAD:
                assert candidate.verdict.reason in DEAD
                assert candidate.is_confirmed or (person is not None and not person.is_applied)
            case Liveness.UNKNOWN:
                assert person is not None
                assert person.accepts_unknown
                assert candidate.verdict.reason is not Reason.NOT_ASKED
            case Liveness.ALIVE:
                pytest.fail("an alive worker's job is planned to be put back")


@given(candidates=candidates(), situation=SITUATIONS)
def test_no_budget_is_ever_exceeded(candidates: list[Candidate], situation: Situation) -> None:
    """The hour's, the command's, and that of each job unless a person names it."""
    plan, person = make_plan(candidates, situation), situation.by_person
    if person is None:
        assert len(plan.resets) <= max(0, situation.options.max_resets_per_hour - (situation.resets_last_hour or 0))
        assert not plan.resets or situation.resets_last_hour is not None
    elif person.limit is not None:
        assert len(plan.resets) <= person.limit
    named = person.jobs if person else frozenset()
    before: dict[tuple[str, ...], int] = {}
    for candidate in plan.resets:
        job = candidate.attempt.natural_key
        if candidate.attempt.job_id not in named:
            assert candidate.resets is not None
            assert candidate.resets + before.get(job, 0) < situation.options.max_resets_per_job.resets
        before[job] = before.get(job, 0) + 1


@given(candidates=candidates(), situation=SITUATIONS)
def test_what_stops_a_whole_queue_stops_all_of_it(candidates: list[Candidate], situation: Situation) -> None:
    """Whatever is wrong with the surroundings, and whoever asks: no reset at all."""
    person, database, clocks = situation.by_person, situation.database, situation.clocks
    is_safe = (
        situation.is_paused is False
        and situation.is_ledger_usable is True
        and situation.breaker is not None
        and not situation.breaker.is_open
        and database.role is Role.PRIMARY
        and database.is_answering is True
        and database.has_new_schema is False
        and (database.came_back_at is None or NOON - database.came_back_at >= timedelta(seconds=30))
        and clocks.drift == clocks.offset_jump == timedelta(0)
        and (situation.has_lock is True or situation.is_dry_run)
        and (person is not None or situation.options.mode != "disabled")
    )
    plan = make_plan(candidates, situation)
    assert is_safe or not plan.resets
    assert all(candidate.age(NOON) is not None for candidate in plan.resets)
    assert all((candidate.age(NOON) or timedelta(0)) >= timedelta(minutes=1) for candidate in plan.resets)


@given(candidates=candidates(), situation=SITUATIONS, data=st.data())
def test_the_order_of_the_candidates_changes_nothing(
    candidates: list[Candidate], situation: Situation, data: st.DataObject
) -> None:
    """The same rows make the same plan, however the database returned them."""
    assert make_plan(data.draw(st.permutations(candidates)), situation) == make_plan(candidates, situation)


@given(candidates=candidates(), situation=SITUATIONS)
def test_each_guard_can_only_take_away(candidates: list[Candidate], situation: Situation) -> None:
    """A job is planned just if each guard alone lets it pass, but for budgets that others used up."""
    unbounded = replace(situation, by_person=situation.by_person and replace(situation.by_person, limit=None))
    plan = make_plan(candidates, unbounded)
    reasons = {refusal.key: refusal.reason for refusal in plan.refusals}
    put_back = {candidate.attempt.natural_key for candidate in plan.resets}
    for candidate in candidates:
        alone = [refusal.reason for guard in guards.GUARDS if (refusal := guard(candidate, unbounded))]
        if candidate.verdict.value is Liveness.ALIVE:
            assert alone[0] is RefusalReason.UNKNOWN
            continue
        reason = reasons.get(candidate.attempt.key)
        if reason is None:
            assert not alone
        elif reason not in alone:
            used_up_by_a_twin = reason is RefusalReason.QUARANTINED and candidate.attempt.natural_key in put_back
            assert used_up_by_a_twin or (reason is RefusalReason.RATE and not alone)
