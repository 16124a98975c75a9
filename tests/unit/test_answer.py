"""What a host says: a whole answer is read exactly, and everything else is no answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healers.probes.answer import read_answer
from healers.probes.protocol import HostAnswer, NoAnswer, Presence, Request, Silence, Tie, Trace
from healers.probes.request import make_nonce, write_request

NONCE = "0123456789abcdef0123456789abcdef"
RUN = "01a20202-9c33-7a20-80e4-6f4c3c8e411f"
REST = "1 4380 4380 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0"
THREADED = "1 4382 4382 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 2 0"
REQUEST = Request(
    pids={4380: frozenset({918273}), 4381: frozenset(), 4382: frozenset(), 4383: frozenset()},
    runs=frozenset({RUN}),
    worker_marks=frozenset({"core:archive"}),
    child_marks=frozenset({"climulti:request"}),
    folders=frozenset({"/srv/meltano"}),
)
ANSWER = f"""BEGIN {NONCE}
hostname web03
machine_id 3f9c0123456789abcdef0123456789ab
boot_id a1b46d92-c0ca-4c8f-b037-5c3afbc2b462
uptime 90000.25
load 0.50
pid_max 4194304
clock_ticks 100
page_bytes 4096
processors 4
pid_namespace pid:[4026531836]
proc_options rw,nosuid
canary 1
uid 998
user queuemedic
section processes
/proc/4380/stat:4380 (php) S {REST} 918273 1000 250 0
/proc/4381/stat:4381 (a) Z 1
/proc/4381/stat:b) S {REST} 950000 1000 10 0
/proc/4381/cmdline:php
/proc/4381/cmdline:core:archive
/proc/4383/stat:4383 (php) Z {REST.replace("20 0 1 0", "20 0 2 0")} 950001 0 0 0
/proc/4383/task/4383/stat:4383 (php) Z {REST} 950001 0 0 0
/proc/4383/task/4390/stat:4390 (php) S {REST} 950001 0 0 0
signal 4382 absent
section relatives
/proc/5000/stat:5000 (sh) S 1 4382 4382 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 960000 1000 10 0
/proc/5001/stat:5001 (sh) Z 1 4382 4382 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 960000 1000 10 0
section namespaces
/proc/5100/status:NSpid:\t5100\t4382
/proc/5101/status:NSpid:\t5101
section marked
/proc/5200/cmdline:php
/proc/5200/cmdline:climulti:request
/proc/5201/cmdline:/usr/lib/probe.sh
/proc/5200/stat:5200 (php) S 1 5200 5200 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 960000 1000 20 0
looked_through 1
section runs
/proc/5300/environ:{RUN}
/proc/5301/cmdline:{RUN.replace("-", "")}
section logs
/proc/5300/fd:{RUN}
section folders
/proc/5302/cmdline:/srv/meltano/.meltano/run/tap-x/tap
section states
/proc/5300/stat:T
runs_visible 1
END {NONCE}
"""


def read(text: str | bytes, *, exit_status: int | None = 0, nonce: str = NONCE) -> HostAnswer | NoAnswer:
    """Read an answer to `REQUEST`."""
    output = text if isinstance(text, bytes) else text.encode()
    return read_answer(output, exit_status=exit_status, nonce=nonce, request=REQUEST)


def test_a_whole_answer_is_read() -> None:
    """Of the host, of each asked process, and of others that belong to one."""
    answer = read(ANSWER)
    assert isinstance(answer, HostAnswer), answer
    assert (answer.hostname, answer.uptime.total_seconds(), answer.pid_namespace) == ("web03", 90000.25, 4026531836)
    assert (answer.sees_foreign, answer.has_looked_through, answer.runs_visible) == (True, True, True)
    enrolled, odd, gone, leaderless = (answer.processes[pid] for pid in (4380, 4381, 4382, 4383))
    assert (enrolled.presence, enrolled.start_ticks, enrolled.states) == (Presence.PRESENT, 918273, "S")
    assert (enrolled.memory_bytes, enrolled.argv) == (250 * 4096, None)
    assert (odd.name, odd.start_ticks, odd.argv) == ("a) Z 1\nb", 950000, ("php", "core:archive"))
    assert gone.presence is Presence.ABSENT
    assert (leaderless.states, leaderless.is_zombie) == ("ZZS", False)
    assert {(one.pid, one.tie, one.asked_pid) for one in answer.relatives} == {
        (5000, Tie.GROUP, 4382),
        (5100, Tie.NAMESPACE, 4382),
        (5200, Tie.MARK, None),
    }
    assert {(one.pid, one.trace, one.states) for one in answer.traces} == {
        (5300, Trace.ENVIRONMENT, "T"),
        (5300, Trace.LOG, "T"),
        (5301, Trace.ARGV, ""),
        (5302, Trace.FOLDER, ""),
    }


def test_a_process_of_the_group_of_one_and_the_session_of_another_belongs_to_both() -> None:
    """A worker that leads a group may be the child of one that leads the session, and either may end first."""
    text = ANSWER.replace("5000 (sh) S 1 4382 4382", "5000 (sh) S 1 4383 4382")
    answer = read(text)
    assert isinstance(answer, HostAnswer), answer
    assert {(one.tie, one.asked_pid) for one in answer.relatives if one.pid == 5000} == {
        (Tie.GROUP, 4383),
        (Tie.SESSION, 4382),
    }


def test_a_relative_whose_leader_has_ended_is_at_work() -> None:
    """Its other threads are."""
    text = ANSWER.replace("5001 (sh) Z 1 4382 4382 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0", f"5001 (sh) Z {THREADED}")
    answer = read(text)
    assert isinstance(answer, HostAnswer), answer
    assert (5001, Tie.GROUP, 4382) in {(one.pid, one.tie, one.asked_pid) for one in answer.relatives}


def test_a_command_line_that_is_cut_may_hold_its_mark_behind_the_cut() -> None:
    """And says that it is cut."""
    text = ANSWER.replace("/proc/5200/cmdline:climulti:request", f"/proc/5200/cmdline:{'x' * 4092}")
    answer = read(text)
    assert isinstance(answer, HostAnswer), answer
    [marked] = [one for one in answer.relatives if one.tie is Tie.MARK]
    assert (marked.pid, marked.is_cut) == (5200, True)


def test_no_name_is_taken_for_the_state_of_a_run() -> None:
    """A name with a break in it makes lines of its own, before the true one."""
    answer = read(ANSWER.replace("/proc/5300/stat:T", "/proc/5300/stat:Z\n/proc/5300/stat:S"))
    assert isinstance(answer, HostAnswer), answer
    assert {one.states for one in answer.traces if one.pid == 5300} == {"S"}


def test_an_answer_that_is_cut_anywhere_is_none() -> None:
    """A connection that dies gives a part of it, and no exception."""
    whole = ANSWER.encode()
    assert [end for end in range(len(whole)) if isinstance(read(whole[:end]), HostAnswer)] == []


@pytest.mark.parametrize("exit_status", [None, 1, -1, 255])
def test_only_exit_status_nothing_else_counts(exit_status: int | None) -> None:
    """The probe ends with 0, or its answer is none."""
    assert isinstance(read(ANSWER, exit_status=exit_status), NoAnswer)


@pytest.mark.parametrize("line", range(ANSWER.count("\n")))
def test_a_line_that_is_missing_makes_nobody_absent(line: int) -> None:
    """Whatever is left out, no process that was there is gone."""
    lines = ANSWER.splitlines(keepends=True)
    answer = read("".join(lines[:line] + lines[line + 1 :]))
    if isinstance(answer, HostAnswer):
        for pid in (4380, 4381, 4383):
            assert answer.processes[pid].presence is not Presence.ABSENT
            assert not answer.processes[pid].is_zombie


@given(st.lists(st.integers(0, ANSWER.count("\n") - 1), max_size=4), st.randoms(use_true_random=False))
def test_lines_that_are_doubled_or_moved_make_nobody_absent(doubled: list[int], order: object) -> None:
    """Of a garbled answer nothing is believed that would be a death."""
    lines = ANSWER.splitlines(keepends=True)
    for line in doubled:
        lines.insert(line, lines[(line * 7) % len(lines)])
    answer = read("".join(lines))
    if isinstance(answer, HostAnswer):
        assert not any(answer.processes[pid].presence is Presence.ABSENT for pid in (4380, 4381, 4383))
    order.shuffle(lines)  # type: ignore[attr-defined]
    answer = read("".join(lines))
    if isinstance(answer, HostAnswer):
        assert not any(answer.processes[pid].presence is Presence.ABSENT for pid in (4380, 4381, 4383))


@given(st.binary(max_size=300), st.integers(0, len(ANSWER)))
def test_bytes_of_any_kind_raise_nothing(noise: bytes, place: int) -> None:
    """What is quoted of it can be printed, and is short."""
    whole = ANSWER.encode()
    answer = read(whole[:place] + noise + whole[place:])
    if isinstance(answer, NoAnswer):
        assert answer.silence is Silence.BAD_ANSWER
        assert answer.detail.isprintable()
        assert len(answer.detail) < 600


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"END {NONCE}", "END 00000000000000000000000000000000"),
        ("signal 4382 absent\n", "signal 4382 absent\nsignal 4382 absent\n"),
        ("signal 4382 absent", "signal 9999 absent"),
        ("/proc/4380/stat", "/proc/9999/stat"),
        ("boot_id a1b46d92", "boot_id A1b46d92"),
        ("uptime 90000.25", "uptime nan"),
        ("uptime 90000.25", "uptime -1"),
        ("clock_ticks 100", "clock_ticks 0"),
        ("pid_max 4194304", "pid_max "),
        ("hostname web03", "hostname "),
        ("hostname web03", "hostname \x1b[31m"),
        ("canary 1", "canary 2"),
        ("pid_namespace pid:[4026531836]", "pid_namespace "),
        ("user queuemedic\n", ""),
        ("uid 998", "uid 998\nuid 0"),
        ("section logs", "section nowhere"),
        ("(php) S", "php S"),
    ],
)
def test_an_answer_with_one_thing_wrong_is_none(old: str, new: str) -> None:
    """Each has its place, its form and its number."""
    assert old in ANSWER
    assert isinstance(read(ANSWER.replace(old, new, 1)), NoAnswer)


def test_an_endless_answer_is_none() -> None:
    """A host that says too much says nothing."""
    filled = ANSWER.replace("section processes", "section processes\n" + "\n" * 2_000_000)
    assert isinstance(read(filled), NoAnswer)


def test_a_process_of_which_two_things_are_said_is_unclear() -> None:
    """It ended, or began, while it was looked at."""
    answer = read(ANSWER.replace("signal 4382 absent", "signal 4382 absent\nsignal 4380 absent"))
    assert isinstance(answer, HostAnswer)
    assert answer.processes[4380].presence is Presence.UNCLEAR
    for word in ("exists", "forbidden", "unclear"):
        answer = read(ANSWER.replace("signal 4382 absent", f"signal 4382 {word}"))
        assert isinstance(answer, HostAnswer)
        assert answer.processes[4382].presence is Presence.UNCLEAR


def test_a_request_is_written_line_by_line() -> None:
    """As `probe.sh` reads it."""
    assert write_request(REQUEST, NONCE).decode() == (
        f"v1 {NONCE}\npids 4380:918273 4381:- 4382:- 4383:-\nworkers core:archive\nchildren climulti:request\n"
        f"runs {RUN}\nfolders /srv/meltano\nend\n"
    )
    assert make_nonce() != make_nonce()


@pytest.mark.parametrize(
    "request_",
    [
        Request(pids={0: frozenset()}),
        Request(pids={4_194_305: frozenset()}),
        Request(pids={1: frozenset({-1})}),
        Request(worker_marks=frozenset({"a b"})),
        Request(worker_marks=frozenset({""})),
        Request(child_marks=frozenset({"$(id)"})),
        Request(child_marks=frozenset({"a\nend"})),
        Request(runs=frozenset({"../1"})),
        Request(folders=frozenset({"srv/meltano"})),
        Request(folders=frozenset({"/srv/my project"})),
        Request(pids={pid: frozenset() for pid in range(1, 20_000)}),
    ],
)
def test_what_cannot_be_asked_is_refused(request_: Request) -> None:
    """Nothing but the whitelist is ever sent."""
    with pytest.raises(ValueError, match=r"."):
        write_request(request_, NONCE)
    assert write_request(replace(request_, pids={}, worker_marks=frozenset()), NONCE) if request_.pids else True
