"""What a status page may have to show, as views: a fleet in every state, without a program behind it.

`serve_source` serves such a scene with the program's own web server, in a thread. Real data come from a real program;
this is for what takes a real program long to get into, or a thousand databases.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn

from exporter import clock
from exporter.facts import HostFacts, StuckReason
from exporter.series import Point, Series
from exporter.showing import Glance
from exporter.views import (
    AttemptView,
    HealingView,
    HealView,
    HostView,
    KindView,
    ListedQueueView,
    LoadView,
    PauseView,
    QueueView,
)
from exporter.web.app import make_app
from exporter.web.papers import Papers
from exporter.web.server import listen
from exporter.web.source import LookBack, Source
from tests.lab.waiting import wait_until

NOW = clock.now()
SECONDS = 100_000.0
"""What the clock of points says then."""


def a_queue(name: str = "analytics", **known: Any) -> QueueView:
    """Return a queue that is well: three of its 120 jobs are started."""
    ordinary: dict[str, Any] = {
        "queue": name,
        "system": "matomo",
        "up": True,
        "error": None,
        "schema_version": "5.3",
        "role": "primary",
        "read_at": NOW - timedelta(seconds=4),
        "stuck_after_seconds": 7200.0,
        "timeout_after_seconds": 14400.0,
        "run_expected_every_seconds": 3600.0,
        "poll_interval_seconds": 15.0,
        "database_clock_offset_seconds": 0.01,
        "waiting": 117,
        "started": 3,
        "stuck": 0,
        "stuck_reasons": {},
        "stuck_alive": 0,
        "overdue": 0,
        "orphaned": 0,
        "unjudged": 0,
        "kinds": (
            KindView(kind="day", waiting=90, started=3, oldest_waiting_age_seconds=1260.0),
            KindView(kind="month", waiting=27, started=0, oldest_waiting_age_seconds=900.0),
        ),
        "hosts": (a_load("web01", started=3),),
        "scopes": (),
        "reports": (),
        "signals": {},
        "healing": HealingView(mode="reset", breaker_open=False, quarantined=0, blocked={}, passed_at=NOW),
        "attempts": (),
    }
    return QueueView(**{**ordinary, **known})


def glance_at(view: QueueView) -> Glance:
    """Return the glance at a queue that has this view."""
    same = {name: getattr(view, name) for name in Glance.__slots__ if name in QueueView.model_fields}
    ages = [kind.oldest_waiting_age_seconds for kind in view.kinds if kind.oldest_waiting_age_seconds is not None]
    hosts = {
        load.host: HostFacts(
            started=load.started,
            workers=load.workers,
            max_jobs_per_worker=load.max_jobs_per_worker,
            overdue=load.overdue,
            stuck={StuckReason.OVER_AGE: load.stuck},
            oldest_age=None if (age := load.oldest_started_age_seconds) is None else timedelta(seconds=age),
            oldest_worker_at=None,
        )
        for load in view.hosts
    }
    return Glance(**{**same, "hosts": hosts}, oldest_waiting_age_seconds=max(ages, default=None) or None)


def a_dead_queue(
    name: str = "analytics", *, error: str | None = "Can't connect to MySQL server on 'db01'"
) -> QueueView:
    """Return a queue that was never read."""
    uncounted = ("waiting", "started", "stuck", "stuck_reasons", "stuck_alive", "overdue", "orphaned", "unjudged")
    unread = ("schema_version", "role", "read_at", "database_clock_offset_seconds")
    nothing: dict[str, Any] = dict.fromkeys(("kinds", "hosts", "scopes", "reports", "attempts"), ())
    return a_queue(name, up=False, error=error, signals={}, **dict.fromkeys((*uncounted, *unread)), **nothing)


def a_load(host: str = "web01", **known: Any) -> LoadView:
    """Return the load of a host that has one job."""
    ordinary: dict[str, Any] = {
        "host": host,
        "started": 1,
        "workers": 1,
        "max_jobs_per_worker": 1,
        "stuck": 0,
        "overdue": 0,
        "oldest_started_age_seconds": 340.0,
    }
    return LoadView(**{**ordinary, **known})


def a_job(job_id: str = "318", **known: Any) -> AttemptView:
    """Return a started job whose worker is alive."""
    ordinary: dict[str, Any] = {
        "queue": "analytics",
        "job_id": job_id,
        "kind": "day",
        "host": "web01",
        "pid": 20894,
        "pid_text": "20894",
        "age_seconds": 340.0,
        "enqueued_age_seconds": 900.0,
        "heartbeat_age_seconds": None,
        "stuck_reason": None,
        "is_overdue": False,
        "detail": {"site": 2, "date1": "2026-11-21", "scope": "all"},
        "verdict": "alive",
        "verdict_reason": "running",
        "evidence": {"hostname": "web01", "boot_id": "3f9c", "pid": 20894, "presence": "present", "states": "S"},
    }
    return AttemptView(**{**ordinary, **known})


def a_host(host: str = "web01", **known: Any) -> HostView:
    """Return a host that answers."""
    ordinary: dict[str, Any] = {
        "host": host,
        "up": True,
        "reason": None,
        "error": None,
        "load_average": 0.84,
        "processors": 2,
        "answered_at": NOW - timedelta(seconds=3),
        "worker_memory_bytes": 180_000_000,
        "worker_memory_limit_bytes": 536_870_912,
    }
    return HostView(**{**ordinary, **known})


def a_heal(job_id: str = "317", **known: Any) -> HealView:
    """Return a job that was put back."""
    ordinary: dict[str, Any] = {
        "queue": "analytics",
        "job_id": job_id,
        "kind": "day",
        "host": "web02",
        "pid_text": "20911",
        "result": "reset",
        "refusal": None,
        "detail": "",
        "verdict": "dead",
        "verdict_reason": "no_process",
        "evidence": {},
        "age_seconds": None,
        "first_dead_at": NOW - timedelta(minutes=3),
        "at": NOW - timedelta(minutes=2),
        "actor": "serve",
        "instance": "watch01:42",
        "row": None,
    }
    return HealView(**{**ordinary, **known})


def a_series(hours: float = 6.0, *, waiting: int = 1300, down_for: float = 0.0) -> Series:
    """Return a backlog that is worked off, with an hour in which nothing could be read if `down_for` says so."""
    series, polls = Series(), int(hours * 240)
    for number in range(polls + 1):
        done = number / max(polls, 1)
        at = SECONDS - (polls - number) * 15.0
        is_down = SECONDS - 2 * 3600 - down_for * 3600 < at <= SECONDS - 2 * 3600
        left = None if is_down else int(waiting * (1 - done) + 40 * (number % 60) / 60)
        series.note(at, waiting=left, enqueued=number // 2, ended=int(done * waiting) + number // 3)
    return series


def make_scene(
    queues: Sequence[QueueView] = (),
    *,
    hosts: Sequence[HostView] = (),
    heals: Sequence[HealView] = (),
    pauses: Sequence[PauseView] = (),
    points: Mapping[str, Sequence[Point]] | None = None,
    fault: str | None = None,
    is_kept: bool = True,
) -> Source:
    """Return a source that always says the same."""
    by_name = {view.queue: view for view in queues}
    listed = [
        ListedQueueView(**{name: value for name, value in dict(view).items() if name not in ("attempts", "groups")})
        for view in queues
    ]
    glances = {view.queue: glance_at(view) for view in queues}
    back = LookBack(heals=tuple(heals), pauses=tuple(pauses), fault=fault, is_kept=is_kept)
    return Source(
        glance=glances.get,
        glances=lambda: [*glances.values()],
        list_queues=lambda: listed,
        show_queue=by_name.get,
        worst_attempts=lambda name, number: by_name[name].attempts[:number],
        points=lambda name: (points or {}).get(name, ()),
        list_hosts=lambda: list(hosts),
        look_back=lambda: back,
        seconds=lambda: SECONDS,
    )


@contextmanager
def serve_source(source: Source, *, papers: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Serve a scene as the program would and return its address."""
    app = make_app(
        lambda *_: b"",
        find_page=lambda *_: b"",
        version="0.1.0",
        source=source,
        papers=Papers(papers or {}),
        find_unready=lambda: (),
    )
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="scene")
        thread.start()
        try:
            wait_until(lambda: server.started, within=10, what="the scene is served")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
