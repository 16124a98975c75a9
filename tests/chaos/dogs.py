"""The watchdogs of a run: real `queuemedic serve` processes, with names, a resolver and a clock of their own.

Each is in a mount namespace with an /etc/hosts and an /etc/resolv.conf that the run writes. The wall clock it reads is
the machine's, moved by what a file says (`sitecustomize`, in a folder of the run's own); all else of it is as
installed, unless a test has it load a fault (`broken`). Each is scraped twice a second.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.faults.test_healing_clocks import SITECUSTOMIZE
from tests.lab.ports import free_port
from tests.lab.processes import look
from tests.lab.queuemedic import QUEUEMEDIC, write_config
from tests.lab.waiting import wait_until

from .ways import Ways

START_SECONDS: Final = 40.0
END_SECONDS: Final = 15.0
SCRAPE_EVERY, SCRAPE_WITHIN = 0.5, 5.0
MOUNTS: Final = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
BREAK: Final = "\nimport sys\nsys.path.insert(0, {root!r})\nfrom tests.chaos import broken\nbroken.apply({name!r})\n"
ROOT: Final = str(Path(__file__).parents[2])


@dataclass(slots=True, kw_only=True)
class Scrapes:
    """How often one watchdog was scraped while it ran, what went wrong, and how long the slowest took."""

    made: int = 0
    slowest_seconds: float = 0.0
    failed: list[str] = field(default_factory=list)


class Dog:
    """One watchdog. `offsets` are what its clock was ever off, `pids` those it has had."""

    def __init__(self, name: str, folder: Path, ways: Ways, *, broken: str | None) -> None:
        self.name, self.folder, self.ways = name, folder, ways
        folder.mkdir()
        self._names, self._resolver, self._off = folder / "hosts", folder / "resolv.conf", folder / "off"
        custom = SITECUSTOMIZE + (BREAK.format(root=ROOT, name=broken) if broken else "")
        (folder / "sitecustomize.py").write_text(custom)
        self.pids: list[int] = []
        self.offsets: set[float] = {0.0}
        self.set_clock(0.0)
        self.scrapes = Scrapes()
        self.ended_by_itself: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._since: float | None = None
        self._may_answer_from = 0.0
        self._is_stopped = False
        self._has_ended = threading.Event()
        self._port = free_port()
        self._scraping = threading.Thread(target=self._scrape_on, name="scraping", daemon=True)

    def configure(self, queues: Mapping[str, Mapping[str, Any]], **sections: Any) -> None:
        """Write its configuration."""
        self.config = write_config(self.folder, queues, port=self._port, **sections)

    def set_names(self, hosts: str, resolver: str) -> None:
        """Write its /etc/hosts and /etc/resolv.conf."""
        self._names.write_text(hosts)
        self._resolver.write_text(resolver)

    def set_clock(self, off: float) -> None:
        """Let its wall clock be so many seconds off."""
        self.offsets.add(off)
        draft = self._off.with_suffix(".new")
        draft.write_text(str(off))
        draft.replace(self._off)

    def start(self) -> None:
        """Run it; it need not answer yet."""
        command = [str(QUEUEMEDIC), "--config", str(self.config), "serve"]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(self._names), str(self._resolver), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder), "LAB_OFF": str(self._off)},
            )
        self.pids.append(self._process.pid)
        self._may_answer_from = time.monotonic()
        if not self._scraping.is_alive():
            self._scraping.start()

    def await_up(self) -> None:
        """Wait until it answers."""
        wait_until(lambda: self._since is not None, within=START_SECONDS, what=f"{self.name} answers")

    def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process, self._since = self._running, None, None
        process.kill()
        process.wait()

    def freeze(self) -> None:
        """Stop it in mid-work."""
        self._since, self._is_stopped = None, True
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running.send_signal(signal.SIGCONT)
        self._may_answer_from, self._is_stopped = time.monotonic(), False

    def page(self) -> str:
        """Return the page it serves."""
        return httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=SCRAPE_WITHIN).text

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        process, self._process, self._since = self._running, None, None
        process.send_signal(signal.SIGTERM)
        return process.wait(END_SECONDS)

    def close(self) -> None:
        """End it, however it is."""
        self._has_ended.set()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._scraping.is_alive():
            self._scraping.join(SCRAPE_WITHIN + 5)
        self.ways.close()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def log_file(self) -> Path:
        """Where it writes its events."""
        return self.folder / "serve.log"

    @property
    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text(errors="replace")

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} does not run"
        return self._process

    def _scrape_on(self) -> None:
        with httpx.Client(timeout=SCRAPE_WITHIN) as client:
            while not self._has_ended.wait(SCRAPE_EVERY):
                self._scrape(client)

    def _scrape(self, client: httpx.Client) -> None:
        """Scrape once; it counts if the program ran all the while, and had answered before, or has had long enough."""
        process, since, began = self._process, self._since, time.monotonic()
        fault = ""
        try:
            answer = client.get(f"http://127.0.0.1:{self._port}/metrics")
            if answer.status_code != 200 or "queuemedic_up" not in answer.text:
                fault = f"{answer.status_code}: {answer.text[:200]}"
        except httpx.HTTPError as error:
            fault = repr(error)
        took = time.monotonic() - began
        if process is None or self._process is not process or self._is_stopped:
            return
        if since is None:
            if not fault:
                self._since = time.monotonic()
            elif look(process.pid) is None and process.poll() is not None:
                self.ended_by_itself.append(f"{self.name} ended with {process.returncode}")
            elif began > self._may_answer_from + START_SECONDS:
                self.scrapes.failed.append(f"{self.name}: has not answered yet: {fault}")
            return
        if self._since != since:
            return
        self.scrapes.made += 1
        self.scrapes.slowest_seconds = max(self.scrapes.slowest_seconds, took)
        if fault:
            self.scrapes.failed.append(f"{self.name}: {fault}")
