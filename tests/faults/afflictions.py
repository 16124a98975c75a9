"""What may befall a host or a worker, and what has to be said of a worker that lives through it.

Each is one function: it has what it afflicts, waits at `yield` while the world is bad, and then puts right what can be.
What is there before anything was said of the worker comes before a first, bare `yield`.
"""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lab.hosts import Host, Hosts, Partition
from tests.lab.waiting import wait_until

from .healed_queue import CONSOLE, SEEN_SECONDS, WORKER, add_host, copy_of, start_worker

RUNNING: Final = ("alive", "running")
PYTHON: Final = getattr(sys, "_base_executable", sys.executable)
INNER_PID: Final = 30_000


@dataclass(slots=True, kw_only=True)
class Case:
    """A host, its worker, and what its row records of them; `others` are sections of more hosts."""

    hosts: Hosts
    host: Host
    pid: int
    recorded_host: str
    recorded_pid: int
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Host] = field(default_factory=dict)


Course = Iterator[None]


def stopped(case: Case) -> Course:
    """SIGSTOP."""
    yield
    case.host.send(case.pid, signal.SIGSTOP)
    yield
    case.host.send(case.pid, signal.SIGCONT)


def uninterruptible(case: Case) -> Course:
    """In state D: it waits for a child of its, made by vfork, to become a program."""
    pipe = "/etc/later"
    case.host.call(["mkfifo", pipe])
    opens = f"(os.POSIX_SPAWN_OPEN, 0, '{pipe}', os.O_RDONLY, 0)"
    text = (
        "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: None); signal.pause();"
        f" os.posix_spawn('/bin/true', ['true'], {{}}, file_actions=[{opens}]); os.wait(); signal.pause()"
    )
    case.host.kill(case.pid)
    case.pid = case.recorded_pid = case.host.spawn([PYTHON, "-I", "-S", "-c", text, CONSOLE, "core:archive"])
    yield
    case.host.send(case.pid, signal.SIGUSR1)
    wait_until(lambda: case.host.state(case.pid) == "D", within=SEEN_SECONDS, what="it is in state D")
    yield
    assert case.host.state(case.pid) == "D"
    case.host.call(["sh", "-c", f": >{pipe}"])


def hidden(level: int) -> Callable[[Case], Course]:
    """Processes of others are hidden from the account that asks."""

    def course(case: Case) -> Course:
        yield
        case.host.call(["mount", "-o", f"remount,hidepid={level}", "/proc"])
        yield
        case.host.call(["mount", "-o", "remount,hidepid=0", "/proc"])

    return course


def cut_off(partition: Partition) -> Callable[[Case], Course]:
    """Packets are lost or refused."""

    def course(case: Case) -> Course:
        yield
        case.host.partition(partition)
        yield
        case.host.connect()

    return course


def sshd_restarted(case: Case) -> Course:
    """A new sshd, on which nobody is logged in."""
    yield
    case.host.stop_sshd()
    case.host.start_sshd()
    yield


def sshd_stopped(case: Case) -> Course:
    """The port is closed."""
    yield
    case.host.stop_sshd()
    yield
    case.host.start_sshd()


def frozen_at_connect(case: Case) -> Course:
    """The kernel accepts connections, and sshd never says a word."""
    yield
    case.host.send(case.host.sshd_pid, signal.SIGSTOP)
    case.host.kill_connections()
    yield
    case.host.send(case.host.sshd_pid, signal.SIGCONT)


def frozen_after_login(case: Case) -> Course:
    """It lets the probe in and then says nothing any more."""
    yield
    case.host.set_command("sleep 1000")
    case.host.kill_connections()
    yield
    case.host.set_command("sh /etc/probe.sh")


def reply_cut(case: Case) -> Course:
    """The answer ends in the middle, with exit status 0."""
    yield
    case.host.set_command("sh /etc/probe.sh | head -c 400")
    case.host.kill_connections()
    yield
    case.host.set_command("sh /etc/probe.sh")
    case.host.kill_connections()


def connection_cut(case: Case) -> Course:
    """What serves the connection is killed in the middle of the answer."""
    yield
    case.host.write("/etc/cut.sh", "sh /etc/probe.sh | head -c 400\nkill -9 $PPID\n")
    case.host.set_command("exec sh /etc/cut.sh")
    case.host.kill_connections()
    yield
    case.host.set_command("sh /etc/probe.sh")


def key_changed(case: Case) -> Course:
    """The host has another key than the one that is known."""
    yield
    case.host.replace_host_key()
    case.host.kill_connections()
    yield


def other_machine(case: Case) -> Course:
    """Another machine answers at the address: the same name and key, another machine-id and boot."""
    other = copy_of(case.host, case.hosts, f"{case.host.name}-b", machine_id=None)
    case.settings["machine_id"] = None
    yield
    case.hosts.swap_addresses(case.host, other)
    yield
    case.hosts.swap_addresses(case.host, other)


