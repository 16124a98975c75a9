"""Asking 50 hosts about 1,000 pids, over real sshd, beside `ssh HOST true` once for each at the same parallelism.

Each host is a network namespace with an sshd of its own. A routine round is one `ask` of each of the program's askers,
as many at a time as `serve` has threads for it, over the connections that the round before has left open; the first
round, which has to connect, is told, too. `ssh` connects, logs in and runs `true` with OpenSSH's client, the same key
and the same host keys, as a script that looks after workers would.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from queuemedic.app import App
from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.faults.healed_queue import ASKED, Site, add_host, start_worker
from tests.lab import run
from tests.lab.hosts import Host, Hosts, NotAllowed
from tests.lab.programs import NotInstalled, program

from .ground import server
from .lines import Budget, Table
from .part import Scale
from .program import NAME
from .rounds import Figures, interleave, timed

HOSTS, PIDS = 50, 20
AT_ONCE = 32
"""As many as the program has threads for hosts."""
ACCOUNT = "worker"
LOGIN = "ssh HOST true, once per host"
FIRST, ROUTINE = f"{NAME}, first round", f"{NAME}, routine round"
PROMISES = {
    (ROUTINE, LOGIN): Budget(limit="≤ 1", promise="1,000 pids on 50 hosts: a routine round, to `ssh HOST true` each")
}


def measure(scale: Scale) -> Table:
    """Measure rounds of all hosts."""
    table = Table()
    number, pids = (2, 3) if scale.is_quick else (HOSTS, PIDS)
    case = f"{number * pids:,} pids on {number} hosts, {AT_ONCE} hosts at a time"
    try:
        with ExitStack() as stack:
            site, hosts = _make(stack, number, pids)
            threads = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
            program = Asked(site, hosts, threads)
            stack.callback(program.close)
            running = program.begin()
            program.ask(running)
            subjects = {
                LOGIN: lambda: _costs(lambda: _all(threads, map(_login, hosts))),
                ROUTINE: lambda: program.ask(running),
                FIRST: lambda: program.ask(program.begin()),
            }
            for figure, measured in interleave(subjects, scale.rounds).items():
                budgets = scale.budgets(PROMISES) if figure == "s" else None
                table.add(case, figure, measured, against=(LOGIN,), budgets=budgets)
    except (NotAllowed, NotInstalled) as reason:
        table.say(case, NAME, f"not measured: {reason}")
    return table


def rounds_of(numbers: Sequence[int], rounds: int, *, pids: int) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Give the figures of routine rounds of the first so many of the same hosts; raises NotAllowed, NotInstalled."""
    with ExitStack() as stack:
        site, hosts = _make(stack, max(numbers), pids)
        threads = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        for number in numbers:
            program = Asked(site, hosts[:number], threads)
            try:
                running = program.begin()
                measured = interleave({ROUTINE: lambda: program.ask(running)}, rounds, warm_up=2)  # noqa: B023
                yield number, {figure: by_subject[ROUTINE] for figure, by_subject in measured.items()}
            finally:
                program.close()


class Asked:
    """The program over these hosts, in this process, without its timers."""

    def __init__(self, site: Site, hosts: Sequence[Host], threads: ThreadPoolExecutor) -> None:
        sections = {host.name: host.options(**ASKED) for host in hosts}
        self._config = load(site.configure(sections), os.environ, OPTIONS)
        self._threads = threads
        self._apps: list[App] = []

    def begin(self) -> App:
        """Build it anew, without connections to hosts, and let it read its queue."""
        app = App(self._config)
        self._apps.append(app)
        app.pollers[0].poll()
        return app

    def ask(self, app: App) -> Figures:
        """Make one round."""
        costs = _costs(lambda: _all(self._threads, [asker.ask for asker in app.askers]))
        silent = [asker.status.name for asker in app.askers if not asker.status.is_up]
        if silent:
            raise AssertionError(f"{silent} do not answer")
        return costs

    def close(self) -> None:
        """Close what was built."""
        for app in self._apps:
            for asker in app.askers:
                asker.close()
            app.close(within_seconds=10)


def _make(stack: ExitStack, number: int, pids: int) -> tuple[Site, list[Host]]:
    lab = stack.enter_context(Hosts())
    site = stack.enter_context(Site(stack.enter_context(server("64M")), run.scratch("site")))
    return site, [_host(lab, site, f"web{index:03}", pids) for index in range(number)]


def _host(lab: Hosts, site: Site, name: str, pids: int) -> Host:
    """Make a host with so many workers, each with a job, on which the other account may run anything."""
    host = add_host(lab, name)
    host.write(f"/etc/ssh/lab_keys/{ACCOUNT}", lab.public_key + "\n")
    for _ in range(pids):
        site.claim(name, start_worker(host))
    return host


def _login(host: Host) -> Callable[[], object]:
    host.options()  # writes the file of known hosts
    command = [
        program("ssh", package="openssh-client"),
        *("-F", "none", "-i", str(host.key_file)),
        *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={host.known_hosts}"),
        *(f"{ACCOUNT}@{host.address}", "true"),
    ]
    return lambda: subprocess.run(command, check=True, capture_output=True)


def _all(threads: ThreadPoolExecutor, actions: Iterable[Callable[[], object]]) -> None:
    list(threads.map(lambda action: action(), actions))


def _costs(action: Callable[[], object]) -> Figures:
    before = sum(os.times()[:4])
    seconds = timed(action)
    return {"s": seconds, "processor s on the asking side": sum(os.times()[:4]) - before}
