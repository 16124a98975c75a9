"""Runs that record no host: dead only where every host that may run one says that nobody does."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from exporter.jobs import Attempt, DetailValue
from healers.probes.protocol import HostAnswer, NoAnswer, RunTrace, Silence, Trace
from healers.rounds import Heard, Host, Placement
from healers.runs import Stillness, follow_stillness, judge_runs
from tests.builders import NOON, a_round, a_snapshot, an_answer, an_attempt, hear, no_answer, span

RUN = "01a20202-9c33-7a20-80e4-6f4c3c8e411f"
OTHER_RUN = "01a20202-9c33-7a20-80e4-000000000000"
JOB: dict[str, DetailValue] = {"run_id": RUN, "state_id": "dev:tap-a-to-target-b"}
APP = Host(name="app01")
PLACEMENT = Placement(workers_on=("app01", "app02"), workers_user="meltano", project="/srv/meltano")
TRUSTED = Placement(trusts_heartbeat=True)
TAP = ("/srv/meltano/.meltano/extractors/tap-a/venv/bin/tap-a", "--config", "/srv/meltano/.meltano/run/tap-a/tap.json")


def a_run(
    heartbeat: str | None = "11:59:00", *, detail: dict[str, DetailValue] = JOB, age: str | None = "1h"
) -> Attempt:
    """Return a running row of Meltano's."""
    return an_attempt(host=None, pid=None, heartbeat=heartbeat, heartbeat_age="1m", detail=detail, started_for=age)


def says(*traces: RunTrace, host: str = "app01") -> HostAnswer:
    """Return what a host says that was looked through by the workers' own account."""
    return an_answer(hostname=host, machine_id=host, boot_id=host, host_key=host, user="meltano", traces=traces)


def from_hosts(run: Attempt, *answers: HostAnswer | NoAnswer, placement: Placement = PLACEMENT) -> dict[str, Heard]:
    """Return what each listed host said last, app01 first."""
    names = placement.workers_on
    return {
        name: hear(a_round(run, host=Host(name=name), placement=placement), answer)
        for name, answer in zip(names, answers, strict=False)
    }


def still_for(run: Attempt, lasted: str, *, snapshots: int = 2) -> dict[object, Stillness]:
    """Return how long a run has claimed the same."""
    one = Stillness(
        claim=run.claim,
        lasted=span(lasted) or timedelta(0),
        snapshots=snapshots,
        database_now=NOON,
        read_seconds=0.0,
    )
    return {run.key: one}


def judged(
    *answers: HostAnswer | NoAnswer,
    run: Attempt | None = None,
    lasted: str = "30s",
    snapshots: int = 2,
    placement: Placement = PLACEMENT,
    duplicates: Iterable[str] = (),
) -> str:
    """Return `value reason` of a run that two hosts were asked about."""
    run = run or a_run()
    (one,) = judge_runs(
        [run],
        placement,
        from_hosts(run, *answers, placement=placement),
        stillness=still_for(run, lasted, snapshots=snapshots),  # type: ignore[arg-type]
        duplicates=frozenset(duplicates),
        at=NOON,
    )
    return f"{one.value} {one.reason}"


NOBODY = says(), says(host="app02")


def test_a_run_that_nobody_works_on_is_dead() -> None:
    """Its heartbeat stands still, every listed host answers, and none has a process of it."""
    assert judged(*NOBODY) == "dead heartbeat_lost"
    assert judged(*NOBODY, run=a_run(None)) == "dead never_initialised"


@pytest.mark.parametrize(
    "trace",
    [
        RunTrace(pid=1, trace=Trace.LOG, run=RUN, states="S"),
        RunTrace(pid=1, trace=Trace.ARGV, run=RUN, states="S"),
        RunTrace(pid=1, trace=Trace.ENVIRONMENT, run=RUN, states="R"),
        RunTrace(pid=1, trace=Trace.LOG, run=RUN),
        RunTrace(pid=1, trace=Trace.LOG, run=RUN, states="ZS"),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/meltano", states="S", argv=TAP),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/meltano", argv=("x", ".meltano/run/target-b/t.json")),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/meltano", argv=("x", f".meltano/run/elt/n/{RUN}")),
    ],
)
def test_a_process_at_work_is_alive_however_old_the_heartbeat(trace: RunTrace) -> None:
    """Meltano itself, or a plugin of its job that outlived it; on either host, whatever the other says."""
    assert judged(says(trace), says(host="app02"), lasted="48h") == "alive running"
    assert judged(no_answer(), says(trace, host="app02"), lasted="48h") == "alive running"
    assert judged(replace(says(trace), sees_foreign=False), says(host="app02")) == "alive running"


