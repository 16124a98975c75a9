"""A job of this machine whose worker really dies, in Matomo's table on MariaDB or a described one on PostgreSQL.

The queue is watched by an account that may select its columns, and healed by one that may do what a reset does, both
exactly as documented. `Worker` is a process that looks like an archiver.
"""

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import URL, make_url

from tests.contracts.benches import PostgresBench
from tests.contracts.reset_benches import BACK, MATOMO_GRANTS, TABLE_GRANTS, MatomoResets, TableResets

from . import queuemedic, run
from .mariadb import MariaDb
from .postgres import Postgres
from .queuemedic import Page, Serving

HOST = socket.gethostname()
HOSTS = {HOST: {"via": "local", "pid_namespace": "own", "ask_every": "1s", "timeout": "20s"}}
FAST = {"poll_every": "1s", "poll_timeout": "5s", "max_duty": 1}
HEALING = {"mode": "reset", "heal_after": "1s", "confirm_after": "1s"}
WITHIN = 90.0
COLUMNS = {"id": "id", "kind": "kind", "enqueued_at": "made", "started_at": "begun", "heartbeat_at": "beat"}

NOBODY, NOBODYS_ID = "nobody", 65534

Values = dict[str, Any]


class Worker:
    """A process that looks like Matomo's archiver and does nothing until it is killed."""

    def __init__(self) -> None:
        argv = ["sh", "-c", "read line", "/srv/matomo/console", "core:archive"]
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
        self.pid = self._child.pid

    def kill(self) -> None:
        """Kill it, and leave nothing of it."""
        self._child.kill()
        self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._child.stdin:
            self._child.stdin.close()


class OrphanQueue:
    """A queue on a server. `grants` are those of the account that heals, each as written in GRANT … TO."""

    def __init__(self, bench: MatomoResets | TableResets, server: MariaDb | Postgres, database: str) -> None:
        self.bench, self.server, self.database = bench, server, database
        self.is_matomo = isinstance(bench, MatomoResets)
        self.grants: Sequence[str] = MATOMO_GRANTS if isinstance(bench, MatomoResets) else TABLE_GRANTS
        options = bench.options if isinstance(bench, MatomoResets) else bench.bench.options
        assert options.url is not None
        self.url = show(options.url)

    def account(self, *grants: str) -> str:
        """Make an account."""
        return self.server.account(self.database, grants)

    def section(self, **healing: Any) -> Values:
        """Describe the queue, and how it is healed."""
        if self.is_matomo:
            return {"system": "matomo", "url": self.url, "healing": {**HEALING, **healing}, **FAST}
        return {
            "system": "table",
            "url": self.url,
            "from": "jobs",
            "columns": {**COLUMNS, "host": "host", "pid": "pid"},
            "waiting_when": "busy = 0",
            "started_when": "busy = 1",
            "worker": {"command": ["*console", "core:archive"]},
            "healing": {**HEALING, "reset": BACK, **healing},
            **FAST,
        }

    def start(self, pid: int) -> str:
        """Let a worker of this machine take a new job."""
        (job,) = self.bench.bench.enqueue()
        self.bench.bench.start(job, host=HOST, pid=str(pid), ago="1s")
        return job


@contextmanager
def on_mariadb(server: MariaDb, database: str) -> Iterator[OrphanQueue]:
    """Give Matomo's queue in a database that has its tables."""
    bench = MatomoResets(server, database)
    try:
        yield OrphanQueue(bench, server, database)
    finally:
        bench.queue.close()


@contextmanager
def on_postgres(server: Postgres) -> Iterator[OrphanQueue]:
    """Give a described table in a database of its own."""
    with server.database() as database:
        made = PostgresBench(server, database, heartbeat=True)
        try:
            write_url = server.account(database, TABLE_GRANTS)
            yield OrphanQueue(TableResets(made, write_url=write_url), server, database)
        finally:
            made.queue.close()


def write_config(folder: Path, queues: dict[str, Values], *, ledger: str = "", **sections: Any) -> Path:
    """Write a configuration in which this machine is asked itself."""
    ledger = ledger or f"sqlite:///{folder}/ledger.db"
    return queuemedic.write_config(folder, queues, hosts=HOSTS, ledger=ledger, **sections)


def become_nobody(patch: pytest.MonkeyPatch) -> Path:
    """Let the program run as an account without rights; return a folder that it may look into."""
    if os.geteuid() != 0:
        pytest.skip("only root can run the program as another account")
    folder = run.scratch(NOBODY)
    program = folder / "queuemedic"
    become = f"setpriv --reuid={NOBODYS_ID} --regid={NOBODYS_ID} --clear-groups"
    program.write_text(f'#!/bin/sh\nexec {become} {shlex.quote(str(queuemedic.QUEUEMEDIC))} "$@"\n')
    program.chmod(0o755)
    if subprocess.run([program, "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{NOBODY} may not run {queuemedic.QUEUEMEDIC}, which lies in a folder that is closed to others")
    patch.setattr(queuemedic, "QUEUEMEDIC", program)
    return folder


def until_alive(served: Serving, *queues: str) -> None:
    """Wait until the one job of each queue is known to have a live worker."""
    for queue in queues:
        labels = {"host": HOST, "verdict": "alive", "reason": "running"}
        served.scrape_until("worker_verdicts", 1, within=WITHIN, queue=queue, **labels)


def until_put_back(served: Serving, queue: str) -> Page:
    """Wait until the one job of a queue was put back."""
    return served.scrape_until("heals_total", 1, within=WITHIN, queue=queue, outcome="reset")


def until_refused(served: Serving, queue: str, reason: str) -> Page:
    """Wait until the one job of a queue is dead and is not put back."""
    return served.scrape_until("blocked_heals", 1, within=WITHIN, queue=queue, reason=reason)


def events(served: Serving, event: str, **about: str) -> list[str]:
    """Return the lines of an event that say these things, as the console shows them."""
    said = [f"{name}={value}" for name, value in about.items()]
    lines = served.log.splitlines()
    return [line for line in lines if event in line and all(one in line.split() for one in said)]


def changed(url: str, **parts: Any) -> str:
    """Return a URL that differs in these parts."""
    return show(make_url(url).set(**parts))


def show(url: URL) -> str:
    """Write a URL with its password."""
    return URL.render_as_string(url, hide_password=False)
