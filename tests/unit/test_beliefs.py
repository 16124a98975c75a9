"""What is held belongs to whoever reads the queue, and nothing is held in the light of what was not known."""

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.collector import Reading
from exporter.facts import derive_facts
from exporter.jobs import Attempt, AttemptKey, DetailValue, QueueName
from exporter.options import QueueOptions
from exporter.queues.matomo.queue import SIGNS
from exporter.tracker import History, track
from healers import beliefs as module
from healers.beliefs import Beliefs, Moment
from healers.probes.protocol import HostAnswer, NoAnswer
from healers.proofs import is_confirmed
from healers.rounds import Heard, Placement
from healers.sightings import AttemptSighting, Boot, Enrolment, Learned, Retired, Sightings
from healers.verdicts import Judgement, judge
from tests.builders import (
    BOOTED_FOR,
    MACHINE,
    NOON,
    WEB1,
    a_process,
    a_snapshot,
    an_answer,
    an_attempt,
    no_answer,
    no_process,
    span,
)

QUEUE = QueueName("q")
OLD, NEW = object(), object()
RUN: dict[str, DetailValue] = {"run_id": "01a20202-9c33-7a20-80e4-6f4c3c8e411f", "state_id": "dev:tap-a-to-target-b"}
PROVEN = Sightings(proven=frozenset({(QUEUE, MACHINE)}))


def moment(at: str = "0s") -> Moment:
    """Return all clocks so long after noon."""
    since = span(at) or timedelta(0)
    seconds = BOOTED_FOR + since.total_seconds()
    return Moment(at=NOON + since, boottime_seconds=seconds, monotonic_seconds=seconds)


def take(
    beliefs: Beliefs,
    *attempts: Attempt,
    owner: object = None,
    at: str = "0s",
    placement: Placement | None = None,
) -> None:
    """Let the beliefs take up a poll."""
    snapshot, options = a_snapshot(*attempts, at=at), QueueOptions()
    history = track(History.begin((), options, aliases={}), snapshot, options)
    reading = Reading(
        snapshot=snapshot,
        read_seconds=moment(at).boottime_seconds,
        facts=derive_facts(snapshot, history, options, SIGNS),
        history=history,
    )
    beliefs.take(
        QUEUE,
        reading,
        signs=SIGNS,
        placement=placement,
        confirm_after=timedelta(seconds=30),
        now=moment(at),
        owner=owner,
    )


def ask(beliefs: Beliefs, answer: HostAnswer | NoAnswer, *, at: str) -> AbstractSet[QueueName]:
    """Let the host answer a round; return the queues to be looked at."""
    now = moment(at)
    asked, is_fresh = beliefs.plan("web1", boottime_seconds=now.boottime_seconds)
    return beliefs.hear(
        Heard(
            round=asked,
            answer=answer,
            is_fresh=is_fresh,
            at=now.at,
            began_seconds=now.boottime_seconds,
            ended_seconds=now.boottime_seconds,
        ),
        now,
    )


def verdicts(beliefs: Beliefs) -> Mapping[AttemptKey, str]:
    """Return what is held of each attempt, and why."""
    held = beliefs.of(QUEUE)
    assert held is not None
    return {key: f"{verdict.value} {verdict.reason}" for key, verdict in held.verdicts.items()}


def confirmed(beliefs: Beliefs, at: str) -> set[AttemptKey]:
    """Return the attempts that are dead by two proofs."""
    held = beliefs.of(QUEUE)
    assert held is not None
    return {key for key, one in held.suspects.items() if is_confirmed(one, moment(at).boottime_seconds)}


def a_dead_one(beliefs: Beliefs, *, owner: object = None) -> AttemptKey:
    """Have one attempt judged dead, twice."""
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt, owner=owner)
    for at in ("10s", "45s"):
        ask(beliefs, an_answer(no_process()), at=at)
    assert confirmed(beliefs, "45s") == {attempt.key}
    return attempt.key