@pytest.mark.parametrize(
    "trace",
    [
        RunTrace(pid=1, trace=Trace.LOG, run=OTHER_RUN, states="S"),
        RunTrace(pid=1, trace=Trace.LOG, run=RUN, states="ZXx"),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/other", states="S", argv=TAP),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/meltano", argv=("x", ".meltano/run/target-c/t.json")),
        RunTrace(pid=1, trace=Trace.FOLDER, folder="/srv/meltano", argv=("bash", "tap-a", ".meltano/run", ".meltano/")),
    ],
)
def test_a_process_of_another_run_keeps_nothing_alive(trace: RunTrace) -> None:
    """Another run, another project, a plugin of another job, a zombie."""
    assert judged(says(trace), says(host="app02")) == "dead heartbeat_lost"


def test_a_stopped_run_is_frozen() -> None:
    """All that works on it is stopped; it can go on."""
    stopped = RunTrace(pid=1, trace=Trace.LOG, run=RUN, states="Tt")
    tap = RunTrace(pid=2, trace=Trace.FOLDER, folder="/srv/meltano", states="t", argv=TAP)
    assert judged(says(stopped, tap), says(host="app02")) == "alive frozen"
    assert judged(says(stopped, replace(tap, states="S")), says(host="app02")) == "alive running"


@pytest.mark.parametrize("silence", list(Silence))
def test_every_listed_host_has_to_answer(silence: Silence) -> None:
    """The run may be on the one that does not; the list is complete, and so must the answers be."""
    quiet = NoAnswer(silence=silence, detail="")
    assert judged(says(), quiet) == f"unknown {silence}"
    assert judged(quiet, says(host="app02")) == f"unknown {silence}"
    assert judged(says()) == "unknown not_asked"
    assert judged() == "unknown not_asked"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (replace(says(), hostname="app09"), "wrong_host"),
        (replace(says(), pid_namespace=7), "wrong_namespace"),
        (replace(says(), sees_foreign=False), "hidden_processes"),
        (replace(says(), runs_visible=False), "files_invisible"),
        (replace(says(), runs_visible=False, uid=0, user="root"), "files_invisible"),
        (replace(says(), user="queuemedic"), "files_invisible"),
        (replace(says(), has_looked_through=False), "bad_answer"),
    ],
)
def test_an_answer_that_could_not_see_proves_nothing(answer: HostAnswer, expected: str) -> None:
    """The wrong machine, the wrong account, or half a look."""
    assert judged(answer, says(host="app02")) == f"unknown {expected}"


def test_root_sees_the_files_of_every_account() -> None:
    """And without workers_user only root does."""
    root = [replace(answer, user="root", uid=0) for answer in NOBODY]
    assert judged(*root) == "dead heartbeat_lost"
    anyone = replace(PLACEMENT, workers_user=None)
    assert judged(*root, placement=anyone) == "dead heartbeat_lost"
    assert judged(*NOBODY, placement=anyone) == "unknown files_invisible"


def test_hosts_that_cannot_be_told_apart_prove_nothing() -> None:
    """One of the two may not have been asked at all."""
    assert judged(*NOBODY, duplicates=["app02"]) == "unknown duplicate_host_key"


def test_a_run_that_the_round_did_not_ask_about_is_not_asked() -> None:
    """It is newer than the answer."""
    run = a_run()
    before = {name: hear(a_round(host=Host(name=name)), says(host=name)) for name in PLACEMENT.workers_on}
    (one,) = judge_runs([run], PLACEMENT, before, stillness=still_for(run, "1m"), at=NOON)  # type: ignore[arg-type]
    assert str(one.reason) == "not_asked"


@pytest.mark.parametrize(("lasted", "snapshots"), [("29s", 2), ("1h", 1), ("0s", 2)])
def test_a_heartbeat_that_may_go_on_proves_nothing(lasted: str, snapshots: int) -> None:
    """Not silent for long enough, or seen but once: its date is of another clock, and counts for nothing."""
    assert judged(*NOBODY, lasted=lasted, snapshots=snapshots) == "unknown heartbeat_recent"


def test_stillness_of_another_claim_is_none() -> None:
    """The heartbeat came after it was measured."""
    run = a_run("12:00:00")
    stale = still_for(a_run("11:59:00"), "1h")
    for stillness in (stale, {}):
        (one,) = judge_runs([run], PLACEMENT, from_hosts(run, *NOBODY), stillness=stillness, at=NOON)  # type: ignore[arg-type]
        assert str(one.reason) == "heartbeat_recent"


