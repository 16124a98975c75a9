"""Every line of the table of verdicts, in the words of what a host can say."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.jobs import Attempt, DetailValue, QueueName, WorkerSigns
from exporter.queues.matomo.queue import SIGNS
from healers.probes.protocol import HostAnswer, NoAnswer, ProcessAnswer, Relative, Silence, Tie
from healers.rounds import Host, Watched, find_duplicates, plan_unplaced
from healers.sightings import Retired, Sightings
from healers.verdicts import Judgement, Liveness, Reason, judge, not_asked
from tests.builders import (
    BOOTED_FOR,
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

PROVEN = Sightings(proven=frozenset({(QueueName("q"), MACHINE)}))
ARCHIVING: dict[str, DetailValue] = {"site": 1, "date1": "2026-11-21", "date2": "2026-11-21", "period": 1}
REQUEST = "module=API&method=CoreAdminHome.archiveReports&idSite=1&period=day&date=2026-11-21&format=json"


def ask(
    answer: HostAnswer | NoAnswer,
    *attempts: Attempt,
    host: Host = WEB1,
    known: Sightings = PROVEN,
    at: str = "0s",
    took: str = "0s",
    clock_ahead: str = "0s",
    signs: WorkerSigns = SIGNS,
    duplicates: frozenset[str] = frozenset(),
) -> Judgement:
    """Judge one round that asks about `attempts`."""
    attempts = attempts or (an_attempt(),)
    one = a_round(*attempts, host=host, sightings=known, read=at, signs=signs)
    heard = hear(one, answer, at=at, took=took, clock_ahead=clock_ahead)
    return judge(heard, known, duplicates=duplicates)


def verdict(judgement: Judgement) -> str:
    """Return `value reason` of the only verdict."""
    (one,) = judgement.verdicts
    return f"{one.value} {one.reason}"


def enrol(known: Sightings = PROVEN, *, at: str = "0s", attempt: Attempt | None = None) -> Sightings:
    """Return what is known once the archiver was seen alive."""
    judgement = ask(an_answer(a_process()), *([attempt] if attempt else []), known=known, at=at)
    assert verdict(judgement) == "alive running"
    return known.learn(judgement.learned)


def a_child(request: str) -> Relative:
    """Return a process that builds one archive."""
    return Relative(pid=900, tie=Tie.MARK, argv=("php", "/srv/matomo/console", "climulti:request", request))


# --- The row itself


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (an_attempt(pid=None), "unknown no_worker"),
        (an_attempt(pid=""), "unknown no_worker"),
        (an_attempt(pid="914256713827748"), "unknown not_a_pid"),
        (an_attempt(pid="0"), "unknown not_a_pid"),
        (an_attempt(pid="-5"), "unknown not_a_pid"),
        (an_attempt(pid="100 "), "unknown not_a_pid"),
        (an_attempt(started_for=None), "unknown clock"),
    ],
)
def test_a_row_that_names_no_worker_is_never_judged(attempt: Attempt, expected: str) -> None:
    """A missing worker, a pid that is none, an age that cannot be true: whatever the host says."""
    assert verdict(ask(an_answer(no_process()), attempt)) == expected
    assert verdict(ask(no_answer(), attempt)) == expected


def test_a_row_without_a_host_is_in_nobodys_round() -> None:
    """What names no configured host is judged without asking anybody."""
    attempts = an_attempt("1", host=None), an_attempt("2", host="web9"), an_attempt("3", host="Web1"), an_attempt("4")
    watched = a_round(*attempts).attempts.values()
    assert [asked.attempt.job_id for asked in watched] == ["4"]
    unplaced = plan_unplaced([WEB1], [Watched(started=attempts, signs=SIGNS, read_seconds=BOOTED_FOR)])
    silence = NoAnswer(silence=Silence.NOT_CONFIGURED, detail="")
    judged = {one.key.job_id: str(one.reason) for one in judge(hear(unplaced, silence), PROVEN).verdicts}
    assert judged == {"1": "no_worker", "2": "not_configured", "3": "not_configured"}


# --- A host that a person gave up

RETIRED = Retired(at=NOON + timedelta(minutes=1), why="scrapped", actor="ann")


def retired_after_seen(host: str = "web1") -> Sightings:
    """Return what is known where an attempt was seen at noon, and its host retired a minute later."""
    seen = enrol()
    return replace(seen, retired={host: RETIRED})


@pytest.mark.parametrize("silence", ["unreachable", "timeout", "not_configured"])
def test_a_retired_host_is_dead_while_it_is_silent(silence: str) -> None:
    """A person's word ends the doubt, and the verdict says whose word it is."""
    judgement = ask(no_answer(silence), known=retired_after_seen(), at="5m")
    assert verdict(judgement) == "dead host_retired"
    evidence = judgement.verdicts[0].evidence
    assert (evidence["why"], evidence["actor"], evidence["silence"]) == ("scrapped", "ann", silence)


@pytest.mark.parametrize("silence", ["host_key", "refused", "bad_answer"])
def test_a_retired_host_that_speaks_is_not_gone(silence: str) -> None:
    """Something is there; whether it is the machine that was given up, nobody knows."""
    assert verdict(ask(no_answer(silence), known=retired_after_seen(), at="5m")) == f"unknown {silence}"