def other_machine_where_pinned(case: Case) -> Course:
    """The same, where the configuration says which machine-id it has to be."""
    other = copy_of(case.host, case.hosts, f"{case.host.name}-b", machine_id=None)
    yield
    case.hosts.swap_addresses(case.host, other)
    yield
    case.hosts.swap_addresses(case.host, other)


def cloned(case: Case) -> Course:
    """A clone of the machine comes up, and is configured as a host of its own."""
    other = copy_of(case.host, case.hosts, f"{case.host.name}-b", machine_id=case.host.machine_id)
    other.hostname = other.name
    other.power_off()
    case.others[other.name] = other
    yield
    other.start()
    yield
    other.power_off()


def taking_turns(case: Case) -> Course:
    """A clone answers under the same name, and then the machine itself does again."""
    other = copy_of(case.host, case.hosts, f"{case.host.name}-b", machine_id=case.host.machine_id)
    yield
    case.hosts.swap_addresses(case.host, other)
    wait_until(lambda: other.log.count("Starting session") > 1, within=SEEN_SECONDS, what="the clone has answered")
    case.hosts.swap_addresses(case.host, other)
    yield


def inside(name: str | None) -> Callable[[Case], Course]:
    """The worker is in a PID namespace below the host's, where it has another pid, perhaps under another name."""

    def course(case: Case) -> Course:
        case.host.kill(case.pid)
        rename = f"hostname {name}; " if name else ""
        text = f"{rename}echo {INNER_PID - 1} >/proc/sys/kernel/ns_last_pid; {shlex.join(WORKER)} & wait"
        namespaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        case.pid = case.host.spawn([*namespaces, *(["--uts"] if name else []), "sh", "-c", text])
        case.recorded_pid = INNER_PID
        case.recorded_host = name or case.host.name
        yield

    return course


def never_seen(case: Case) -> Course:
    """The watchdog was just started, and no worker was ever seen on this machine: the row's may be anywhere."""
    case.settings["machine_id"] = None
    case.recorded_pid = INNER_PID
    yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Affliction:
    """A course of events, what has to be said meanwhile, and after it.

    `before` is None where nothing is said before; `after` where what was wrong cannot be put right.
    """

    course: Callable[[Case], Course]
    said: tuple[str, str]
    before: tuple[str, str] | None = RUNNING
    after: tuple[str, str] | None = RUNNING


TIMEOUT, UNREACHABLE, TWO = ("unknown", "timeout"), ("unknown", "unreachable"), ("unknown", "two_machines")
HIDDEN = ("unknown", "hidden_processes")
AFFLICTIONS: Final = {
    "stopped": Affliction(course=stopped, said=("alive", "frozen")),
    "uninterruptible": Affliction(course=uninterruptible, said=RUNNING),
    "hidepid-1": Affliction(course=hidden(1), said=HIDDEN),
    "hidepid-2": Affliction(course=hidden(2), said=HIDDEN),
    "hidepid-4": Affliction(course=hidden(4), said=HIDDEN),
    "inbound-lost": Affliction(course=cut_off(Partition.IN), said=TIMEOUT),
    "outbound-lost": Affliction(course=cut_off(Partition.OUT), said=TIMEOUT),
    "both-lost": Affliction(course=cut_off(Partition.BOTH), said=TIMEOUT),
    "rejected": Affliction(course=cut_off(Partition.REJECT), said=UNREACHABLE),
    "reset": Affliction(course=cut_off(Partition.RESET), said=UNREACHABLE),
    "sshd-restarted": Affliction(course=sshd_restarted, said=RUNNING),
    "sshd-stopped": Affliction(course=sshd_stopped, said=UNREACHABLE),
    "frozen-at-connect": Affliction(course=frozen_at_connect, said=TIMEOUT),
    "frozen-after-login": Affliction(course=frozen_after_login, said=TIMEOUT),
    "reply-cut": Affliction(course=reply_cut, said=("unknown", "bad_answer")),
    "connection-cut": Affliction(course=connection_cut, said=UNREACHABLE),
    "key-changed": Affliction(course=key_changed, said=("unknown", "host_key"), after=None),
    "other-machine": Affliction(course=other_machine, said=TWO, after=TWO),
    "other-machine-pinned": Affliction(course=other_machine_where_pinned, said=("unknown", "wrong_host")),
    "cloned": Affliction(course=cloned, said=("unknown", "duplicate_host_key"), after=None),
    "taking-turns": Affliction(course=taking_turns, said=TWO, after=None),
    "container-same-name": Affliction(course=inside(None), said=("unknown", "pid_namespace"), before=None, after=None),
    "container-other-name": Affliction(
        course=inside("pod-1"), said=("unknown", "not_configured"), before=None, after=None
    ),
    "never-seen": Affliction(course=never_seen, said=("unknown", "host_unproven"), before=None, after=None),
}


def prepare(hosts: Hosts, name: str) -> Case:
    """Make a host for one affliction, with a worker on it."""
    host = add_host(hosts, name)
    pid = start_worker(host)
    return Case(hosts=hosts, host=host, pid=pid, recorded_host=name, recorded_pid=pid)
