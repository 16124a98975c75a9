"""A queue that is healed while something else is measured: a real host over SSH, whose workers are killed all the time.

Each second a worker is started, takes a job, and is killed; `serve` finds it, proves it dead twice, and puts the row
back. The table is Matomo's, described as any table.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.healed_queue import ASKED, TABLE, Site, add_host, start_worker
from tests.lab import run
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb

HOST = "healed01"
EVERY_SECONDS = 1.0
RESET = {"status": 0, "ts_started": None, "processing_host": None, "process_id": None}
SMALL: dict[str, Any] = {
    "system": "table",
    "from": TABLE,
    "columns": {
        "id": "idinvalidation",
        "enqueued_at": "ts_invalidated",
        "started_at": "ts_started",
        "host": "processing_host",
        "pid": "process_id",
    },
    "waiting_when": "status = 0",
    "started_when": "status = 1",
    "worker": {"command": ["*console", "core:archive"]},
}
"""The queue as a table without kinds, which makes a small page of it."""


class Trouble:
    """Workers that die."""

    def __init__(self, site: Site, host: Host) -> None:
        self._site, self._host = site, host
        self._has_ended = threading.Event()

    def go_on(self) -> None:
        """Kill workers until it is enough."""
        while not self._has_ended.wait(EVERY_SECONDS):
            pid = start_worker(self._host)
            self._site.claim(HOST, pid)
            self._host.kill(pid)

    def end(self) -> None:
        """Let it be enough."""
        self._has_ended.set()


@contextmanager
def troubled(server: MariaDb) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give the sections of a healed queue and of its host, and make trouble meanwhile; raises NotAllowed."""
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts())
        site = stack.enter_context(Site(server, Path(run.scratch("site"))))
        host = add_host(hosts, HOST)
        trouble = Trouble(site, host)
        thread = threading.Thread(target=trouble.go_on, name="trouble")
        thread.start()
        stack.callback(thread.join)
        stack.callback(trouble.end)
        section = site.section(max_resets_per_hour=100_000, reset=RESET) | SMALL
        yield section, {HOST: host.options(**ASKED)}