def test_an_attempt_first_seen_after_its_host_was_retired_is_not_covered_by_it() -> None:
    """The word was about what was there."""
    known = replace(enrol(at="2m"), retired={"web1": RETIRED})
    assert verdict(ask(no_answer(), known=known, at="5m")) == "unknown timeout"
    never_seen = replace(PROVEN, retired={"web1": RETIRED})
    assert verdict(ask(no_answer(), known=never_seen, at="5m")) == "unknown timeout"


def test_an_answer_ends_retirement() -> None:
    """Even one that cannot be used, and even on a clock that was set back: the host is not gone."""
    known = retired_after_seen()
    for answer in (an_answer(a_process()), an_answer(sees_foreign=False)):
        back = ask(answer, known=known, at="3m", clock_ahead="0s").learned
        assert back.returned == {"web1"}
        assert verdict(ask(no_answer(), known=known.learn(back), at="6m")) == "unknown timeout"
    earlier = replace(ask(an_answer(a_process()), known=known, at="3m").learned, returned=frozenset())
    assert verdict(ask(no_answer(), known=known.learn(earlier), at="6m")) == "unknown timeout"


def test_a_host_may_be_retired_under_its_own_name_or_the_recorded_one() -> None:
    """An alias is the same machine; another host's retirement is not this one's."""
    host = Host(name="web1.example", aliases=frozenset({"web1"}))
    for name in ("web1", "web1.example"):
        assert verdict(ask(no_answer(), host=host, known=retired_after_seen(name), at="5m")) == "dead host_retired"
    assert verdict(ask(no_answer(), host=host, known=retired_after_seen("web2"), at="5m")) == "unknown timeout"


def test_a_row_with_a_nonsense_age_is_not_covered_by_a_retired_host() -> None:
    """When it began nobody knows, so nobody knows what the word was about."""
    judgement = ask(no_answer(), an_attempt(started_for=None), known=retired_after_seen(), at="5m")
    assert verdict(judgement) == "unknown clock"


# --- Answers that cannot be used


@pytest.mark.parametrize("silence", list(Silence))
def test_silence_is_unknown(silence: Silence) -> None:
    """Whatever kept a host from answering proves nothing, and teaches nothing."""
    judgement = ask(NoAnswer(silence=silence, detail=""), known=enrol(), at="1m")
    assert verdict(judgement) == f"unknown {silence}"
    assert judgement.learned == type(judgement.learned)()


HIDING = ("rw", "hidepid=invisible")


@pytest.mark.parametrize(
    ("answer", "host", "expected"),
    [
        (an_answer(no_process(), sees_foreign=False), WEB1, "hidden_processes"),
        (an_answer(no_process(), sees_foreign=False, uid=0), WEB1, "hidden_processes"),
        (an_answer(no_process(), proc_options=("rw", "hidepid=2")), WEB1, "hidden_processes"),
        (an_answer(no_process(), proc_options=("rw", "hidepid=1")), WEB1, "hidden_processes"),
        (an_answer(no_process(), proc_options=HIDING), WEB1, "hidden_processes"),
        (an_answer(no_process(), proc_options=("hidepid=ptraceable",)), WEB1, "hidden_processes"),
        (an_answer(no_process(), proc_options=("subset=pid",), uid=0), WEB1, "hidden_processes"),
        (
            an_answer(no_process(), proc_options=("hidepid=2", "gid=998"), pid_namespace=7),
            Host(name="web1", has_own_namespace=True),
            "hidden_processes",
        ),
        (an_answer(no_process(), pid_namespace=4_026_532_200), WEB1, "wrong_namespace"),
        (an_answer(no_process(), hostname="web2"), WEB1, "wrong_host"),
        (an_answer(no_process(), hostname="WEB1"), WEB1, "wrong_host"),
        (an_answer(no_process(), hostname="web1.example"), WEB1, "wrong_host"),
        (an_answer(no_process()), Host(name="web1", machine_id="0" * 32), "wrong_host"),
        (an_answer(no_process(), machine_id=None), Host(name="web1", machine_id=MACHINE), "wrong_host"),
    ],
)
def test_an_answer_of_the_wrong_machine_or_a_blind_one_is_unknown(
    answer: HostAnswer, host: Host, expected: str
) -> None:
    """An enrolled worker that is not found there may well be alive, and such an answer teaches nothing."""
    judgement = ask(answer, host=host, known=enrol(), at="1m")
    assert verdict(judgement) == f"unknown {expected}"
    assert judgement.learned.boots == {}
    assert judgement.learned.attempts == {}


@pytest.mark.parametrize(
    ("answer", "host"),
    [
        (an_answer(no_process(), proc_options=("hidepid=2",), uid=0), WEB1),
        (an_answer(no_process(), proc_options=("hidepid=2", "gid=998")), WEB1),
        (an_answer(no_process(), proc_options=("hidepid=0",)), WEB1),
        (an_answer(no_process(), proc_options=("hidepid=off",)), WEB1),
        (an_answer(no_process(), pid_namespace=7), Host(name="web1", has_own_namespace=True)),
        (an_answer(no_process(), hostname="web1.lan"), Host(name="web1", aliases=frozenset({"web1.lan"}))),
        (an_answer(no_process()), Host(name="web1", machine_id=MACHINE)),
    ],
)
def test_an_answer_of_the_right_machine_that_sees_is_used(answer: HostAnswer, host: Host) -> None:
    """Root, a member of the group that hidepid exempts, a vouched namespace, an alias, the pinned machine."""
    alive = ask(replace(answer, processes={100: a_process()}), host=host)
    assert verdict(ask(answer, host=host, known=PROVEN.learn(alive.learned), at="1m")) == "dead no_process"