def test_what_one_reader_holds_is_nothing_to_the_next() -> None:
    """A reload that changes how a queue is judged must not act on how it was judged before."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    beliefs.assign({QUEUE: OLD})
    a_dead_one(beliefs, owner=OLD)
    beliefs.assign({QUEUE: OLD})
    assert beliefs.of(QUEUE) is not None
    beliefs.assign({QUEUE: NEW})
    assert beliefs.of(QUEUE) is None


def test_nothing_is_taken_from_a_reader_that_is_gone() -> None:
    """Its last poll may end after the reload: it neither replaces what the next one reads, nor brings a queue back."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    beliefs.assign({QUEUE: NEW})
    take(beliefs, an_attempt("old"), owner=OLD)
    assert beliefs.of(QUEUE) is None
    take(beliefs, an_attempt("new"), owner=NEW)
    take(beliefs, an_attempt("old"), owner=OLD)
    assert [key.job_id for key in verdicts(beliefs)] == ["new"]
    beliefs.assign({})
    take(beliefs, an_attempt("new"), owner=NEW)
    assert beliefs.of(QUEUE) is None


def test_other_hosts_leave_readers_as_they_are() -> None:
    """What is held begins anew, but who reads does not."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    beliefs.assign({QUEUE: NEW})
    anew = beliefs.begin_anew([WEB1])
    take(anew, an_attempt(), owner=OLD)
    assert anew.of(QUEUE) is None


def test_what_is_remembered_late_judges_anew() -> None:
    """A ledger that opens late may know that another machine has the worker: nothing may be done by what was held."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    key = a_dead_one(beliefs)
    elsewhere = Enrolment(machine_id="m" * 32, boot_id="other", pid=100, start_ticks=7, seen_at=NOON)
    known = AttemptSighting(first_seen_at=NOON - timedelta(hours=1), enrolment=elsewhere, boots=(elsewhere.boot,))
    beliefs.adopt(Sightings(attempts={key: known}))
    assert verdicts(beliefs) == {key: "unknown not_asked"}
    assert confirmed(beliefs, "45s") == set()
    for at in ("1m", "2m", "3m"):
        ask(beliefs, an_answer(no_process()), at=at)
        assert verdicts(beliefs) == {key: "unknown two_machines"}


def test_a_reboot_before_the_ledger_could_be_opened_is_known_from_it() -> None:
    """Both came up after a power failure, the ledger's server last."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt)
    rebooted = an_answer(no_process(), boot_id="boot-2", uptime="60s")
    ask(beliefs, rebooted, at="10s")
    before = Boot(
        machine_id=MACHINE,
        boot_id="boot-1",
        first_at=NOON - timedelta(days=1),
        last_at=NOON - timedelta(minutes=5),
    )
    enrolled = Enrolment(machine_id=MACHINE, boot_id="boot-1", pid=100, start_ticks=7, seen_at=before.last_at)
    known = AttemptSighting(
        first_seen_at=before.last_at, asked_at=before.last_at, enrolment=enrolled, boots=(before.name,)
    )
    beliefs.adopt(Sightings(attempts={attempt.key: known}, boots={"web1": (before,)}, proven=PROVEN.proven))
    ask(beliefs, an_answer(no_process(), boot_id="boot-2", uptime="75s"), at="25s")
    assert verdicts(beliefs) == {attempt.key: "dead host_rebooted"}


def test_another_machine_that_answered_before_the_ledger_could_be_opened_is_known() -> None:
    """The job of the earlier run may be at work on it, though the first machine has the name again."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt)
    ask(beliefs, an_answer(no_process(), machine_id="a" * 32, boot_id="boot-2", uptime="9h"), at="10s")
    before = Boot(machine_id=MACHINE, boot_id="boot-1", first_at=NOON - timedelta(days=1), last_at=NOON)
    known = AttemptSighting(first_seen_at=NOON, asked_at=NOON, boots=(before.name,))
    beliefs.adopt(Sightings(attempts={attempt.key: known}, boots={"web1": (before,)}, proven=PROVEN.proven))
    for at in ("25s", "60s"):
        ask(beliefs, an_answer(no_process()), at=at)
        assert verdicts(beliefs) == {attempt.key: "unknown two_machines"}


