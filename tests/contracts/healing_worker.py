"""A process that forks the program as often as it is told to, each time to heal, and to be killed at a system call.

Orders are JSON lines on standard input: `config`, and `inject`, which is what strace makes of system calls (strace(1))
during the looks that heal. Each is answered with the exit code. With `hinders` the injection ends, or the next line
comes, before the program goes on: what it saw until then is told in a line before.
Starting Python takes longer than all the rest: so it is started once.
"""

import ctypes
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from exporter import log
from healers.verdicts import Liveness
from tests.contracts.healing_benches import watch
from tests.lab.programs import program
from tests.lab.waiting import wait_until
from tests.lab.watchdog import Watchdog, let_confirm

PR_SET_CHILD_SUBREAPER, PR_SET_PTRACER, ANYBODY = 36, 0x59616D61, ctypes.c_ulong(-1)
LIBC = ctypes.CDLL(None)
NOBODY = 65534


@contextmanager
def injected(injection: str | None) -> Iterator[None]:
    """Let strace interfere with the system calls of this thread."""
    if injection is None:
        yield
        return
    LIBC.prctl(PR_SET_PTRACER, ANYBODY)
    calls = injection.partition(":")[0]
    quiet = ("-qq", "-o", os.devnull)
    interfering = ("-e", f"trace={calls}", "-e", f"inject={injection}")
    strace = subprocess.Popen(
        [program("strace", package="strace"), *quiet, *interfering, "-p", str(os.getpid())], stdin=subprocess.DEVNULL
    )
    wait_until(_is_traced, within=20, what="strace is attached")
    try:
        yield
    finally:
        strace.terminate()
        strace.wait()


def _is_traced() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)


def heal(order: Mapping[str, Any]) -> None:
    """Look for both proofs, the second time under the injection; without one, until nobody is dead any more."""
    with watch(Path(order["config"])) as dog:
        dog.look()
        let_confirm()
        with injected(order.get("inject")):
            dog.look()
            dog.look()
        if order.get("inject") is None:
            dog.look_until(lambda: is_well(dog), what="all is well")


def is_well(dog: Watchdog) -> bool:
    """Tell whether the queue was read, and no worker is dead."""
    return dog.page().value("up", queue="q") == 1 and Liveness.DEAD not in {it for it, _ in dog.verdicts("q").values()}


def be_hindered(order: Mapping[str, Any]) -> None:
    """Look twice while something is wrong, tell, and go on looking until the job is put back."""
    if order.get("is_nobody"):
        os.setgroups([])
        os.setuid(NOBODY)
    with capture_logs() as events, watch(Path(order["config"])) as dog:
        with injected(order.get("inject")):
            dog.look_twice()
            tell(dog, events)
        sys.stdin.readline()
        dog.look_until(lambda: dog.page().total("heals_total", outcome="reset"), what="the job is put back")
        tell(dog, events)


def tell(dog: Watchdog, events: list[Any]) -> None:
    """Tell what is to be seen."""
    names = [event["event"] for event in events]
    blocked = {reason: number for reason, number in dog.page().values("blocked_heals", "reason").items() if number}
    print(json.dumps({"events": names, "blocked": blocked, "errors": [e["error"] for e in events if "error" in e]}))
    sys.stdout.flush()


def run(order: Mapping[str, Any]) -> int:
    """Carry out one order in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            (be_hindered if order.get("hinders") else heal)(order)
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as a second one of this process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve until the input ends."""
    log.configure()
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    while line := sys.stdin.readline():
        print(json.dumps({"ended": run(json.loads(line))}), flush=True)


if __name__ == "__main__":
    main()