def test_another_namespace_is_another_guest_on_the_same_kernel() -> None:
    """Guests share the boot_id of their machine, and perhaps an image with its machine-id; one restart ends all."""
    host, there = Host(name="web1", has_own_namespace=True), an_answer(a_process(), pid_namespace=7)
    known = PROVEN.learn(ask(there, host=host).learned)
    other = an_answer(no_process(), pid_namespace=8)
    assert verdict(ask(other, host=host, known=known, at="1m")) == "unknown two_machines"
    reused = an_answer(a_process(ticks=950_000), pid_namespace=8)
    assert verdict(ask(reused, host=host, known=known, at="1m")) == "unknown two_machines"
    restarted = replace(other, uptime=timedelta(seconds=5))
    assert verdict(ask(restarted, host=host, known=known, at="1m")) == "dead host_rebooted"
    assert verdict(ask(replace(restarted, pid_namespace=7), host=host, known=known, at="1m")) == "dead no_process"


def test_hosts_that_cannot_be_told_apart_are_unknown() -> None:
    """Clones share a machine-id, a host key, or even a boot; guests that share a kernel do not share a namespace."""
    web1 = an_answer(no_process())
    other = an_answer(hostname="web2", machine_id="b" * 32, boot_id="boot-2", host_key="SHA256:web2")
    assert find_duplicates({"web1": web1, "web2": other}) == frozenset()
    assert find_duplicates({"web1": replace(web1, host_key=None), "web2": replace(other, host_key=None)}) == frozenset()
    clones = (
        replace(other, machine_id=MACHINE),
        replace(other, host_key="SHA256:web1"),
        replace(other, boot_id="boot-1"),
    )
    for clone in clones:
        duplicates = find_duplicates({"web1": web1, "web2": clone})
        assert duplicates == {"web1", "web2"}
        assert verdict(ask(web1, known=enrol(), at="1m", duplicates=duplicates)) == "unknown duplicate_host_key"
    guest = replace(other, boot_id="boot-1", pid_namespace=7)
    assert find_duplicates({"web1": web1, "web2": guest}) == frozenset()
    assert verdict(ask(web1, known=enrol(), at="1m", duplicates=frozenset({"web2"}))) == "dead no_process"


def test_a_pid_that_the_host_cannot_give_out_is_none() -> None:
    """A pid above pid_max was given out elsewhere, or made up."""
    answer = an_answer(no_process(4_000_000), pid_max=32_768)
    assert verdict(ask(answer, an_attempt(pid="4000000"))) == "unknown not_a_pid"


def test_an_answer_that_leaves_out_a_pid_is_none() -> None:
    """What was not said is not known."""
    assert verdict(ask(an_answer(), known=enrol(), at="1m")) == "unknown bad_answer"


# --- Reboots, and two machines behind one name

REBOOTED = an_answer(no_process(), boot_id="boot-2", uptime="30s")


def test_a_reboot_ends_every_worker() -> None:
    """Whatever process has the pid now: the machine went down after it had answered about this very attempt."""
    known = enrol()
    assert verdict(ask(REBOOTED, known=known, at="1m")) == "dead host_rebooted"
    reused = an_answer(a_process(ticks=500), boot_id="boot-2", uptime="30s")
    assert verdict(ask(reused, known=known, at="1m")) == "dead host_rebooted"
    later = known.learn(ask(REBOOTED, known=known, at="1m").learned)
    still = replace(REBOOTED, uptime=timedelta(days=2))
    assert verdict(ask(still, known=later, at="48h")) == "dead host_rebooted"
    third = an_answer(no_process(), boot_id="boot-3", uptime="5s")
    assert verdict(ask(third, known=later, at="49h")) == "dead host_rebooted"


def test_a_reboot_ends_a_worker_that_was_never_enrolled() -> None:
    """It is enough that the machine answered once about the attempt, whatever it said."""
    seen = ask(an_answer(a_process(argv=("vim",), name="vim")))
    assert verdict(seen) == "unknown not_identifiable"
    assert verdict(ask(REBOOTED, known=PROVEN.learn(seen.learned), at="1m")) == "dead host_rebooted"


def test_a_reboot_proves_nothing_of_workers_that_were_never_seen_on_the_machine() -> None:
    """Perhaps they run elsewhere under the same name: neither this one nor any other of its queue was seen here."""
    seen = ask(an_answer(no_process()), known=Sightings())
    known = Sightings().learn(seen.learned)
    assert verdict(ask(REBOOTED, known=known, at="1m")) == "unknown host_unproven"
    assert verdict(ask(REBOOTED, known=replace(known, proven=PROVEN.proven), at="1m")) == "dead host_rebooted"
    pinned = Host(name="web1", machine_id=MACHINE)
    assert verdict(ask(REBOOTED, host=pinned, known=known, at="1m")) == "dead host_rebooted"


def test_a_reboot_after_another_machine_came_proves_nothing_of_older_attempts() -> None:
    """Nobody asked about it before the change: it may have begun on the first machine, which did not go down."""
    older, newer = an_attempt("2", pid="200"), an_attempt("3", pid="200", started_for="50m")
    other = an_answer(no_process(200), boot_id="boot-2", uptime="10h")
    known = enrol()
    for when in ("1m", "120m"):
        known = known.learn(ask(other, older, newer, known=known, at=when).learned)
    rebooted = an_answer(no_process(200), boot_id="boot-3", uptime="5s")
    assert verdict(ask(rebooted, older, known=known, at="121m")) == "unknown two_machines"
    known = enrol().learn(ask(other, known=enrol(), at="1m").learned)
    known = known.learn(ask(other, newer, known=known, at="120m").learned)
    assert verdict(ask(rebooted, newer, known=known, at="121m")) == "dead host_rebooted"


