"""System databases of real Meltano releases: what the program says equals what plain SQL over the same rows says."""

import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.lab import queuemedic
from tests.lab.postgres import Postgres
from tests.lab.recordings import shared_or_skip

RECORDINGS = (
    "3.6.0-killed",
    "3.6.0-noheartbeat",
    "3.6.0-running",
    "4.4.1-dblocked",
    "4.4.1-forced",
    "4.4.1-history",
    "4.4.1-killed",
    "4.4.1-noheartbeat",
    "4.4.1-resurrected",
    "4.4.1-running",
    "4.4.1-stalefailed",
    "4.4.1-postgres15",
)
EPHEMERAL = "2026-11-22T065156--tap-slow--target-null"
SELECT = "SELECT id, job_name, state, started_at, ended_at, run_id, trigger, last_heartbeat_at FROM runs"
EVER = "36500d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of `runs`, its times in UTC."""

    id: int
    job: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    run_id: str
    trigger: str
    heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording where the program can read it, and its runs by plain SQL, without edits of state."""

    url: str
    runs: list[Run]

    @property
    def running(self) -> list[Run]:
        """Those that are running, or left so."""
        return [run for run in self.runs if run.state == "RUNNING"]


@pytest.fixture(params=RECORDINGS)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recorded]:
    """Each recording: a copy of the file, or the dump in a database of its own."""
    folder = shared_or_skip("meltano")
    if request.param.endswith("postgres15"):
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database() as name:
            with psycopg.connect(postgres.root_url(name).replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute((folder / f"meltano-{request.param}.sql").read_bytes())
            rows = postgres.sql(SELECT, database=name)
            url = postgres.account(name, ["SELECT ON runs"])
            yield Recorded(url=url, runs=[run for row in rows if (run := read(row))])
        return
    file = tmp_path / "meltano.db"
    shutil.copy(folder / f"meltano-{request.param}.db", file)
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(SELECT).fetchall()
    yield Recorded(url=f"sqlite:///{file}", runs=[run for row in rows if (run := read(row))])


def read(row: tuple[Any, ...]) -> Run | None:
    """Read a row; edits of state are no runs."""
    number, job, state, started, ended, run_id, trigger, heartbeat = row
    if state == "STATE_EDIT":
        return None
    started_at = instant(started)
    assert started_at is not None
    return Run(
        id=number,
        job="ephemeral" if job == EPHEMERAL else job,
        state=state,
        started_at=started_at,
        ended_at=instant(ended),
        run_id=str(UUID(str(run_id))),
        trigger=trigger,
        heartbeat_at=instant(heartbeat),
    )


def instant(value: datetime | str | None) -> datetime | None:
    """Read a naive UTC time of either database."""
    if value is None:
        return None
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).replace(tzinfo=UTC)


def age(then: datetime | None) -> float | None:
    """Return how long ago something was, in seconds."""
    return None if then is None else (datetime.now(UTC) - then).total_seconds()


def test_check_says_what_the_rows_say(recorded: Recorded, tmp_path: Path) -> None:
    """Every running row with its ages and why it is stuck; nobody has written a heartbeat since the recording."""
    config = queuemedic.write_config(tmp_path, {"pipelines": {"system": "meltano", "url": recorded.url}})
    ended = queuemedic.run("--config", config, "check", "--json")
    (view,) = ended.json["queues"]
    assert ended.code == (1 if recorded.running else 0), ended.err
    assert (view["up"], view["waiting"], view["started"], view["schema_version"]) == (
        True,
        0,
        len(recorded.running),
        "2.2",
    )
    counts = Counter(run.job for run in recorded.running)
    expected = {run.job: counts[run.job] for run in recorded.runs}
    assert {kind["kind"]: kind["started"] for kind in view["kinds"]} == expected
    attempts = {attempt["job_id"]: attempt for attempt in view["attempts"]}
    assert attempts.keys() == {str(run.id) for run in recorded.running}
    for run in recorded.running:
        attempt = attempts[str(run.id)]
        assert attempt["age_seconds"] == pytest.approx(age(run.started_at), abs=5)
        assert attempt["heartbeat_age_seconds"] == (
            None if run.heartbeat_at is None else pytest.approx(age(run.heartbeat_at), abs=5)
        )
        assert attempt["stuck_reason"] == ("heartbeat_lost" if run.heartbeat_at else "never_initialised")
        assert (attempt["host"], attempt["pid"]) == (None, None)
        assert (attempt["detail"]["run_id"], attempt["detail"]["trigger"]) == (run.run_id, run.trigger)


def test_the_page_says_what_the_rows_say(recorded: Recorded, tmp_path: Path) -> None:
    """Last successes and their durations to the millisecond, heartbeats, and how many runs ever had one."""
    queue = {"system": "meltano", "url": recorded.url, "poll_every": "1s", "timeout_window": EVER}
    config = queuemedic.write_config(tmp_path, {"pipelines": queue})
    with queuemedic.serving(config, tmp_path) as server:
        page = server.scrape_until("up", 1, queue="pipelines")
        offset = page.value("database_clock_offset_seconds", queue="pipelines")
    assert offset == pytest.approx(0, abs=1)
    jobs = {run.job for run in recorded.runs}
    running = Counter(run.job for run in recorded.running)
    assert page.values("jobs", "kind", queue="pipelines", state="started") == {job: running[job] for job in jobs}
    assert page.values("jobs", "kind", queue="pipelines", state="waiting") == dict.fromkeys(jobs, 0)
    successes: dict[str, list[Run]] = defaultdict(list)
    for run in recorded.runs:
        if run.state == "SUCCESS":
            successes[run.job].append(run)
    last = {job: max(runs, key=lambda run: run.ended_at or run.started_at) for job, runs in successes.items()}
    assert page.values("meltano_last_success_timestamp_seconds", "kind", queue="pipelines") == {
        job: pytest.approx(run.ended_at.timestamp(), abs=0.1) for job, run in last.items() if run.ended_at
    }
    assert page.values("meltano_last_duration_seconds", "kind", queue="pipelines") == {
        job: pytest.approx((run.ended_at - run.started_at).total_seconds(), abs=0.002)
        for job, run in last.items()
        if run.ended_at
    }
    silent = {
        job: max((age(run.heartbeat_at) or 0 for run in recorded.running if run.job == job), default=0) for job in jobs
    }
    assert page.values("heartbeat_age_seconds", "kind", queue="pipelines") == pytest.approx(silent, abs=10)
    never = [run for run in recorded.runs if run.heartbeat_at is None]
    assert page.value("initialisation_ratio", queue="pipelines") == 1 - len(never) / len(recorded.runs)
    for reason, number in Counter(
        "heartbeat_lost" if run.heartbeat_at else "never_initialised" for run in recorded.running
    ).items():
        assert page.value("stuck_jobs", queue="pipelines", host="none", reason=reason) == number
    assert page.total("meltano_runs_total") == page.total("jobs_ended_total") == 0
