"""What holds of every verdict, whatever a host says and whatever is remembered."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.jobs import Attempt, QueueName
from healers.probes.protocol import HostAnswer, NoAnswer, Presence, ProcessAnswer, Relative, Silence, Tie
from healers.rounds import Host
from healers.runs import Stillness, judge_runs
from healers.sightings import Sightings
from healers.verdicts import Judgement, Liveness, judge
from tests.builders import (
    ARCHIVER,
    MACHINE,
    NOON,
    WEB1,
    a_process,
    a_round,
    an_answer,
    an_attempt,
    hear,
    no_answer,
    no_process,
)
from tests.unit.test_runs import PLACEMENT, a_run, from_hosts, says

MINUTE = timedelta(minutes=1)
PROVEN = Sightings(proven=frozenset({(QueueName("q"), MACHINE)}))

seconds = st.integers(0, 20_000)
ticks = st.one_of(st.sampled_from([900_000, 900_001]), st.integers(0, 2_000_000))
processes = st.builds(
    ProcessAnswer,
    pid=st.just(100),
    presence=st.sampled_from(Presence),
    start_ticks=st.none() | ticks,
    states=st.sampled_from(["", "S", "D", "T", "Z", "ZS", "ZZ", "X"]),
    name=st.sampled_from(["php", "php-fpm8.2", "vim"]),
    memory_bytes=st.none(),
    argv=st.sampled_from([None, (), ARCHIVER, ("vim",)]),
)
relatives = st.builds(
    Relative,
    pid=st.sampled_from([100, 900]),
    tie=st.sampled_from(Tie),
    asked_pid=st.sampled_from([None, 100, 101]),
    argv=st.sampled_from([(), ("climulti:request",), ("climulti:request", "runid=101")]),
)


@st.composite
def answers(draw: st.DrawFn) -> HostAnswer:
    """Draw an answer of web1, or of a machine that says it is."""
    return an_answer(
        *draw(st.lists(processes, max_size=1)),
        hostname=draw(st.sampled_from(["web1", "web1", "web1", "web2"])),
        machine_id=draw(st.sampled_from([MACHINE, MACHINE, "b" * 32, None])),
        boot_id=draw(st.sampled_from(["boot-1", "boot-1", "boot-2", "boot-3"])),
        uptime=f"{draw(seconds) or 1}s",
        pid_max=draw(st.sampled_from([4_194_304, 4_194_304, 99])),
        sees_foreign=draw(st.sampled_from([True, True, True, False])),
        has_looked_through=draw(st.sampled_from([True, True, True, False])),
        relatives=tuple(draw(st.lists(relatives, max_size=2))),
    )


History = list[HostAnswer | NoAnswer]
histories = st.lists(st.one_of(answers(), st.sampled_from([no_answer()])), max_size=4)
hosts = st.sampled_from([WEB1, WEB1, Host(name="web1", machine_id=MACHINE)])
attempts = st.sampled_from([an_attempt(), an_attempt(started_for="30m"), an_attempt(started=None)])


def run_rounds(history: History, attempt: Attempt, host: Host, *, known: Sightings = PROVEN) -> Sightings:
    """Return what is remembered after a round a minute."""
    for minute, answer in enumerate(history):
        known = known.learn(judge_at(minute, answer, attempt, host, known=known).learned)
    return known


def judge_at(
    minute: int, answer: HostAnswer | NoAnswer, attempt: Attempt, host: Host, *, known: Sightings
) -> Judgement:
    """Judge one round, so many minutes after noon."""
    when = f"{minute}m" if minute else "0s"
    return judge(hear(a_round(attempt, host=host, sightings=known, read=when), answer, at=when), known)


def value_of(judgement: Judgement) -> Liveness:
    """Return the only verdict."""
    (one,) = judgement.verdicts
    return one.value


@given(history=histories, attempt=attempts, host=hosts, silence=st.sampled_from(Silence))
def test_no_answer_is_never_death(history: History, attempt: Attempt, host: Host, silence: Silence) -> None:
    """Whatever was heard before, silence proves nothing and changes nothing."""
    known = run_rounds(history, attempt, host)
    judgement = judge_at(9, NoAnswer(silence=silence, detail=""), attempt, host, known=known)
    assert value_of(judgement) is Liveness.UNKNOWN
    assert known.learn(judgement.learned) == known


def forget(known: Sightings, what: str) -> Sightings:
    """Return what is remembered without one part of it."""
    bare = {key: replace(one, enrolment=None) for key, one in known.attempts.items()}
    without = {
        "enrolments": replace(known, attempts=bare),
        "attempts": replace(known, attempts={}),
        "boots": replace(known, boots={}),
        "proven": replace(known, proven=frozenset()),
    }
    return without[what]


@settings(max_examples=500)
@given(
    history=histories,
    answer=answers(),
    attempt=attempts,
    host=hosts,
    what=st.sampled_from(["enrolments", "attempts", "boots", "proven"]),
)
def test_to_forget_never_makes_a_death(
    history: History, answer: HostAnswer, attempt: Attempt, host: Host, what: str
) -> None:
    """Enrolments, what was asked, boots, or where workers were ever seen: what is lost makes nobody dead."""
    known = run_rounds(history, attempt, host)
    assume(value_of(judge_at(9, answer, attempt, host, known=known)) is not Liveness.DEAD)
    assert value_of(judge_at(9, answer, attempt, host, known=forget(known, what))) is not Liveness.DEAD


@settings(max_examples=500)
@given(history=histories, answer=answers(), attempt=attempts, host=hosts)
def test_the_workers_own_process_is_never_dead(
    history: History, answer: HostAnswer, attempt: Attempt, host: Host
) -> None:
    """Present, with the ticks that were enrolled, and a thread that lives: whatever else is said."""
    known = run_rounds([an_answer(a_process()), *history], an_attempt(), WEB1)
    there = replace(answer, processes={100: a_process(states="S", argv=None)})
    assert value_of(judge_at(9, there, attempt, host, known=known)) is not Liveness.DEAD


@settings(max_examples=500)
@given(
    shift=st.integers(-(10**7), 10**7),
    age_shift=st.integers(-(10**5), 10**5),
    started_for=st.integers(0, 3000),
    steps=st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=3),
)
def test_no_setting_of_clocks_kills_a_live_worker(
    shift: int, age_shift: int, started_for: int, steps: list[int]
) -> None:
    """Ours is wrong by any time, and set between rounds; the database's makes ages too long or too short."""
    age = timedelta(seconds=max(0, started_for + age_shift))
    known = PROVEN
    for minute, step in enumerate(steps):
        attempt = replace(an_attempt(), age=age + minute * MINUTE)
        one = hear(a_round(attempt, sightings=known, read=f"{minute + 1}m"), alive_at(minute), at=f"{minute + 1}m")
        one = replace(one, at=NOON + timedelta(seconds=shift + step))
        judgement = judge(one, known)
        assert value_of(judgement) is Liveness.ALIVE
        known = known.learn(judgement.learned)