@pytest.mark.parametrize("run_id", [None, "", "nonsense"])
def test_a_run_without_an_id_cannot_be_looked_for(run_id: str | None) -> None:
    """Nobody could tell its log from another's."""
    assert judged(*NOBODY, run=a_run(detail={**JOB, "run_id": run_id})) == "unknown not_identifiable"


def test_an_age_that_cannot_be_true_is_unknown() -> None:
    """Before anything else, as for every row."""
    assert judged(*NOBODY, run=a_run(age=None)) == "unknown clock"


@pytest.mark.parametrize(
    ("placement", "run", "lasted", "snapshots", "expected"),
    [
        (Placement(), a_run(), "48h", 9, "unknown heartbeat_only"),
        (TRUSTED, a_run(), "299s", 9, "unknown heartbeat_only"),
        (TRUSTED, a_run(), "1h", 1, "unknown heartbeat_only"),
        (TRUSTED, a_run(), "5m", 2, "dead heartbeat_stale"),
        (TRUSTED, a_run(None), "5m", 2, "unknown heartbeat_only"),
        (TRUSTED, a_run(None, age="23h"), "5m", 2, "unknown heartbeat_only"),
        (TRUSTED, a_run(None, age="24h"), "5m", 2, "dead heartbeat_stale"),
    ],
)
def test_without_hosts_the_heartbeat_counts_only_where_a_person_trusts_it(
    placement: Placement, run: Attempt, lasted: str, snapshots: int, expected: str
) -> None:
    """By Meltano's own rule: five minutes, or a day for a run that never had one."""
    assert judged(run=run, placement=placement, lasted=lasted, snapshots=snapshots) == expected


def test_trust_is_for_queues_without_hosts() -> None:
    """Where hosts are listed, they are asked."""
    placement = replace(PLACEMENT, trusts_heartbeat=True)
    assert judged(no_answer(), no_answer(), placement=placement, lasted="48h") == "unknown timeout"


@pytest.mark.parametrize(
    ("database", "ours", "lasted"),
    [("15s", 15, "15s"), ("1h", 15, "15s"), ("15s", 3600, "15s"), ("0s", 15, "0s"), ("15s", -15, "0s")],
)
def test_stillness_is_the_less_of_two_clocks(database: str, ours: float, lasted: str) -> None:
    """The database's clock may be set, and this machine may sleep: neither makes a heartbeat silent."""
    run = a_run()
    first = follow_stillness({}, a_snapshot(run), read_seconds=100.0)
    assert (first[run.key].lasted, first[run.key].snapshots) == (timedelta(0), 1)
    second = follow_stillness(first, a_snapshot(run, at=database), read_seconds=100.0 + ours)
    assert (second[run.key].lasted, second[run.key].snapshots) == (span(lasted), 2)


def test_a_database_clock_set_back_takes_nothing_away() -> None:
    """What was silent before stays so."""
    run = a_run()
    known = follow_stillness({}, a_snapshot(run), read_seconds=0.0)
    known = follow_stillness(known, a_snapshot(run, at="40s"), read_seconds=40.0)
    known = follow_stillness(known, a_snapshot(run, at="10s"), read_seconds=55.0)
    assert (known[run.key].lasted, known[run.key].snapshots) == (timedelta(seconds=40), 3)


def test_a_heartbeat_that_moved_begins_anew() -> None:
    """And a run that is gone is forgotten."""
    known = follow_stillness({}, a_snapshot(a_run("11:59:00")), read_seconds=0.0)
    moved = a_run("12:00:30")
    known = follow_stillness(known, a_snapshot(moved, at="60s"), read_seconds=60.0)
    assert (known[moved.key].lasted, known[moved.key].snapshots) == (timedelta(0), 1)
    assert follow_stillness(known, a_snapshot(at="75s"), read_seconds=75.0) == {}


def test_a_verdict_says_who_was_asked_and_what_was_found() -> None:
    """The process that lives, or the host that leaves it open."""
    run = a_run()

    def evidence(*answers: HostAnswer | NoAnswer) -> dict[str, DetailValue]:
        heard = from_hosts(run, *answers)
        (one,) = judge_runs([run], PLACEMENT, heard, stillness=still_for(run, "30s"), at=NOON)  # type: ignore[arg-type]
        return dict(one.evidence)

    assert evidence(*NOBODY) == {"still_seconds": 30, "hosts": "app01 app02"}
    life = evidence(says(RunTrace(pid=7, trace=Trace.LOG, run=RUN, states="S")), says(host="app02"))
    assert (life["host"], life["pid"], life["trace"], life["states"]) == ("app01", 7, "log", "S")
    quiet = evidence(says(), no_answer())
    assert (quiet["host"], quiet["silence"]) == ("app02", "timeout")
