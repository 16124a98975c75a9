"""The workers of one host, and who watches over them: run inside a machine of the lab.

    python -m tests.chaos.crew SETTINGS /srv/matomo/console core:archive

Workers are forks of it, so each has an archiver's command line, a pid and a start time of its own, and costs little.
What happens to them is written, before it happens, to a log that no database and no watchdog ever sees: it is what the
referee goes by. Orders come as JSON lines from a pipe: `kill`, `stop`, `cont`, `reuse`, `drain`.
"""

import ctypes
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import labour

WORKER_ID: Final = 61_002
"""The account `worker` of the lab's hosts."""
LOOK_SECONDS: Final = 0.1
SEEN_SECONDS: Final = 4.0
FIRST_PID: Final = 300
LAST_PID: Final = Path("/proc/sys/kernel/ns_last_pid")
SET_DUMPABLE: Final = 4
TRIES: Final = 20

Settings = dict[str, Any]


class Log:
    """Lines of JSON, each written whole by whoever has something to say."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def say(self, what: str, **details: object) -> None:
        """Write down what is about to happen, or has."""
        line = json.dumps({"at": time.time(), "what": what, **details}) + "\n"
        os.write(self._file, line.encode())


class Crew:
    """Keeps so many workers at work until it is told to let them end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = Log(Path(settings["log"]))
        self._orders = os.open(settings["orders"], os.O_RDWR | os.O_NONBLOCK)
        self._working: dict[int, str] = {}
        self._idle: dict[int, str] = {}
        self._stopped: set[int] = set()
        self._drains = False
        self._hired = 0
        self._to_reuse: list[tuple[float, int]] = []

    def run(self) -> None:
        """Go on for ever. The pids of workers begin beyond its own: in another boot that is no worker's."""
        LAST_PID.write_text(str(FIRST_PID - 1))
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            self._reap()
            while self._to_reuse and self._to_reuse[0][0] <= time.monotonic():
                self._give_again(self._to_reuse.pop(0)[1])
            if not self._drains and len(self._working) < self._settings["workers"]:
                self._hire()
            ready, _, _ = select.select([self._orders, woken], [], [], LOOK_SECONDS)
            if woken in ready:
                os.read(woken, 4096)
            if self._orders in ready:
                for line in os.read(self._orders, 65536).decode().splitlines():
                    self._obey(**json.loads(line))

    def _obey(self, do: str, pick: int = 0) -> None:
        if do == "drain":
            self._drain()
            return
        if do == "cont":
            for pid in self._stopped:
                os.kill(pid, signal.SIGCONT)
            self._stopped.clear()
            return
        pids = sorted(self._working.keys() - self._stopped)
        if not pids:
            return
        pid = pids[pick % len(pids)]
        if do == "stop":
            self._log.say("stopped", worker=self._working[pid])
            os.kill(pid, signal.SIGSTOP)
            self._stopped.add(pid)
            return
        if do == "reuse":
            os.kill(pid, signal.SIGUSR1)  # work on, to be seen alive first
            self._to_reuse.append((time.monotonic() + SEEN_SECONDS, pid))
            return
        self._log.say("killed", worker=self._working[pid])
        os.kill(pid, signal.SIGKILL)

    def _drain(self) -> None:
        """Let all end what they do, and hire nobody more; who only has a pid has it no longer, unless told to stay."""
        self._log.say("draining")
        self._drains = True
        self._to_reuse.clear()
        for pid in self._working:
            os.kill(pid, signal.SIGTERM)
        for pid, name in self._idle.items() if not self._settings["heirs_stay"] else ():
            self._log.say("killed", worker=name)
            os.kill(pid, signal.SIGKILL)

    def _give_again(self, pid: int) -> None:
        """Kill a worker, and let another process have its pid at once; the pids that follow are new ones again."""
        if pid not in self._working:
            return
        self._log.say("killed", worker=self._working[pid])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self._log.say("ended", worker=self._working.pop(pid))
        self._stopped.discard(pid)
        for _ in range(TRIES):
            last = LAST_PID.read_text()
            LAST_PID.write_text(str(pid - 1))
            heir = self._fork(labour.wait_for_ever)
            LAST_PID.write_text(last)
            if heir == pid:
                self._log.say("reused", pid=pid)
                return
            self._log.say("killed", worker=self._idle.pop(heir))
            os.kill(heir, signal.SIGKILL)
            os.waitpid(heir, 0)

    def _hire(self) -> None:
        self._fork(labour.BY_KIND[self._settings["kind"]])

    def _fork(self, work: Callable[[labour.Worker], None]) -> int:
        self._hired += 1
        name = f"{self._settings['host']}.{self._settings['boot']}.{self._hired}"
        is_idle = work is labour.wait_for_ever
        pid = os.fork()
        if pid == 0:
            self._become(name, work, is_idle)
        (self._idle if is_idle else self._working)[pid] = name
        return pid

    def _become(self, name: str, work: Callable[[labour.Worker], None], is_idle: bool) -> None:
        """Work, and end; returns never."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.setgroups([])
            os.setresgid(WORKER_ID, WORKER_ID, WORKER_ID)
            os.setresuid(WORKER_ID, WORKER_ID, WORKER_ID)
            ctypes.CDLL(None).prctl(SET_DUMPABLE, 1)  # as if it had been started as that: who it is may look at it
            self._log.say("born", worker=name, pid=os.getpid(), is_idle=is_idle)
            chance = random.Random(f"{self._settings['seed']}/{name}")  # noqa: S311  the same each time
            work(labour.Worker(name=name, settings=self._settings, chance=chance, say=self._log.say))
            self._log.say("exiting", worker=name)
        except BaseException as error:  # noqa: BLE001  a fork must not go on as a second crew
            self._log.say("failing", worker=name, error=repr(error))
            os._exit(1)
        os._exit(0)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                break
            name = self._working.pop(pid, None) or self._idle.pop(pid, None)
            self._stopped.discard(pid)
            if name is not None:
                self._log.say("ended", worker=name)
        if self._drains and not self._working:
            self._drains = False
            self._settings["workers"] = 0
            self._log.say("drained")


if __name__ == "__main__":
    Crew(json.loads(Path(sys.argv[1]).read_text())).run()
