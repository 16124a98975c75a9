"""The first process of a machine of the lab: sets it up, starts processes, and reaps what ends.

Run by `hosts.py` inside new namespaces, with the machine's settings as JSON in its arguments; takes orders as JSON
lines on standard input, and answers each with one on standard output. When its input ends, the machine ends.
Standard library only, since it is started for every boot.
"""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MS_BIND = 4096
LIBC = ctypes.CDLL(None, use_errno=True)
UNREAPED: set[int] = set()


def mount(source: str, target: str, *, kind: str = "", flags: int = 0) -> None:
    """Mount, in this machine's namespace only."""
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def set_up(settings: dict[str, Any]) -> None:
    """Give the machine a name, an /etc and a /run of its own, and a boot id."""
    socket.sethostname(settings["hostname"])
    mount(settings["etc"], "/etc", flags=MS_BIND)
    mount("tmpfs", "/run", kind="tmpfs")
    Path("/run/sshd").mkdir(0o755)
    mount(settings["boot_id"], "/proc/sys/kernel/random/boot_id", flags=MS_BIND)


def spawn(order: dict[str, Any]) -> dict[str, Any]:
    """Start a process, in a session of its own; answer its pid, once it has become the program."""
    if order["pid"] is not None:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(order["pid"] - 1))
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(order, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as fault:
        text = fault.read().decode()
    if text:
        os.waitpid(pid, 0)
        return {"fault": text}
    if not order["reap"]:
        UNREAPED.add(pid)
    return {"pid": pid}


def become(order: dict[str, Any], tell: int) -> None:
    """Become the program; returns never."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        for number, path, flags in ((0, "/dev/null", os.O_RDONLY), (1, order["log"], os.O_WRONLY | os.O_APPEND)):
            end = os.open(path, flags)
            os.dup2(end, number)
            os.close(end)
        os.dup2(1, 2)
        os.chdir(order["folder"])
        if order["user"] is not None:
            import pwd  # noqa: PLC0415 - of this machine's /etc, and rarely needed

            entry = pwd.getpwnam(order["user"])
            os.setgroups([])
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        os.execvpe(order["argv"][0], order["argv"], {**os.environ, **order["environment"]})  # noqa: S606 - as it says
    except BaseException as error:  # noqa: BLE001 - a fork of this process must not go on as a second one
        os.write(tell, repr(error).encode())
    os._exit(127)


def call(order: dict[str, Any]) -> dict[str, Any]:
    """Run a program to its end."""
    done = subprocess.run(order["argv"], input=order["input"], capture_output=True, text=True, check=False)
    return {"status": done.returncode, "output": done.stdout, "errors": done.stderr}


def send(order: dict[str, Any]) -> dict[str, Any]:
    """Send a signal; answer whether the process was there."""
    try:
        os.kill(order["pid"], order["signal"])
    except ProcessLookupError:
        return {"found": False}
    return {"found": True}


def list_processes(_order: dict[str, Any]) -> dict[str, Any]:
    """Answer pid, parent, state and name of every process."""
    return {
        "processes": [
            {"pid": pid, "parent": parent, "state": state, "name": name} for pid, parent, state, name in look()
        ]
    }


def look() -> list[tuple[int, int, str, str]]:
    """Read pid, parent, state and name of every process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                head, _, rest = (entry / "stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            found.append((int(entry.name), int(parent), state, head.partition("(")[2]))
    return found


def reap() -> None:
    """Take leave of every child that has ended, but of those that are to stay as zombies."""
    for pid, parent, state, _ in look():
        if parent == os.getpid() and state == "Z" and pid not in UNREAPED:
            os.waitpid(pid, 0)


def main() -> None:
    """Serve until the input ends."""
    set_up(json.loads(sys.argv[1]))
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    orders: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "spawn": spawn,
        "call": call,
        "send": send,
        "list": list_processes,
    }
    print("{}", flush=True)
    while True:
        ready, _, _ = select.select([sys.stdin, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            reap()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            order = json.loads(line)
            print(json.dumps(orders[order["order"]](order)), flush=True)


if __name__ == "__main__":
    main()
