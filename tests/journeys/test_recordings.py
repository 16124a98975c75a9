"""Recorded states of a real Matomo: what the program says equals what plain SQL over the same rows says."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.options import QueueOptions
from exporter.queues.matomo.statements import SIGNALS
from exporter.tracker import Ending, History, track
from tests.builders import DAY, a_snapshot, a_waiting, an_attempt
from tests.contracts.benches import SELECT
from tests.lab import queuemedic, recordings
from tests.lab.mariadb import MariaDb
from tests.lab.recordings import RECORDINGS, TIMELINES, UTC_ZONE, Recording

KINDS = {1: "day", 2: "week", 3: "month", 4: "year", 5: "range"}
STATES = {0: "waiting", 1: "started"}
VIEW = "CREATE SQL SECURITY DEFINER VIEW matomo_queuemedic_signals AS " + SIGNALS.format(option="matomo_option")


@pytest.fixture
def replay(
    request: pytest.FixtureRequest, tmp_path: Path, private_mariadb: Callable[..., MariaDb]
) -> Iterator[Callable[[Recording], "Replay"]]:
    """Load a recording into a MariaDB of its time zone, whose clock stands still at the moment it was captured."""
    with ExitStack() as undo:

        def load(recording: Recording) -> Replay:
            recordings.shared_or_skip()
            if recording.time_zone == UTC_ZONE:
                server = request.getfixturevalue("mariadb")
            else:
                server = private_mariadb(options=[f"--default-time-zone={recording.time_zone}"])
            database = undo.enter_context(server.database())
            recordings.load(server, database, recording)
            server.set_clock(recording.captured_at, database=database)
            return Replay(server, database, recording, tmp_path)

        yield load


class Replay:
    """One recording in a database, and the program's configuration for it."""

    def __init__(self, server: MariaDb, database: str, recording: Recording, folder: Path) -> None:
        self.server, self.database, self.recording, self.folder = server, database, recording, folder
        grants = [SELECT]
        self.has_options = bool(server.sql("SHOW TABLES LIKE 'matomo_option'", database=database))
        if self.has_options:
            server.sql(VIEW, database=database)
            grants.append("SELECT ON matomo_queuemedic_signals")
        url = server.account(database, grants)
        queue = {"system": "matomo", "url": url, "poll_every": "1s"}
        self.config = queuemedic.write_config(folder, {"analytics": queue})

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows by plain SQL."""
        names = ["idinvalidation", "period", "status", "ts_invalidated", "ts_started", "processing_host", "process_id"]
        names += ["date2", "name"]
        found = self.server.sql(f"SELECT {', '.join(names)} FROM matomo_archive_invalidations", database=self.database)
        return [dict(zip(names, row, strict=True)) for row in found]

    def options(self) -> dict[str, str]:
        """Return Matomo's options, where the recording has them."""
        select = "SELECT option_name, option_value FROM matomo_option"
        return dict(self.server.sql(select, database=self.database)) if self.has_options else {}

    def age(self, started: datetime) -> float:
        """Return the age of a start time, in seconds, by the zone that the recording was made in."""
        hours = int(self.recording.time_zone[:3])
        zone = timezone(timedelta(hours=hours))
        return (self.recording.captured_at - started.replace(tzinfo=zone)).total_seconds()


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_check_says_what_the_rows_say(replay: Callable[[Recording], Replay], recording: Recording) -> None:
    """Jobs by state and kind, attempts with host, pid and age, load by host."""
    state = replay(recording)
    rows = state.rows()
    ended = queuemedic.run("--config", state.config, "check", "--json")
    assert ended.code == 0, ended.err
    (view,) = ended.json["queues"]
    counts = Counter((row["status"], row["period"]) for row in rows)
    assert (view["waiting"], view["started"]) == (recording.queued, recording.started)
    assert {(kind["kind"], kind["waiting"], kind["started"]) for kind in view["kinds"]} == {
        (name, counts[0, period], counts[1, period]) for period, name in KINDS.items()
    }
    attempts = {attempt["job_id"]: attempt for attempt in view["attempts"]}
    started = [row for row in rows if row["status"] == 1]
    assert attempts.keys() == {str(row["idinvalidation"]) for row in started}
    for row in started:
        attempt = attempts[str(row["idinvalidation"])]
        assert (attempt["host"], attempt["pid_text"]) == (row["processing_host"], row["process_id"])
        assert attempt["age_seconds"] == pytest.approx(state.age(row["ts_started"]), abs=1)
    pids: dict[str, Counter[str]] = defaultdict(Counter)
    for row in started:
        pids[row["processing_host"]][row["process_id"]] += 1
    assert {load["host"]: load for load in view["hosts"] if load["started"]} == {
        host: {
            "host": host,
            "started": by_pid.total(),
            "workers": len(by_pid),
            "max_jobs_per_worker": max(by_pid.values()),
            "stuck": 0,
            "overdue": 0,
            "oldest_started_age_seconds": pytest.approx(
                max(state.age(row["ts_started"]) for row in started if row["processing_host"] == host), abs=1
            ),
        }
        for host, by_pid in pids.items()
    }


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_the_page_says_what_the_rows_say(replay: Callable[[Recording], Replay], recording: Recording) -> None:
    """The same figures, scraped from `serve`; oldest waiting of periods already over, options through the view."""
    state = replay(recording)
    rows = state.rows()
    with queuemedic.serving(state.config, state.folder) as server:
        page = server.scrape_until("up", 1, queue="analytics")
    counts = Counter((row["status"], row["period"]) for row in rows)
    for status, name in STATES.items():
        assert page.values("jobs", "kind", queue="analytics", state=name) == {
            kind: counts[status, period] for period, kind in KINDS.items()
        }
    today = recording.captured_at.date()
    for period, kind in KINDS.items():
        over = [
            (recording.captured_at.replace(tzinfo=None) - row["ts_invalidated"]).total_seconds()
            for row in rows
            if (row["status"], row["period"]) == (0, period) and row["date2"] < today
        ]
        assert page.value("oldest_waiting_age_seconds", queue="analytics", kind=kind) == max(over, default=0)
    started = [row for row in rows if row["status"] == 1]
    hosts = {row["processing_host"] for row in started}
    for host in hosts:
        mine = [row for row in started if row["processing_host"] == host]
        assert page.value("host_started_jobs", queue="analytics", host=host) == len(mine)
        assert page.value("host_workers", queue="analytics", host=host) == len({row["process_id"] for row in mine})
        assert page.value("oldest_started_age_seconds", queue="analytics", host=host) == pytest.approx(
            max(state.age(row["ts_started"]) for row in mine), abs=1
        )
    assert page.values("host_started_jobs", "host").keys() == {*hosts, "none"}
    assert page.total("stuck_jobs") == 0
    scopes = Counter((row["status"], "segment" if len(row["name"]) > 32 else "all") for row in rows)
    assert page.value("scope_jobs", queue="analytics", state="waiting", scope="segment") == scopes[0, "segment"]
    assert page.value("scope_jobs", queue="analytics", state="started", scope="all") == scopes[1, "all"]
    options = state.options()
    assert page.value("matomo_archiving_started_timestamp_seconds", queue="analytics") == (
        float(options["LastFullArchivingStartTime"]) if state.has_options else None
    )
    assert page.value("matomo_rearchive_list_bytes", queue="analytics") == (
        len(options["ReArchiveList"]) if state.has_options else None
    )
    assert page.value("matomo_pending_invalidations", queue="analytics") == (
        sum("report_to_invalidate_" in name for name in options) if state.has_options else None
    )