def test_marks_of_other_queues_hold_nothing() -> None:
    """A queue that names no marks has no marked children."""
    relatives = (a_child("runid=100"), Relative(pid=900, tie=Tie.MARK))
    answer = an_answer(no_process(), relatives=relatives)
    assert verdict(ask(answer, signs=WorkerSigns())) == "dead no_process"


def test_a_machine_that_was_up_all_the_time_is_another_one() -> None:
    """Uptime longer than the time since the other's answer: both were up at once."""
    known = enrol()
    same = an_answer(no_process(), boot_id="boot-2", uptime="60s")
    assert verdict(ask(same, known=known, at="1m")) == "unknown two_machines"
    other = an_answer(no_process(), boot_id="boot-2", uptime="61s")
    judgement = ask(other, known=known, at="1m")
    assert verdict(judgement) == "unknown two_machines"
    again = known.learn(judgement.learned)
    assert verdict(ask(replace(other, uptime=timedelta(hours=1)), known=again, at="1h")) == "unknown two_machines"
    restarted = an_answer(no_process(), boot_id="boot-3", uptime="5s")
    assert verdict(ask(restarted, known=again, at="2h")) == "unknown two_machines"


def test_another_machine_id_is_another_machine_however_young() -> None:
    """A name that moved to a machine that just came up proves nothing about the first."""
    other = an_answer(no_process(), boot_id="boot-2", uptime="5s", machine_id="b" * 32)
    assert verdict(ask(other, known=enrol(), at="1m")) == "unknown two_machines"
    same_boot = an_answer(no_process(), machine_id="b" * 32)
    assert verdict(ask(same_boot, known=enrol(), at="1m")) == "unknown two_machines"
    nameless = an_answer(no_process(), boot_id="boot-2", uptime="5s", machine_id=None)
    assert verdict(ask(nameless, known=enrol(), at="1m")) == "unknown two_machines"


def test_a_boot_that_comes_back_shows_two_machines() -> None:
    """A clone that came up just now looks like a reboot, until the first one answers again; then neither counts."""
    known = enrol()
    known = known.learn(ask(REBOOTED, known=known, at="1m").learned)
    back = ask(an_answer(no_process()), known=known, at="2m")
    assert verdict(back) == "unknown two_machines"
    known = known.learn(back.learned)
    assert (
        verdict(ask(replace(REBOOTED, uptime=timedelta(seconds=150)), known=known, at="3m")) == "unknown two_machines"
    )


def test_a_boot_that_was_there_before_is_no_reboot_however_young() -> None:
    """A machine rolled back to a snapshot has an old boot_id and a short uptime."""
    known = enrol()
    later = an_attempt("2", pid="200")
    process = a_process(200, ticks=1)
    known = known.learn(ask(replace(REBOOTED, processes={200: process}), later, known=known, at="1m").learned)
    back = an_answer(no_process(200), uptime="20s")
    assert verdict(ask(back, later, known=known, at="2m")) == "unknown two_machines"


def test_a_process_of_the_workers_very_birth_outlives_a_reboot() -> None:
    """Where pid and start are the worker's, it is the boot_id that is wrong."""
    odd = an_answer(a_process(ticks=900_000), boot_id="boot-2", uptime="30s")
    assert verdict(ask(odd, known=enrol(), at="1m")) == "unknown two_machines"


@pytest.mark.parametrize("step", ["2d", "1h"])
def test_a_wall_clock_that_is_set_makes_no_reboot(step: str) -> None:
    """Two machines in turn, five hours up, and our clock a day ahead: the boot clock knows how short it was."""
    other = an_answer(no_process(), boot_id="boot-2", uptime="50m")
    assert verdict(ask(other, known=enrol(), at="1m", clock_ahead=step)) == "unknown two_machines"


def test_a_slow_round_makes_no_reboot() -> None:
    """The time spent asking is not time since the last answer."""
    other = an_answer(no_process(), boot_id="boot-2", uptime="55s")
    assert verdict(ask(other, known=enrol(), at="1m")) == "dead host_rebooted"
    assert verdict(ask(other, known=enrol(), at="1m", took="8s")) == "unknown two_machines"


def test_after_a_restart_of_the_program_the_wall_clock_tells_of_reboots() -> None:
    """The boot clock of another run means nothing."""
    known = enrol()
    boots = tuple(replace(boot, last_seconds=None) for boot in known.boots["web1"])
    known = replace(known, boots={"web1": boots})
    assert verdict(ask(REBOOTED, known=known, at="1m")) == "dead host_rebooted"
    assert verdict(ask(replace(REBOOTED, uptime=timedelta(minutes=2)), known=known, at="1m")) == "unknown two_machines"


def test_an_enrolment_tells_the_boot_although_who_was_asked_is_forgotten() -> None:
    """As it is where the ledger was opened late."""
    known = enrol()
    key = an_attempt().key
    known = replace(known, attempts={key: replace(known.attempts[key], asked_at=None, boots=())})
    assert verdict(ask(REBOOTED, known=known, at="1m")) == "dead host_rebooted"


def test_a_forgotten_boot_proves_nothing() -> None:
    """Without the machine's own history nobody can tell a reboot from another machine."""
    assert verdict(ask(REBOOTED, known=replace(enrol(), boots={}), at="1m")) == "unknown two_machines"