def test_a_host_that_answered_before_the_ledger_was_open_is_not_retired() -> None:
    """And the ledger is told so."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt)
    ask(beliefs, an_answer(no_process()), at="10s")
    retired = Retired(at=NOON + timedelta(seconds=5), why="scrapped", actor="ann")
    beliefs.adopt(Sightings(retired={"web1": retired, "web2": retired}))
    assert beliefs.sightings.retired == {"web2": retired}
    kept: list[Learned] = []
    beliefs.keep(kept.append)
    assert kept[0].returned == {"web1"}


@pytest.mark.parametrize(("at", "is_retired"), [("5s", False), ("20s", True)])
def test_any_answer_after_a_retirement_ends_it_and_none_before(at: str, is_retired: bool) -> None:
    """Also one that proves nothing; but not what the host said before it was given up, which the ledger tells late."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    take(beliefs, an_attempt(started_for="10m"))
    ask(beliefs, an_answer(no_process(), sees_foreign=False), at="10s")
    retired = {"web1": Retired(at=NOON + (span(at) or timedelta(0)), why="scrapped", actor="ann")}
    beliefs.adopt(Sightings(retired=retired))
    assert ("web1" in beliefs.sightings.retired) is is_retired


def test_what_a_round_learns_after_other_hosts_are_configured_is_not_lost() -> None:
    """An answer ends a retirement, and a worker that was seen is remembered, though their askers are gone."""
    attempt = an_attempt(started_for="1m")
    retired = Retired(at=NOON - timedelta(minutes=1), why="scrapped", actor="ann")
    beliefs = Beliefs([WEB1], sightings=replace(PROVEN, retired={"web1": retired}))
    take(beliefs, attempt)
    anew = beliefs.begin_anew([WEB1])
    take(anew, attempt)
    ask(beliefs, an_answer(a_process()), at="10s")
    assert anew.sightings.retired == {}
    assert anew.sightings.attempts[attempt.key].enrolment is not None
    kept: list[Learned] = []
    anew.keep(kept.append)
    assert kept[0].returned == {"web1"}
    assert set(kept[0].attempts) == {attempt.key}


def test_an_earlier_asker_brings_nothing_back_and_takes_nothing_away() -> None:
    """What is started, and what is gone, say the polls since."""
    one, two = an_attempt("1", started_for="1m"), an_attempt("2", pid="200")
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    take(beliefs, one, two)
    anew = beliefs.begin_anew([WEB1])
    take(anew, two)
    ask(beliefs, an_answer(a_process(), no_process(200)), at="10s")
    assert set(anew.sightings.attempts) == {two.key}
    take(beliefs)
    assert set(anew.sightings.attempts) == {two.key}


