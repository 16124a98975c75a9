"""What a host is asked, and what it says of itself and of the processes that it was asked about.

One request asks for everything that any queue wants to know of one host. Nothing in a request is ever code, and nothing
in an answer is: pids are numbers, marks and run ids are words of a whitelist, and an answer is parsed, never evaluated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one host is asked.

    `pids`: each recorded pid, and the start ticks of every process that was enrolled under it, none where none was.
    `runs`: ids of runs, as UUIDs with dashes (Meltano). `worker_marks`: only the argv of a process that holds one of
    these words is sent back. `child_marks`: words by which work is known that can outlive its worker.
    `folders`: folders of projects; a process that runs out of one of them is reported with its argv (Meltano).
    """

    pids: Mapping[int, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))
    runs: frozenset[str] = frozenset()
    worker_marks: frozenset[str] = frozenset()
    child_marks: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()


class Presence(StrEnum):
    """Whether a process is there: by `/proc` and by `kill -0`, and absent only where both say so."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessAnswer:
    """What a host says of one pid.

    `start_ticks`: field 22 of `/proc/PID/stat`, clock ticks since boot. `states`: the state letter of the leader, and
    where that is Z or X, the letters of every thread (`proc(5)`). `argv` where a worker mark matched, cut at 4 KiB.
    """

    pid: int
    presence: Presence
    start_ticks: int | None = None
    states: str = ""
    name: str = ""
    memory_bytes: int | None = None
    argv: tuple[str, ...] | None = None

    @property
    def is_zombie(self) -> bool:
        """Whether every thread has ended, and only the entry is left."""
        return bool(self.states) and set(self.states) <= {"Z", "X", "x"}

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped or traced."""
        return not self.is_zombie and set(self.states) <= {"T", "t"} and bool(self.states)


class Tie(StrEnum):
    """How a process that nobody asked for by its pid belongs to one that was."""

    GROUP = "group"
    SESSION = "session"
    NAMESPACE = "namespace"
    MARK = "mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A process found by looking through all of them.

    `asked_pid` is its process group or session, or the pid that it has inside a namespace of its own; None for a child
    mark, whose `argv` says to whom it belongs; what `is_cut` may say more, the mark itself too.
    """

    pid: int
    tie: Tie
    asked_pid: int | None = None
    argv: tuple[str, ...] = ()
    is_cut: bool = False
    memory_bytes: int | None = None


class Trace(StrEnum):
    """How a process shows that it is at work on a run (Meltano)."""

    LOG = "log"
    ARGV = "argv"
    ENVIRONMENT = "environment"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTrace:
    """A process at work on a run: it holds the run's log open, carries its id, or runs out of a project's folder.

    `run` is the id for the first three, and `folder` the project's folder for the last, whose `argv` names the plugin.
    """

    pid: int
    trace: Trace
    run: str | None = None
    folder: str | None = None
    states: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAnswer:
    """What a host says, whole: an answer that is cut, garbled or late is a `NoAnswer`.

    `pid_namespace` is the inode of the probe's own PID namespace (4026531836 is the initial one, kernel
    include/linux/proc_ns.h). `proc_options` are the mount options of `/proc`. `sees_foreign`: the probe could read
    `/proc/1/stat`. `has_looked_through`: all processes were looked through, so that `relatives` are complete.
    `runs_visible`: the probe could read whose files are open of every process of its own account, and `user` is it.
    `host_key` is the fingerprint of the key by which the machine proved itself; None where nothing lies between.
    """

    hostname: str
    machine_id: str | None
    boot_id: str
    uptime: timedelta
    clock_ticks: int
    pid_max: int
    pid_namespace: int
    proc_options: frozenset[str]
    sees_foreign: bool
    user: str
    uid: int
    load_average: float
    processors: int
    has_looked_through: bool
    processes: Mapping[int, ProcessAnswer]
    relatives: tuple[Relative, ...] = ()
    traces: tuple[RunTrace, ...] = ()
    runs_visible: bool = False
    host_key: str | None = None


class Silence(StrEnum):
    """Why there is no usable answer of a host."""

    NOT_CONFIGURED = "not_configured"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    HOST_KEY = "host_key"
    REFUSED = "refused"
    BAD_ANSWER = "bad_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """A host gave no answer that could be used. `detail` is for people."""

    silence: Silence
    detail: str


class Probe(Protocol):
    """One host that can be asked. `ask` raises nothing: whatever goes wrong is a `NoAnswer`.

    `fresh` asks over a new connection. Returns within the host's `timeout`, and leaves no thread, socket or process.
    `ask` and `close` may be called from any thread, but never two asks at once.
    """

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer: ...

    def close(self) -> None: ...