# --- Enrolled


@pytest.mark.parametrize(
    ("states", "expected"), [("S", "running"), ("R", "running"), ("D", "running"), ("T", "frozen"), ("t", "frozen")]
)
def test_an_enrolled_worker_is_alive_in_whatever_state(states: str, expected: str) -> None:
    """Stopped, traced, waiting for a disk: it can go on; and what it is called by now is no matter."""
    answer = an_answer(a_process(states=states, argv=None, name="renamed"))
    assert verdict(ask(answer, known=enrol(), at="1m")) == f"alive {expected}"


def test_a_zombie_leader_with_live_threads_is_alive() -> None:
    """A leader that ended by pthread_exit shows Z while its threads work on."""
    assert verdict(ask(an_answer(a_process(states="ZS")), known=enrol(), at="1m")) == "alive running"
    assert verdict(ask(an_answer(a_process(states="ZZ")), known=enrol(), at="1m")) == "dead no_process"


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (no_process(), "dead no_process"),
        (a_process(states="Z", argv=None), "dead no_process"),
        (a_process(ticks=900_001), "dead pid_reused"),
        (a_process(ticks=950_000, argv=("vim",)), "dead pid_reused"),
        (a_process(presence="unclear", ticks=None, states=""), "unknown hidden_processes"),
        (a_process(presence="unclear", ticks=900_001), "unknown hidden_processes"),
        (a_process(presence="unclear"), "alive running"),
        (a_process(ticks=None), "unknown hidden_processes"),
        (a_process(presence="absent", ticks=900_001), "unknown hidden_processes"),
        (a_process(presence="absent", ticks=None, states="S"), "unknown hidden_processes"),
    ],
)
def test_the_death_of_an_enrolled_worker_is_exact(process: ProcessAnswer, expected: str) -> None:
    """Absent by both, ended in every thread, or another birth; what contradicts itself is unknown."""
    assert verdict(ask(an_answer(process), known=enrol(), at="1m")) == expected


# --- Children that outlive their worker

ENDED = (no_process(), a_process(states="Z", argv=None), a_process(ticks=900_001))


@pytest.mark.parametrize("process", ENDED)
@pytest.mark.parametrize(
    "relative",
    [
        Relative(pid=900, tie=Tie.GROUP, asked_pid=100),
        Relative(pid=900, tie=Tie.SESSION, asked_pid=100),
        a_child(f"{REQUEST}&trigger=archivephp&pid=7095e8&runid=100"),
        a_child(f"{REQUEST.replace('idSite=1', 'idSite=2')}&runid=100"),
        a_child(REQUEST),
        a_child(REQUEST.replace("date=2026-11-21", "date=2026-11-21%2C2026-11-22")),
        a_child("module=API"),
        a_child(f"{REQUEST.replace('idSite=1', 'idSite=2')}&runid=10"),
        Relative(pid=900, tie=Tie.MARK),
        Relative(pid=900, tie=Tie.MARK, argv=("java", "-cp", "x" * 4087), is_cut=True),
    ],
)
def test_a_child_at_work_keeps_its_job_alive(process: ProcessAnswer, relative: Relative) -> None:
    """By group, by session, by Matomo's own runid, or, without one, by what it archives."""
    attempt = an_attempt(detail=ARCHIVING)
    answer = an_answer(process, relatives=(relative,))
    assert verdict(ask(answer, attempt, known=enrol(attempt=attempt), at="1m")) == "alive child_running"


@pytest.mark.parametrize(
    "relative",
    [
        Relative(pid=900, tie=Tie.GROUP, asked_pid=101),
        Relative(pid=100, tie=Tie.GROUP, asked_pid=100),
        a_child(f"{REQUEST}&runid=101"),
        a_child(REQUEST.replace("idSite=1", "idSite=2")),
        a_child(REQUEST.replace("period=day", "period=week")),
        a_child(REQUEST.replace("date=2026-11-21", "date=2026-11-20")),
        a_child(f"{REQUEST}&runid=1000"),
        Relative(pid=900, tie=Tie.MARK, argv=("rake", "jobs:child", "runid=100")),
    ],
)
def test_a_child_of_others_keeps_nothing(relative: Relative) -> None:
    """Another worker's child, another site, the zombie itself, another queue's mark."""
    attempt = an_attempt(detail=ARCHIVING)
    answer = an_answer(a_process(states="Z", argv=None), relatives=(relative,))
    assert verdict(ask(answer, attempt, known=enrol(attempt=attempt), at="1m")) == "dead no_process"


def test_a_child_holds_a_job_that_was_never_enrolled() -> None:
    """The parent was gone before anybody looked."""
    attempt = an_attempt(detail=ARCHIVING)
    answer = an_answer(no_process(), relatives=(a_child(REQUEST),))
    assert verdict(ask(answer, attempt)) == "alive child_running"


def test_a_child_that_was_found_is_enough() -> None:
    """Whether all processes were looked through matters only where none was found."""
    relative = Relative(pid=900, tie=Tie.GROUP, asked_pid=100)
    answer = an_answer(no_process(), relatives=(relative,), has_looked_through=False)
    assert verdict(ask(answer, known=enrol(), at="1m")) == "alive child_running"