def test_an_earlier_asker_takes_no_boot_away() -> None:
    """It was judged by what was known before: that another machine has answered since is still known."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    take(beliefs, an_attempt())
    ask(beliefs, an_answer(a_process()), at="1s")
    anew = beliefs.begin_anew([WEB1])
    ask(anew, an_answer(boot_id="boot-2", uptime="9h"), at="10s")
    ask(beliefs, an_answer(a_process()), at="11s")
    assert [boot.boot_id for boot in anew.sightings.boots["web1"]] == ["boot-1", "boot-2"]


def test_another_machine_that_an_earlier_asker_has_heard_is_known() -> None:
    """A job may have begun on it, and nobody is left to ask about it once the first machine has the name again."""
    beliefs, attempt = Beliefs([WEB1], sightings=PROVEN), an_attempt(started_for="1m")
    take(beliefs)
    ask(beliefs, an_answer(), at="1s")
    anew = beliefs.begin_anew([WEB1])
    take(anew)
    ask(anew, an_answer(), at="9s")
    ask(beliefs, an_answer(machine_id="a" * 32, boot_id="boot-2", uptime="9h"), at="10s")
    take(anew, attempt, at="2m")
    for at in ("2m", "3m", "4m"):
        ask(anew, an_answer(no_process()), at=at)
        assert verdicts(anew) == {attempt.key: "unknown two_machines"}


def test_what_is_remembered_late_is_not_lost_to_other_hosts() -> None:
    """The ledger may open at the very moment in which other hosts are configured."""
    beliefs = Beliefs([WEB1])
    anew = beliefs.begin_anew([WEB1])
    beliefs.adopt(PROVEN)
    assert set(anew.sightings.proven) == {(QUEUE, MACHINE)}


def test_what_an_earlier_asker_is_told_while_a_round_is_judged_is_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker was seen on the machine that had the name before."""
    beliefs, attempt = Beliefs([WEB1], sightings=PROVEN), an_attempt(started_for="1m")
    take(beliefs, attempt)
    anew = beliefs.begin_anew([WEB1])
    take(anew, attempt)
    judged: list[str] = []

    def judge_beside_the_other(heard: Heard, sightings: Sightings, *, duplicates: frozenset[str]) -> Judgement:
        judgement = judge(heard, sightings, duplicates=duplicates)
        judged.extend(str(verdict.reason) for verdict in judgement.verdicts)
        if len(judged) == 1:
            ask(beliefs, an_answer(a_process()), at="9s")
        return judgement

    monkeypatch.setattr(module, "judge", judge_beside_the_other)
    ask(anew, an_answer(no_process(), boot_id="boot-2", uptime="9h"), at="10s")
    assert judged == ["no_process", "running", "two_machines"]
    assert verdicts(anew) == {attempt.key: "unknown two_machines"}


@pytest.mark.parametrize("times", [1, 2])
def test_what_could_not_be_kept_before_other_hosts_were_configured_is_kept_after(times: int) -> None:
    """The ledger failed while the hosts changed."""
    beliefs = Beliefs([WEB1])
    take(beliefs, an_attempt())

    def fail(_: Learned) -> None:
        for _time in range(times):
            heirs.append(heirs[-1].begin_anew([WEB1]))
        raise OSError("full")

    heirs = [beliefs]
    with pytest.raises(OSError, match="full"):
        beliefs.keep(fail)
    kept: list[Learned] = []
    heirs[-1].keep(kept.append)
    assert set(kept[0].attempts) == {an_attempt().key}


