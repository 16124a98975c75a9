"""How soon the row of a killed worker is back in the queue: from SIGKILL to `status = 0` in the table.

Real: `serve` over SSH to a host, where workers take a job each and are killed with SIGKILL at once, at no particular
time of a poll or round. Compared with what is promised, heal_after + confirm_after + two intervals: with the shortest
limits, and as configured by default. A job is as young as can be when its worker dies, so heal_after counts in full.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tests.faults.healed_queue import ASKED, Site, add_host, start_worker
from tests.lab import run
from tests.lab.hosts import Host, Hosts, NotAllowed
from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

from .ground import TABLE, server
from .lines import Budget, Table
from .part import Scale
from .program import NAME, queuemedic

HOST = "web01"
UP = f'queuemedic_host_up{{host="{HOST}"}} 1'
LOOK_SECONDS = 0.05
LIMIT = "heal_after + confirm_after + 2 intervals"
SHORT = {"heal_after": "1s", "confirm_after": "1s"}
CASES: Mapping[str, tuple[int, Mapping[str, Any], float, float]] = {
    "heal_after 1s, confirm_after 1s, every 1s": (1, SHORT, 1 + 1 + 2 * 1, 5.3),
    "as configured by default": (15, {}, 60 + 30 + 2 * 15, 13.7),
}
"""The interval, the options of healing, what is promised (seconds), and the seconds from one death to the next."""
PROMISE = "kill -9 of a worker until its row is back, the slowest, to what is promised, {}"


def measure(scale: Scale) -> Table:
    """Measure one case after the other."""
    table = Table()
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Hosts())
            running = stack.enter_context(server("64M"))
            host = add_host(lab, HOST)
        except (NotAllowed, NotInstalled) as reason:
            table.say("", NAME, f"not measured: {reason}")
            return table
        for case, (every, options, promised, apart) in list(CASES.items())[: 1 if scale.is_quick else None]:
            with Site(running, run.scratch("site")) as site:
                section = site.section(**options) | {"poll_every": f"{every}s"}
                if not options:
                    section["healing"] = {"mode": "reset", "write_url": site.write_url}
                hosts = {HOST: host.options(**ASKED) | {"ask_every": f"{every}s"}}
                with queuemedic({"healed": section}, hosts=hosts) as exporter:
                    wait_until(
                        lambda: 'host_up{host="web01"} 1' in exporter.scrape(), within=60, what="the host answers"
                    )
                    delays = _kill(site, host, scale.rounds, apart=apart, longest=3 * promised + 60)
            measured = {NAME: delays, LIMIT: [promised] * len(delays)}
            budget = Budget(limit="≤ 1", promise=PROMISE.format(case), is_of_the_worst=True)
            table.add(case, "s", measured, against=(LIMIT,), budgets=scale.budgets({(NAME, LIMIT): budget}))
    return table


def _kill(site: Site, host: Host, number: int, *, apart: float, longest: float) -> list[float]:
    """Kill workers one after the other, and return how long each row took to be back."""
    died: dict[int, float] = {}
    delays: list[float] = []
    due = time.monotonic()
    ends = due + number * apart + longest
    while len(delays) < number:
        now = time.monotonic()
        if now > ends:
            raise AssertionError(f"{number - len(delays)} of {number} rows are not back")
        if now >= due and number > len(died) + len(delays):
            due = now + apart
            pid = start_worker(host)
            job = site.claim(HOST, pid)
            died[job] = time.monotonic()
            host.kill(pid)
        for (job,) in site.server.sql(f"SELECT idinvalidation FROM {TABLE} WHERE status = 0", database=site.database):
            if job in died:
                delays.append(time.monotonic() - died.pop(job))
        time.sleep(LOOK_SECONDS)
    return delays