@pytest.mark.parametrize("process", ENDED)
def test_nobody_is_dead_before_all_processes_were_looked_through(process: ProcessAnswer) -> None:
    """A child could be at work, or the pid be one of a container's."""
    answer = an_answer(process, has_looked_through=False)
    assert verdict(ask(answer, known=enrol(), at="1m")) == "unknown bad_answer"
    if process.start_ticks is None:
        assert verdict(ask(answer)) == "unknown bad_answer"


# --- Never enrolled


def test_a_pid_inside_a_container_is_not_this_hosts() -> None:
    """Some process has that pid as its own, inside a namespace, whatever has it outside."""
    relative = Relative(pid=487, tie=Tie.NAMESPACE, asked_pid=100)
    for process in (no_process(), a_process(), a_process(argv=("vim",))):
        judgement = ask(an_answer(process, relatives=(relative,)))
        assert verdict(judgement) == "unknown pid_namespace"
        assert not judgement.learned.workers
    outer = Relative(pid=100, tie=Tie.NAMESPACE, asked_pid=100)
    assert verdict(ask(an_answer(no_process(), relatives=(outer,)))) == "dead no_process"


@pytest.mark.parametrize("process", ENDED)
def test_whoever_has_ended_outside_may_not_have_been_the_one_inside(process: ProcessAnswer) -> None:
    """While a worker runs under that pid outside of the container, nobody looks for others; it was enrolled."""
    relative = Relative(pid=487, tie=Tie.NAMESPACE, asked_pid=100)
    assert verdict(ask(an_answer(process, relatives=(relative,)), known=enrol(), at="1m")) == "unknown pid_namespace"


def test_a_job_without_start_time_is_judged_by_the_latest_boot_alone() -> None:
    """It may have been taken anew, by whoever has that pid there now."""
    attempt = an_attempt(started=None)
    seen = ask(an_answer(a_process()), attempt)
    assert verdict(seen) == "alive running"
    known = PROVEN.learn(seen.learned)
    other = a_process(ticks=500)
    child = Relative(pid=900, tie=Tie.GROUP, asked_pid=100)
    for answer, expected in (
        (an_answer(other, boot_id="boot-2", uptime="30s"), "alive running"),
        (an_answer(replace(other, argv=("vim",)), boot_id="boot-2", uptime="30s"), "unknown not_identifiable"),
        (an_answer(no_process(), boot_id="boot-2", uptime="30s", relatives=(child,)), "alive child_running"),
        (an_answer(no_process(), boot_id="boot-2", uptime="30s"), "dead no_process"),
        (an_answer(no_process(), boot_id="boot-2", uptime="2d"), "unknown two_machines"),
    ):
        assert verdict(ask(answer, attempt, known=known, at="1m")) == expected


def test_absence_proves_nothing_on_a_machine_where_no_worker_was_ever_seen() -> None:
    """Perhaps the workers of this queue run elsewhere under the same name; a pinned machine is vouched for."""
    gone = an_answer(no_process())
    assert verdict(ask(gone, known=Sightings())) == "unknown host_unproven"
    other_queue = Sightings(proven=frozenset({(QueueName("other"), MACHINE)}))
    assert verdict(ask(gone, known=other_queue)) == "unknown host_unproven"
    other_machine = Sightings(proven=frozenset({(QueueName("q"), "b" * 32)}))
    assert verdict(ask(gone, known=other_machine)) == "unknown host_unproven"
    nameless = Sightings(proven=frozenset({(QueueName("q"), "")}))
    assert verdict(ask(an_answer(no_process(), machine_id=None), known=nameless)) == "unknown host_unproven"
    assert verdict(ask(gone, host=Host(name="web1", machine_id=MACHINE), known=Sightings())) == "dead no_process"
    assert verdict(ask(gone)) == "dead no_process"


def test_a_machine_that_changed_lately_proves_nothing_of_new_attempts() -> None:
    """Two machines in turn: the worker may be on the one that is not answering now.

    An hour later it is settled, but for attempts that began before the change, or nobody knows when.
    """
    known = enrol()
    other = an_answer(no_process(200), boot_id="boot-2", uptime="1h")
    fresh = an_attempt("2", pid="200")
    judgement = ask(other, fresh, known=known, at="1m")
    assert verdict(judgement) == "unknown two_machines"
    later = known.learn(judgement.learned)
    assert verdict(ask(other, fresh, known=later, at="30m")) == "unknown two_machines"
    assert verdict(ask(other, fresh, known=later, at="62m")) == "unknown two_machines"
    newer, unsaid = an_attempt("3", pid="200", started_for="59m"), an_attempt("4", pid="200", started=None)
    assert verdict(ask(other, newer, known=later, at="62m")) == "dead no_process"
    assert verdict(ask(other, unsaid, known=later, at="62m")) == "unknown two_machines"
    rebooted = an_answer(no_process(200), boot_id="boot-2", uptime="10s")
    assert verdict(ask(rebooted, fresh, known=known, at="1m")) == "dead no_process"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("php", "/srv/matomo/console", "core:archive"), "alive running"),
        (("./console", "--matomo-domain=x", "core:archive", "--force-idsites=1"), "alive running"),
        (("/usr/bin/php83", "/srv/misc/cron/archive.php"), "alive running"),
        (("sh", "-c", "php /srv/matomo/console core:archive"), "unknown not_identifiable"),
        (("php", "/srv/matomo/console", "core:archive-something"), "unknown not_identifiable"),
        (("php", "/srv/matomo/console"), "unknown not_identifiable"),
        ((), "unknown not_identifiable"),
        (None, "unknown not_identifiable"),
    ],
)
def test_a_process_is_known_by_whole_words_of_its_command(argv: tuple[str, ...] | None, expected: str) -> None:
    """Wrappers carry the same text in one word; an unknown process is never proof of death."""
    assert verdict(ask(an_answer(a_process(argv=argv)))) == expected