def test_a_retirement_that_has_ended_elsewhere_holds_nobody_dead() -> None:
    """Another instance may have had an answer."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt)
    beliefs.retire({"web1": Retired(at=NOON + timedelta(seconds=5), why="scrapped", actor="ann")})
    for at in ("10s", "45s"):
        ask(beliefs, no_answer("unreachable"), at=at)
    assert verdicts(beliefs) == {attempt.key: "dead host_retired"}
    beliefs.retire({})
    assert verdicts(beliefs) == {attempt.key: "unknown not_asked"}
    assert confirmed(beliefs, "45s") == set()


def test_a_clock_that_is_set_back_puts_no_attempt_before_a_retirement() -> None:
    """A person gave up a host that goes on to take jobs: of those that come after, its silence proves nothing."""
    beliefs, older, newer = Beliefs([WEB1]), an_attempt("1", started_for="10m"), an_attempt("2", pid="200")
    take(beliefs, older)
    beliefs.retire({"web1": Retired(at=NOON + timedelta(hours=1), why="gone", actor="ann")})
    take(beliefs, older, newer, at="5m")
    for at in ("5m", "6m"):
        ask(beliefs, no_answer("unreachable"), at=at)
    assert verdicts(beliefs) == {older.key: "dead host_retired", newer.key: "unknown unreachable"}


@pytest.mark.parametrize("lost", [True, False])
def test_what_cannot_be_kept_is_kept_later(lost: bool) -> None:
    """In the order in which it was learned, but for what is gone, which a restart finds out by itself."""
    beliefs = Beliefs([WEB1])
    take(beliefs, an_attempt("1"))
    take(beliefs, an_attempt("2"), at="15s")

    def fail(_: Learned) -> None:
        raise OSError("full")

    if lost:
        with pytest.raises(OSError, match="full"):
            beliefs.keep(fail)
    kept: list[Learned] = []
    beliefs.keep(kept.append)
    beliefs.keep(kept.append)
    assert [{key.job_id for key in learned.attempts} for learned in kept] == [{"2"}, set()]
    assert [{key.job_id for key in learned.gone} for learned in kept] == [set() if lost else {"1"}, set()]
    assert kept[1] == Learned()


def test_a_round_that_began_before_another_reader_did_judges_nothing_for_it() -> None:
    """It was asked by other signs, and with another wait; but a worker that it saw is remembered."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    beliefs.assign({QUEUE: OLD})
    take(beliefs, attempt, owner=OLD)
    asked, is_fresh = beliefs.plan("web1", boottime_seconds=BOOTED_FOR)
    beliefs.assign({QUEUE: NEW})
    take(beliefs, attempt, owner=NEW, at="5s")
    now = moment("10s")
    heard = Heard(
        round=asked,
        answer=an_answer(no_process()),
        is_fresh=is_fresh,
        at=now.at,
        began_seconds=BOOTED_FOR,
        ended_seconds=now.boottime_seconds,
    )
    assert beliefs.hear(heard, now) == set()
    assert verdicts(beliefs) == {attempt.key: "unknown not_asked"}
    assert beliefs.sightings.attempts[attempt.key].asked_at == now.at


def test_a_round_that_began_before_another_reader_did_judges_no_run_for_it() -> None:
    """It looked for plugins of the project as it was configured then, not as it is now."""
    run = an_attempt(host=None, pid=None, heartbeat="11:59:00", heartbeat_age="1m", started_for="10m", detail=RUN)
    beliefs = Beliefs([WEB1])
    for owner, project in ((OLD, "/srv/old"), (NEW, "/srv/new")):
        placement = Placement(workers_on=("web1",), workers_user="queuemedic", project=project)
        beliefs.assign({QUEUE: owner})
        for at in ("0s", "40s"):
            take(beliefs, run, owner=owner, at=at, placement=placement)
        if owner is OLD:
            asked = ask(beliefs, an_answer(), at="41s")
            assert asked == {QUEUE}
            assert verdicts(beliefs) == {run.key: "dead heartbeat_lost"}
    assert verdicts(beliefs) == {run.key: "unknown not_asked"}
    ask(beliefs, an_answer(), at="42s")
    assert verdicts(beliefs) == {run.key: "dead heartbeat_lost"}


def test_what_people_say_while_a_round_is_judged_is_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging takes its time, and holds nobody up: a retirement that ends meanwhile holds nobody dead."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    attempt = an_attempt(started_for="10m")
    take(beliefs, attempt)
    beliefs.retire({"web1": Retired(at=NOON + timedelta(seconds=5), why="scrapped", actor="ann")})
    judged: list[str] = []

    def judge_slowly(heard: Heard, sightings: Sightings, *, duplicates: frozenset[str]) -> Judgement:
        judgement = judge(heard, sightings, duplicates=duplicates)
        if not judged:
            beliefs.retire({})
        judged.extend(str(verdict.reason) for verdict in judgement.verdicts)
        return judgement

    monkeypatch.setattr(module, "judge", judge_slowly)
    ask(beliefs, no_answer("unreachable"), at="10s")
    assert judged == ["host_retired", "unreachable"]
    assert verdicts(beliefs) == {attempt.key: "unknown unreachable"}


