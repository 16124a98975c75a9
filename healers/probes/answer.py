"""Read what `probe.sh` wrote; pure. Whatever is not whole and exactly as agreed is no answer.

A line that begins with `/proc/` is what grep read in that file, under a name that no process can choose; every other
line is the script's own. So a command name or an argument never passes for another process's.
In: bytes, exit status. Out: HostAnswer or NoAnswer, never an exception; O(bytes), of which there are 1 MiB at most.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from .protocol import HostAnswer, NoAnswer, Presence, ProcessAnswer, Relative, Request, RunTrace, Silence, Tie, Trace

MOST_BYTES: Final = 1_048_576
MOST_ARGUMENT_BYTES: Final = 4096
LONGEST_NAME: Final = 64
LONGEST_SHOWN: Final = 80
ENDED: Final = frozenset("ZXx")

HEADER: Final = (
    *("hostname", "machine_id", "boot_id", "uptime", "load", "pid_max", "clock_ticks", "page_bytes", "processors"),
    *("pid_namespace", "proc_options", "canary", "uid", "user"),
)
SECTIONS: Final = ("processes", "relatives", "namespaces", "marked", "runs", "logs", "folders", "states")

FILE: Final = re.compile(
    r"/proc/([1-9][0-9]{0,6})/(stat|status|cmdline|environ|fd|task/[1-9][0-9]{0,6}/stat):(.*)", re.DOTALL
)
MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")
BOOT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMESPACE: Final = re.compile(r"pid:\[([0-9]{1,20})\]")
NUMBER: Final = re.compile(r"[0-9]{1,15}")
NUMBER_OR_LESS: Final = re.compile(r"-?[0-9]{1,20}")
DECIMAL: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
SIGNAL: Final = re.compile(r"([1-9][0-9]{0,6}) (exists|absent|forbidden|unclear)")


class _Malformed(Exception):
    """The answer is not as agreed; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stat:
    """One `/proc/PID/stat`, the fields behind the name cut at the last parenthesis (`proc(5)`)."""

    name: str
    state: str
    group: int
    session: int
    threads: int
    start_ticks: int
    resident_pages: int

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is at work: other threads may be, where its first has ended."""
        return self.state in ENDED and self.threads <= 1


@dataclass(slots=True)
class _Parts:
    """The lines of an answer, sorted: own ones by key, files by section, kind and pid."""

    own: dict[str, str] = field(default_factory=dict)
    signals: dict[int, str] = field(default_factory=dict)
    files: defaultdict[tuple[str, str], dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    threads: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))


def read_answer(output: bytes, *, exit_status: int | None, nonce: str, request: Request) -> HostAnswer | NoAnswer:
    """Return the answer to `request`, or a NoAnswer that says what is wrong with it."""
    try:
        if exit_status != 0:
            raise _Malformed(f"the probe ended with {'no exit status' if exit_status is None else exit_status}")
        return _read(output, nonce, request)
    except _Malformed as fault:
        return NoAnswer(silence=Silence.BAD_ANSWER, detail=str(fault))


def _read(output: bytes, nonce: str, request: Request) -> HostAnswer:
    if len(output) > MOST_BYTES:
        raise _Malformed(f"it is longer than {MOST_BYTES} bytes")
    lines = output.decode("utf-8", "backslashreplace").split("\n")
    if lines[0] != f"BEGIN {nonce}" or lines[-2:] != [f"END {nonce}", ""]:
        raise _Malformed(f"it is not whole: it begins with {_shown(lines[0])} and ends with {_shown(lines[-1])}")
    parts = _sort(lines[1:-2], request)
    own = parts.own
    if missing := [key for key in HEADER if key not in own]:
        raise _Malformed(f"{missing[0]} is missing")
    page_bytes = _number(own, "page_bytes")
    return HostAnswer(
        hostname=_name(own, "hostname"),
        machine_id=own["machine_id"] if MACHINE_ID.fullmatch(own["machine_id"]) else None,
        boot_id=_match(own, "boot_id", BOOT_ID)[0],
        uptime=timedelta(seconds=_decimal(own, "uptime")),
        clock_ticks=_number(own, "clock_ticks"),
        pid_max=_number(own, "pid_max"),
        pid_namespace=int(_match(own, "pid_namespace", NAMESPACE)[1]),
        proc_options=frozenset(filter(None, own["proc_options"].split(","))),
        sees_foreign=_match(own, "canary", re.compile("[01]"))[0] == "1",
        user=_name(own, "user"),
        uid=_number(own, "uid", least=0),
        load_average=_decimal(own, "load"),
        processors=_number(own, "processors"),
        has_looked_through=own.get("looked_through", own.get("runs_visible")) == "1",
        processes=MappingProxyType({pid: _process(pid, parts, page_bytes) for pid in request.pids}),
        relatives=(*_kin(parts, request), *_namespaced(parts, request), *_marked(parts, request, page_bytes)),
        traces=tuple(_traces(parts, request)),
        runs_visible=own.get("runs_visible") == "1",
    )


def _sort(lines: list[str], request: Request) -> _Parts:
    parts, section, place = _Parts(), "", -1
    for line in lines:
        if line.startswith("/proc/"):
            _sort_file(line, section, parts, request)
            continue
        key, _, value = line.partition(" ")
        match key:
            case "section" if value in SECTIONS[place + 1 :]:
                section, place = value, SECTIONS.index(value)
            case "signal" if section == "processes" and (found := SIGNAL.fullmatch(value)):
                pid = int(found[1])
                if pid not in request.pids or pid in parts.signals:
                    raise _Malformed(f"process {pid} was not asked about, or is answered twice")
                parts.signals[pid] = found[2]
            case "" if not line:
                pass  # a search that found nothing
            case _ if key in (*HEADER, "looked_through", "runs_visible") and key not in parts.own:
                parts.own[key] = value
            case _:
                raise _Malformed(f"a line is not known: {_shown(line)}")
    return parts


def _sort_file(line: str, section: str, parts: _Parts, request: Request) -> None:
    found = FILE.fullmatch(line)
    if found is None or not section:
        raise _Malformed(f"a line names no file that was asked for: {_shown(line)}")
    pid, kind, text = int(found[1]), found[2], found[3]
    if section == "processes" and pid not in request.pids:
        raise _Malformed(f"process {pid} was not asked about")
    if kind.startswith("task/"):
        parts.threads[pid].append(text)
    else:
        parts.files[section, kind].setdefault(pid, []).append(text)


def _process(pid: int, parts: _Parts, page_bytes: int) -> ProcessAnswer:
    """Put together what is said of one asked pid; absent only where nothing but ESRCH was heard of it."""
    lines = parts.files["processes", "stat"].get(pid)
    signal = parts.signals.get(pid)
    if lines is None:
        presence = Presence.ABSENT if signal == "absent" else Presence.UNCLEAR
        return ProcessAnswer(pid=pid, presence=presence)
    stat = _stat(pid, "\n".join(lines))
    if signal is not None:
        return ProcessAnswer(pid=pid, presence=Presence.UNCLEAR, name=stat.name)
    arguments = parts.files["processes", "cmdline"].get(pid)
    threads = "".join(_state_of(text) for text in parts.threads.get(pid, ()))
    if stat.state in ENDED and len(threads) < max(stat.threads, 1):
        return ProcessAnswer(pid=pid, presence=Presence.UNCLEAR, name=stat.name)
    return ProcessAnswer(
        pid=pid,
        presence=Presence.PRESENT,
        start_ticks=stat.start_ticks,
        states=stat.state + threads,
        name=stat.name,
        memory_bytes=stat.resident_pages * page_bytes,
        argv=tuple(arguments) if arguments else None,
    )


def _kin(parts: _Parts, request: Request) -> Iterator[Relative]:
    """Find the processes whose group or session is an asked pid: one may be of two; that has ended works no more."""
    for pid, lines in parts.files["relatives", "stat"].items():
        stat = _filtered_stat(lines)
        if stat is None or stat.has_ended:
            continue
        for asked, tie in {stat.session: Tie.SESSION, stat.group: Tie.GROUP}.items():
            if asked in request.pids and asked != pid:
                yield Relative(pid=pid, tie=tie, asked_pid=asked)


def _namespaced(parts: _Parts, request: Request) -> Iterator[Relative]:
    for pid, lines in parts.files["namespaces", "status"].items():
        numbers = lines[0].removeprefix("NSpid:").split()
        if not lines[0].startswith("NSpid:") or not all(NUMBER.fullmatch(number) for number in numbers) or not numbers:
            raise _Malformed(f"the namespaces of process {pid} cannot be read: {_shown(lines[0])}")
        inner = int(numbers[-1])
        if len(numbers) > 1 and inner != pid and inner in request.pids:
            yield Relative(pid=pid, tie=Tie.NAMESPACE, asked_pid=inner)


def _marked(parts: _Parts, request: Request, page_bytes: int) -> Iterator[Relative]:
    """Find the processes with a child mark; one whose arguments were cut may hold it behind the cut."""
    stats = parts.files["marked", "stat"]
    for pid, arguments in parts.files["marked", "cmdline"].items():
        stat = _filtered_stat(stats[pid]) if pid in stats else None
        has_mark = any(mark in argument for mark in request.child_marks for argument in arguments)
        is_cut = _is_cut(arguments)
        if (has_mark or is_cut) and (stat is None or not stat.has_ended):
            memory = stat.resident_pages * page_bytes if stat else None
            yield Relative(pid=pid, tie=Tie.MARK, argv=tuple(arguments), is_cut=is_cut, memory_bytes=memory)


def _traces(parts: _Parts, request: Request) -> Iterator[RunTrace]:
    names = {name: run for run in request.runs for name in (run, UUID(run).hex)}
    # A name with a break in it may look like a state in any line but the last.
    states = {pid: lines[-1] for pid, lines in parts.files["states", "stat"].items()}
    kinds = (("runs", "cmdline", Trace.ARGV), ("runs", "environ", Trace.ENVIRONMENT), ("logs", "fd", Trace.LOG))
    for section, kind, trace in kinds:
        for pid, found in parts.files[section, kind].items():
            for run in sorted({names[name] for name in found if name in names}):
                yield RunTrace(pid=pid, trace=trace, run=run, states=states.get(pid, ""))
    for pid, arguments in parts.files["folders", "cmdline"].items():
        for folder in sorted(request.folders):
            home = f"{folder.rstrip('/')}/.meltano/"
            if any(home in argument for argument in arguments) or _is_cut(arguments):
                yield RunTrace(
                    pid=pid, trace=Trace.FOLDER, folder=folder, states=states.get(pid, ""), argv=tuple(arguments)
                )


def _is_cut(arguments: list[str]) -> bool:
    return sum(len(argument.encode()) + 1 for argument in arguments) >= MOST_ARGUMENT_BYTES


def _stat(pid: int, text: str) -> _Stat:
    head, _, _ = text.rpartition(")")
    begin = f"{pid} ("
    stat = _filtered_stat([text])
    if stat is None or not head.startswith(begin) or len(head) - len(begin) > LONGEST_NAME:
        raise _Malformed(f"process {pid} is described by {_shown(text)}")
    return replace(stat, name=head[len(begin) :])


def _filtered_stat(lines: Iterable[str]) -> _Stat | None:
    """Read the lines that a search left; those of a name with a break in it may lack their beginning, or their end."""
    fields = "\n".join(lines).rpartition(")")[2].split()
    numbers = [fields[place] for place in (2, 3, 17, 19, 21)] if len(fields) >= 22 else [""]
    if len(fields[:1]) != 1 or len(fields[0]) != 1 or not all(NUMBER_OR_LESS.fullmatch(one) for one in numbers):
        return None
    return _Stat(
        name="",
        state=fields[0],
        group=int(fields[2]),
        session=int(fields[3]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        resident_pages=max(int(fields[21]), 0),
    )


def _state_of(text: str) -> str:
    """Return the state letter of a thread; a name with a line break in it leaves lines without one."""
    fields = text.rpartition(")")[2].split()
    return fields[0] if ")" in text and fields and len(fields[0]) == 1 else ""


def _number(own: Mapping[str, str], key: str, *, least: int = 1) -> int:
    number = int(_match(own, key, NUMBER)[0])
    if number < least:
        raise _Malformed(f"{key} is {number}")
    return number


def _decimal(own: Mapping[str, str], key: str) -> float:
    number = float(_match(own, key, DECIMAL)[0])
    if not math.isfinite(number) or number > 1e12:
        raise _Malformed(f"{key} is {number}")
    return number


def _name(own: Mapping[str, str], key: str) -> str:
    name = own[key]
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or " " in name:
        raise _Malformed(f"{key} is {_shown(name)}")
    return name


def _match(own: Mapping[str, str], key: str, pattern: re.Pattern[str]) -> re.Match[str]:
    found = pattern.fullmatch(own[key])
    if found is None:
        raise _Malformed(f"{key} is {_shown(own[key])}")
    return found


def _shown(text: str) -> str:
    """Quote what a host said so that it can be printed: escaped, and not too long."""
    return ascii(text[:LONGEST_SHOWN])