def alive_at(minute: int) -> HostAnswer:
    """Return the answer of a host whose archiver goes on, so many minutes later."""
    return replace(an_answer(a_process()), uptime=timedelta(seconds=10_000) + minute * MINUTE)


@settings(max_examples=500)
@given(
    turns=st.lists(st.booleans(), min_size=2, max_size=8),
    uptime=st.integers(2 * 3600, 10**6),
    steps=st.lists(st.integers(-(10**6), 10**6), min_size=8, max_size=8),
    is_pinned=st.booleans(),
)
def test_of_two_machines_behind_one_name_none_kills_the_worker_of_the_other(
    turns: list[bool], uptime: int, steps: list[int], is_pinned: bool
) -> None:
    """Clones, both up all the time, answering in any order, while our clock is set back and forth."""
    host = Host(name="web1", machine_id=MACHINE if is_pinned else None)
    known, attempt = PROVEN, an_attempt()
    first = judge_at(0, alive_at(0), attempt, host, known=known)
    known = known.learn(first.learned)
    for minute, (is_first, step) in enumerate(zip(turns, steps, strict=False), start=1):
        other = an_answer(no_process(), boot_id="boot-2", uptime=f"{uptime + minute * 60}s")
        when = f"{minute}m"
        one = hear(a_round(attempt, host=host, read=when), alive_at(minute) if is_first else other, at=when)
        judgement = judge(replace(one, at=NOON + timedelta(seconds=step)), known)
        assert value_of(judgement) is not Liveness.DEAD
        known = known.learn(judgement.learned)


@given(silence=st.sampled_from(Silence), is_first=st.booleans(), lasted=seconds)
def test_a_run_is_never_dead_while_a_host_is_silent(silence: Silence, is_first: bool, lasted: int) -> None:
    """Whatever the others say, and however long the heartbeat stands still."""
    run = a_run()
    spoken = says() if not is_first else says(host="app02")
    pair = (
        (NoAnswer(silence=silence, detail=""), spoken) if is_first else (spoken, NoAnswer(silence=silence, detail=""))
    )
    still = Stillness(
        claim=run.claim, lasted=timedelta(seconds=lasted), snapshots=2, database_now=NOON, read_seconds=0.0
    )
    (one,) = judge_runs([run], PLACEMENT, from_hosts(run, *pair), stillness={run.key: still}, at=NOON)
    assert one.value is Liveness.UNKNOWN