def test_a_stopped_worker_that_was_never_seen_before_is_alive() -> None:
    """Frozen, and enrolled all the same."""
    judgement = ask(an_answer(a_process(states="T")))
    assert verdict(judgement) == "alive frozen"
    assert judgement.learned.workers == {("q", "web1", 100)}


def test_a_web_worker_outlives_its_jobs() -> None:
    """Being alive proves nothing of it, and it is said that it is one."""
    judgement = ask(an_answer(a_process(name="php-fpm8.2", argv=None)))
    assert verdict(judgement) == "unknown not_identifiable"
    assert judgement.verdicts[0].evidence["is_web_worker"] == 1
    assert judgement.verdicts[0].evidence["process"] == "php-fpm8.2"


def test_a_zombie_that_was_never_enrolled_is_not_identifiable() -> None:
    """It has no command line any more."""
    assert verdict(ask(an_answer(a_process(states="Z")))) == "unknown not_identifiable"


@pytest.mark.parametrize("commands", [(), ((),), (("*",),)])
def test_no_signs_mean_no_workers(commands: tuple[tuple[str, ...], ...]) -> None:
    """An empty list means nothing, never everything."""
    judgement = ask(an_answer(a_process()), signs=WorkerSigns(commands=commands))
    assert verdict(judgement) == "unknown not_identifiable"


# --- What is learned


@pytest.mark.parametrize(
    ("attempt", "process", "is_enrolled"),
    [
        (an_attempt(started_for="999s"), a_process(), True),
        (an_attempt(started_for="1002s"), a_process(), True),
        (an_attempt(started_for="1003s"), a_process(), False),
        (an_attempt(started_for="3600s"), a_process(), False),
        (an_attempt(started_for="1000s"), a_process(ticks=1_000_000), False),
        (an_attempt(started=None), a_process(), False),
        (an_attempt(), a_process(argv=("vim",)), False),
        (an_attempt(), a_process(presence="unclear"), False),
    ],
)
def test_only_a_worker_older_than_its_attempt_is_enrolled(
    attempt: Attempt, process: ProcessAnswer, is_enrolled: bool
) -> None:
    """A younger one has the pid of a worker that is gone; two seconds make up for clocks that count whole ones."""
    learned = ask(an_answer(process), attempt).learned
    enrolments = [one.enrolment for one in learned.attempts.values() if one.enrolment]
    assert bool(enrolments) == is_enrolled
    assert bool(learned.workers) == is_enrolled
    known = Sightings().learn(ask(an_answer(process), attempt, known=Sightings()).learned)
    assert bool(known.proven) == is_enrolled


def test_the_time_since_the_poll_ages_the_attempt() -> None:
    """A row read five minutes ago is five minutes older by now, on the boot clock."""
    attempt = an_attempt(started_for="990s")
    one = a_round(attempt)
    assert judge(hear(one, an_answer(a_process()), at="10s"), PROVEN).learned.workers
    assert not judge(hear(one, an_answer(a_process()), at="5m"), PROVEN).learned.workers


def test_in_the_hour_that_comes_twice_an_attempt_is_as_old_as_it_is_known() -> None:
    """Its age reads nothing at all; but it was seen half an hour ago, and the process is ten minutes old."""
    known = PROVEN.learn(ask(no_answer()).learned)
    attempt = an_attempt(started_for="0s")
    known = known.learn(ask(an_answer(a_process(argv=None)), attempt).learned)
    young = an_answer(a_process(ticks=940_000), uptime="10000s")
    assert not ask(young, attempt, known=known, at="30m").learned.workers
    assert ask(an_answer(a_process(ticks=700_000)), attempt, known=known, at="30m").learned.workers


def test_jobs_that_share_a_worker_are_enrolled_each_and_die_together() -> None:
    """One archiver holds up to three rows."""
    attempts = [an_attempt(str(number)) for number in range(3)]
    judgement = ask(an_answer(a_process()), *attempts)
    assert len(judgement.learned.attempts) == 3
    known = PROVEN.learn(judgement.learned)
    dead = ask(an_answer(no_process()), *attempts, known=known, at="1m")
    assert [str(one.reason) for one in dead.verdicts] == ["no_process"] * 3


def test_what_does_not_change_is_not_learned_again() -> None:
    """The ledger writes what is learned, so a quiet round teaches only that the host answered."""
    known = enrol()
    learned = ask(an_answer(a_process()), known=known, at="15s").learned
    assert (learned.attempts, learned.proven, learned.workers) == ({}, frozenset(), frozenset())
    (boot,) = learned.boots["web1"]
    assert (boot.first_at, boot.last_at) == (NOON, NOON + timedelta(seconds=15))


def test_memory_of_boots_is_bounded() -> None:
    """However often a host reboots, or two take turns."""
    known = enrol()
    for number in range(40):
        answer = an_answer(no_process(), boot_id=f"boot-{number % 25}", uptime="1s")
        known = known.learn(ask(answer, known=known, at=f"{number + 1}m").learned)
    assert len(known.boots["web1"]) == 16
    assert len(known.attempts[an_attempt().key].boots) <= 8


