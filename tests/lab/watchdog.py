"""The watchdog in this process, without its timers: it polls, asks and heals when it is told to.

Everything is as `serve` builds it, but for the hosts: a `PlayedHost` says what it is told to say, and keeps what it was
asked. The clocks are real, so a second proof comes when `confirm_after` is over.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from exporter import clock
from exporter.jobs import JobId, QueueName
from exporter.page import Format
from healers.ledger import Ledger, RecordedRefusal, RecordedReset
from healers.machines import INITIAL_PID_NAMESPACE
from healers.probes.protocol import HostAnswer, NoAnswer, Probe, ProcessAnswer, Relative, Request, RunTrace
from healers.verdicts import Liveness, Reason
from queuemedic.app import App
from queuemedic.building import find_ledger
from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.builders import an_answer, no_process

from .queuemedic import Page
from .waiting import wait_until

CONFIRM_AFTER = "1s"
HEALING = {"mode": "reset", "confirm_after": CONFIRM_AFTER}
END_SECONDS = 30.0

T = TypeVar("T")


class PlayedHost:
    """A host that is up for three days, the same in every run of the program.

    `processes` are those that are there, `relatives` those that have to do with pids that are doubtful, `traces` those
    at work on runs.
    """

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.machine_id = machine_id_of(hostname)
        self.boot_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"boot of {hostname}"))
        self.processes: dict[int, ProcessAnswer] = {}
        self.relatives: tuple[Relative, ...] = ()
        self.traces: tuple[RunTrace, ...] = ()
        self.uptime = "3d"
        self.pid_namespace = INITIAL_PID_NAMESPACE
        self.silence: NoAnswer | None = None
        self.asked: list[Request] = []

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:  # noqa: ARG002  nothing stays open
        """Answer, or be silent."""
        self.asked.append(request)
        if self.silence is not None:
            return self.silence
        found = [self.processes.get(pid) or no_process(pid) for pid in request.pids]
        return an_answer(
            *found,
            hostname=self.hostname,
            machine_id=self.machine_id,
            boot_id=self.boot_id,
            uptime=self.uptime,
            pid_namespace=self.pid_namespace,
            uid=0,
            host_key=f"SHA256:{self.machine_id}",
            relatives=self.relatives,
            traces=tuple(trace for trace in self.traces if trace.run in request.runs),
        )

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a ledger holds, read after all was closed."""

    resets: tuple[RecordedReset, ...]
    refusals: tuple[RecordedRefusal, ...]
    fault: str | None

    def reasons(self) -> dict[JobId, set[str]]:
        """Return why each job was refused."""
        found: dict[JobId, set[str]] = {}
        for refusal in self.refusals:
            found.setdefault(refusal.key.job_id, set()).add(refusal.reason)
        return found


class Watchdog:
    """One run of the program; opens its ledger before the first poll, as `serve` does."""

    def __init__(self, config: Path, hosts: Mapping[str, Probe]) -> None:
        self.app = App(load(config, os.environ, OPTIONS), make_probes=lambda _: hosts)
        self.app.healing.keeper.keep()

    def look(self) -> None:
        """Poll every queue, ask every host, and make one pass of each queue."""
        self.app.poll_once()
        for poller in self.app.pollers:
            self.app.healing.run_pass(poller, self.app.see)

    def look_twice(self) -> None:
        """Look for both proofs, and once more: whatever is ever put back is put back now."""
        self.look()
        let_confirm()
        self.look()
        self.look()

    def look_until(self, condition: Callable[[], T | None], *, what: str, within: float = END_SECONDS) -> T:
        """Look until a condition is true."""

        def is_true() -> T | None:
            self.look()
            return condition()

        return wait_until(is_true, within=within, what=what)

    def verdicts(self, queue: str) -> dict[JobId, tuple[Liveness, Reason]]:
        """Return what is held of each attempt."""
        held = self.app.believe(QueueName(queue))
        assert held is not None, f"{queue} was not read"
        return {key.job_id: (verdict.value, verdict.reason) for key, verdict in held.verdicts.items()}

    def page(self) -> Page:
        """Return the page as it stands."""
        return Page(self.app.get_page(Format.TEXT, False).decode(), is_openmetrics=False)

    def written(self) -> Written:
        """Read the ledger."""
        return read_ledger(self.app.healing.keeper.get())

    def close(self) -> None:
        """End as `serve` does."""
        assert self.app.close(within_seconds=END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def let_confirm() -> None:
    """Wait until the next look brings the second proof."""
    due = clock.boottime_seconds() + 1
    wait_until(lambda: clock.boottime_seconds() > due, within=END_SECONDS, what=f"{CONFIRM_AFTER} is over")


def machine_id_of(hostname: str) -> str:
    """Return the machine-id of a played host."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, hostname).hex


def read_ledger(ledger: Ledger) -> Written:
    """Return all that is in a journal."""
    recorded = list(ledger.journal.history())
    return Written(
        resets=tuple(one for one in recorded if isinstance(one, RecordedReset)),
        refusals=tuple(one for one in recorded if isinstance(one, RecordedRefusal)),
        fault=ledger.journal.verify(),
    )


@contextmanager
def ledger_of(config: Path) -> Iterator[Ledger]:
    """Open the ledger that a configuration names."""
    ledger = Ledger.open(find_ledger(load(config, os.environ, OPTIONS), os.environ))
    try:
        yield ledger
    finally:
        ledger.close()