def test_polls_go_on_while_a_round_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may be asked about thousands of attempts; what a poll brings meanwhile stays."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    old, new = an_attempt("1", started_for="10m"), an_attempt("2", pid="200")
    take(beliefs, old)

    def judge_beside_a_poll(heard: Heard, sightings: Sightings, *, duplicates: frozenset[str]) -> Judgement:
        poll = threading.Thread(target=take, args=(beliefs, old, new), kwargs={"at": "5s"}, daemon=True)
        poll.start()
        poll.join(5)
        assert not poll.is_alive()
        return judge(heard, sightings, duplicates=duplicates)

    monkeypatch.setattr(module, "judge", judge_beside_a_poll)
    ask(beliefs, an_answer(a_process()), at="10s")
    assert verdicts(beliefs) == {old.key: "alive running", new.key: "unknown not_asked"}


@pytest.mark.parametrize("meanwhile", [(), (an_attempt(heartbeat="11:59:00"),)])
def test_a_suspicion_ends_with_its_claim(meanwhile: tuple[Attempt, ...]) -> None:
    """A job that was let go, or whose heart has beaten, and then looks as before, was at work in between."""
    beliefs, attempt = Beliefs([WEB1], sightings=PROVEN), an_attempt(heartbeat="11:58:00")
    for at in ("0s", "40s"):
        take(beliefs, attempt, at=at)
        ask(beliefs, an_answer(no_process()), at=at)
    assert confirmed(beliefs, "41s") == {attempt.key}
    take(beliefs, *meanwhile, at="42s")
    take(beliefs, attempt, at="43s")
    assert confirmed(beliefs, "44s") == set()
    ask(beliefs, an_answer(no_process()), at="45s")
    assert confirmed(beliefs, "46s") == set()


def test_a_verdict_on_what_is_over_by_now_is_not_held() -> None:
    """The row was gone before the host had answered."""
    beliefs, attempt = Beliefs([WEB1], sightings=PROVEN), an_attempt()
    take(beliefs, attempt)
    asked, _ = beliefs.plan("web1", boottime_seconds=BOOTED_FOR)
    take(beliefs, at="1s")
    seconds, answer = moment("2s").boottime_seconds, an_answer(no_process())
    heard = Heard(round=asked, answer=answer, is_fresh=False, at=NOON, began_seconds=BOOTED_FOR, ended_seconds=seconds)
    assert beliefs.hear(heard, moment("2s")) == set()
    assert verdicts(beliefs) == {}
    assert confirmed(beliefs, "2s") == set()


def test_what_is_kept_later_is_the_latest() -> None:
    """A host has answered again while the ledger failed."""
    beliefs = Beliefs([WEB1])
    ask(beliefs, an_answer(), at="1s")

    def fail(_: Learned) -> None:
        ask(beliefs, an_answer(), at="10s")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        beliefs.keep(fail)
    kept: list[Learned] = []
    beliefs.keep(kept.append)
    (boot,) = kept[0].boots["web1"]
    assert boot.last_at == moment("10s").at


def test_a_round_tells_which_queues_to_look_at() -> None:
    """Those of which other is held than before, and those with somebody dead, whom one more round may confirm."""
    beliefs = Beliefs([WEB1], sightings=PROVEN)
    take(beliefs, an_attempt(started_for="10m"))
    told = [
        ask(beliefs, answer, at=at)
        for at, answer in (
            ("10s", an_answer(a_process())),
            ("25s", an_answer(a_process())),
            ("40s", an_answer(a_process(states="T"))),
            ("55s", an_answer(no_process())),
            ("70s", an_answer(no_process())),
        )
    ]
    assert told == [{QUEUE}, set(), {QUEUE}, {QUEUE}, {QUEUE}]