def test_a_host_that_goes_by_another_name_is_remembered() -> None:
    """That another machine came under the recorded name is known also once that is a further name of the host."""
    known, other, older = enrol(), an_answer(no_process(200), boot_id="boot-2", uptime="1h"), an_attempt("2", pid="200")
    known = known.learn(ask(other, known=known, at="1m").learned)
    renamed, answer = Host(name="web-1", aliases=frozenset({"web1"})), replace(other, hostname="web-1")
    judgement = ask(answer, older, host=renamed, known=known, at="2m")
    assert verdict(judgement) == "unknown two_machines"
    assert [boot.boot_id for boot in judgement.learned.boots["web-1"]] == ["boot-1", "boot-2"]


def test_a_name_that_another_host_takes_over_is_another_machine() -> None:
    """Its workers may still be at work on the machine that had it before; those of later attempts are not."""
    host = Host(name="web9")
    answer = an_answer(no_process(200), hostname="web9", machine_id="b" * 32, boot_id="boot-9", uptime="9h")
    known = enrol().learn(ask(answer, an_attempt("9", host="web9"), host=host, known=enrol(), at="0s").learned)
    known = replace(known, proven=frozenset({(QueueName("q"), "b" * 32)}))
    both = Host(name="web9", aliases=frozenset({"web1"}))
    for at, begun in (("1m", "5m"), ("30m", "1m"), ("62m", "2h")):
        judgement = ask(answer, an_attempt("2", pid="200", started_for=begun), host=both, known=known, at=at)
        assert verdict(judgement) == "unknown two_machines"
        known = known.learn(judgement.learned)
    assert verdict(ask(answer, an_attempt("3", pid="200"), host=both, known=known, at="62m")) == "dead no_process"


def test_a_change_of_machines_outlasts_any_number_of_reboots() -> None:
    """What began before it is on the first machine, perhaps still; that a later one reboots does not end it."""
    known, older = enrol(), an_attempt("2", pid="200", started_for="9h")
    for number in range(40):
        answer = an_answer(no_process(), boot_id=f"other-{number}", uptime="1s", machine_id="b" * 32)
        known = known.learn(ask(answer, known=known, at=f"{number + 100}m").learned)
    known = replace(known, proven=frozenset({(QueueName("q"), "b" * 32)}))
    answer = an_answer(no_process(200), boot_id="other-39", uptime="6h", machine_id="b" * 32)
    assert verdict(ask(answer, older, known=known, at="500m")) == "unknown two_machines"
    newer = an_attempt("3", pid="200", started_for="1h")
    assert verdict(ask(answer, newer, known=known, at="500m")) == "dead no_process"


@pytest.mark.parametrize("step", ["3h", "30d"])
def test_a_wall_clock_that_is_set_settles_no_change_of_machines(step: str) -> None:
    """Five minutes after it our clock is set ahead: the attempt still began before it, and the hour is not over."""
    other = an_answer(no_process(200), boot_id="boot-2", uptime="1h")
    known = enrol()
    known = known.learn(ask(other, an_attempt("3", pid="200"), known=known, at="1m").learned)
    for begun in ("50m", "1m"):
        older = an_attempt("2", pid="200", started_for=begun)
        assert verdict(ask(other, older, known=known, at="6m", clock_ahead=step)) == "unknown two_machines"


def test_an_attempt_that_is_newer_than_the_round_is_not_asked() -> None:
    """Nothing is known of it yet."""
    one = not_asked(an_attempt().key, at=NOON)
    assert (one.value, one.reason) == (Liveness.UNKNOWN, Reason.NOT_ASKED)


def test_a_verdict_says_what_it_rests_on() -> None:
    """For people, and for the journal; small values only."""
    (one,) = ask(an_answer(a_process(ticks=1)), known=enrol(), at="1m").verdicts
    expected = {
        "hostname": "web1",
        "machine_id": MACHINE,
        "boot_id": "boot-1",
        "uptime_seconds": 10_000,
        "host_key": "SHA256:web1",
        "pid": 100,
        "presence": "present",
        "start_ticks": 1,
        "states": "S",
        "enrolled_ticks": 900_000,
        "enrolled_boot_id": "boot-1",
    }
    assert {name: one.evidence[name] for name in expected} == expected
    assert all(isinstance(value, str | int | None) for value in one.evidence.values())


def test_a_verdict_on_a_child_or_a_changed_machine_says_so() -> None:
    """Which process holds the job, and which boots answered about it; an unchanged machine says nothing of boots."""
    held = an_answer(no_process(), relatives=(Relative(pid=900, tie=Tie.GROUP, asked_pid=100),))
    (one,) = ask(held, known=enrol(), at="1m").verdicts
    assert (one.evidence["child_pid"], one.evidence["child_tie"]) == (900, "group")
    assert "boots" not in one.evidence
    (other,) = ask(REBOOTED, known=enrol(), at="1m").verdicts
    assert other.evidence["boots"] == f"{MACHINE}/boot-1 {MACHINE}/boot-2"


def test_the_first_round_that_asked_is_kept() -> None:
    """However many follow."""
    known = PROVEN
    for answer, at in ((no_answer(), "1m"), (an_answer(a_process(argv=None)), "2m"), (REBOOTED, "3m")):
        known = known.learn(ask(answer, known=known, at=at).learned)
    assert known.attempts[an_attempt().key].asked_at == NOON + timedelta(minutes=2)


def test_a_host_without_clock_ticks_enrols_nobody() -> None:
    """Nobody knows how old its processes are."""
    judgement = ask(replace(an_answer(a_process()), clock_ticks=0))
    assert verdict(judgement) == "alive running"
    assert not judgement.learned.workers