def test_orphaned_rows_hold_back_what_overlaps_them(
    replay: Callable[[Recording], Replay],
) -> None:
    """Three orphaned days held back twelve rows through two complete runs; once they are overdue, that is counted."""
    state = replay(recordings.recording("orphaned-later-runs"))
    state.server.set_clock(state.recording.captured_at + timedelta(hours=5), database=state.database)
    with queuemedic.serving(state.config, state.folder) as server:
        page = server.scrape_until("up", 1, queue="analytics")
    assert page.value("jobs", queue="analytics", state="waiting", kind="day") is not None
    assert page.value("matomo_blocked_jobs", queue="analytics") == 12
    assert page.value("overdue_jobs", queue="analytics", host="vm") == 3
    assert page.value("stuck_jobs", queue="analytics", host="vm", reason="over_age") == 3


@pytest.mark.parametrize("name", TIMELINES)
def test_a_timeline_gives_the_starts_and_ends_that_happened(name: str) -> None:
    """Five samples a second of a real run: each attempt begins once and ends once, the killed run's never."""
    samples = list(recordings.timeline(name))
    options = QueueOptions()
    history = History.begin([DAY], options, aliases={})
    for number, sample in enumerate(samples):
        attempts = [
            an_attempt(
                str(row["idinvalidation"]),
                host=row["processing_host"],
                pid=row["process_id"],
                started=row["ts_started"],
                started_for="0s",
            )
            for row in sample["rows"]
        ]
        waiting = a_waiting(sample["queued"])
        history = track(history, a_snapshot(*attempts, waiting=[waiting], at=f"{number or 1}s"), options)
    seen = [{(row["idinvalidation"], row["ts_started"]) for row in sample["rows"]} for sample in samples]
    started = sum(len(now - before) for before, now in pairwise(seen))
    ended = sum(len(before - now) for before, now in pairwise(seen))
    assert history.attempts_started[DAY] == started > 0
    assert history.attempts_ended[DAY, Ending.GONE] == ended
    assert started - ended == len(seen[-1]) - len(seen[0])
    totals = [sample["queued"] + sample["started"] for sample in samples]
    assert history.enqueued[DAY] == sum(max(now - before, 0) for before, now in pairwise(totals))
    assert history.ended[DAY] == sum(max(before - now, 0) for before, now in pairwise(totals))
