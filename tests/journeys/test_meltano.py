"""The real Meltano, watched: what the program says of its runs, and that watching does a run no harm."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.jobs import Attempt, QueueName
from exporter.queues.meltano import MeltanoOptions, MeltanoQueue
from tests.lab import processes, queuemedic, releases
from tests.lab.meltano import STATE_ID, Project, Row
from tests.lab.postgres import Postgres
from tests.lab.queuemedic import Ended, Page
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first test to need a release of Meltano installs it

MakeProject = Callable[..., Project]
Watched = tuple[Project, dict[str, object]]
FAST = {"poll_every": "1s", "poll_timeout": "5s", "stuck_after": "5s", "max_duty": 1}
POLLS_PER_SECOND = 200
HARMLESS_GAP = timedelta(seconds=3)


@pytest.fixture
def project(meltano_project: MakeProject) -> Project:
    """A project of the newest release, on SQLite."""
    return meltano_project()


@pytest.fixture(params=["sqlite", "postgresql"])
def watched(request: pytest.FixtureRequest, meltano_project: MakeProject) -> Iterator[Watched]:
    """A project that has no runs yet, and its queue: by its folder, or on PostgreSQL by an account of its own."""
    if request.param == "sqlite":
        project = meltano_project()
        make_tables(project)
        yield project, {"system": "meltano", "project": str(project.folder), **FAST}
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as database:
        project = meltano_project(database_url=postgres.root_url(database))
        make_tables(project)
        url = postgres.account(database, ["SELECT ON runs"])
        yield project, {"system": "meltano", "url": url, **FAST}


def make_tables(project: Project) -> None:
    """Let Meltano make its tables, without a run."""
    code, output = project.command("schedule", "list")
    assert code == 0, output
    assert project.runs() == []


def seconds_of(row: Row) -> float:
    """Return how long a run took, by plain SQL."""
    assert row.ended_at is not None
    return (row.ended_at - row.started_at).total_seconds()


def heartbeats_of(attempt: Attempt) -> Iterator[datetime]:
    """Read the heartbeat of an attempt, on SQLite."""
    yield from (datetime.fromisoformat(str(beat)).replace(tzinfo=UTC) for beat in attempt.claim.rests_on)


def of_job(page: Page, name: str, **labels: str) -> float | None:
    """Return a sample of the lab's job."""
    return page.value(name, queue="pipelines", kind=STATE_ID, **labels)


def test_a_run_is_watched_from_start_to_end(watched: Watched, tmp_path: Path) -> None:
    """Started with a young heartbeat while it goes on, then a success that is dated and timed as its row says."""
    project, queue = watched
    with queuemedic.serving(queuemedic.write_config(tmp_path, {"pipelines": queue}), tmp_path) as served:
        served.scrape_until("up", 1, queue="pipelines")
        with project.run(seconds=6) as run:
            page = served.scrape_until("jobs", 1, queue="pipelines", kind=STATE_ID, state="started", within=60)
            assert 0 <= (of_job(page, "heartbeat_age_seconds") or 0) < 5
            assert of_job(page, "meltano_runs_total", outcome="success") in {None, 0}
            assert run.wait() == 0, run.output
        page = served.scrape_until("meltano_runs_total", 1, queue="pipelines", kind=STATE_ID, outcome="success")
    [row] = project.runs()
    assert row.ended_at is not None
    assert of_job(page, "meltano_last_success_timestamp_seconds") == pytest.approx(row.ended_at.timestamp(), abs=0.1)
    assert of_job(page, "meltano_last_duration_seconds") == pytest.approx(seconds_of(row), abs=0.002)
    assert of_job(page, "attempt_duration_seconds_count") == 1
    assert of_job(page, "attempt_duration_seconds_sum") == pytest.approx(seconds_of(row), abs=0.002)
    assert of_job(page, "attempts_started_total") == of_job(page, "jobs_ended_total") == 1
    assert of_job(page, "jobs", state="started") == 0
    assert page.total("stuck_jobs", queue="pipelines") == page.total("meltano_runs_total", outcome="fail") == 0


def test_a_run_that_fails_is_counted_as_such(watched: Watched, tmp_path: Path) -> None:
    """It is no success of any date, and how long it took is not published."""
    project, queue = watched
    with queuemedic.serving(queuemedic.write_config(tmp_path, {"pipelines": queue}), tmp_path) as served:
        served.scrape_until("up", 1, queue="pipelines")
        with project.run(seconds=1, end="fail") as run:
            assert run.wait() == 1
        page = served.scrape_until("meltano_runs_total", 1, queue="pipelines", kind=STATE_ID, outcome="fail")
    assert of_job(page, "meltano_last_success_timestamp_seconds") is None
    assert (of_job(page, "attempt_duration_seconds_count") or 0) == 0


def test_a_killed_run_is_stuck_and_holds_up_the_next(watched: Watched, tmp_path: Path) -> None:
    """Its heartbeat is lost after `stuck_after`, Meltano refuses to start another, and `check` says so to a script."""
    project, queue = watched
    config = queuemedic.write_config(tmp_path, {"pipelines": queue})
    with queuemedic.serving(config, tmp_path) as served:
        served.scrape_until("up", 1, queue="pipelines")
        with project.run() as run:
            project.begun()
            served.scrape_until("jobs", 1, queue="pipelines", kind=STATE_ID, state="started")
            assert served.scrape().total("stuck_jobs", queue="pipelines") == 0
            run.kill()
        served.scrape_until("stuck_jobs", 1, queue="pipelines", host="none", reason="heartbeat_lost")
        with project.run(seconds=1) as refused:
            assert refused.wait() == 1
        assert f"Another '{STATE_ID}' pipeline is already running" in " ".join(refused.output.split())
    checked = queuemedic.run("--config", config, "check", "--json")
    (attempt,) = checked.json["queues"][0]["attempts"]
    assert (checked.code, attempt["stuck_reason"], attempt["kind"]) == (1, "heartbeat_lost", STATE_ID)


def test_a_run_of_3_6_0_that_never_beat_was_never_initialised(meltano_project: MakeProject, tmp_path: Path) -> None:
    """Meltano itself waits 24 hours for it, whatever its release."""
    project = meltano_project(releases.WITHOUT_FIRST_HEARTBEAT)
    row = project.kill_in_gap()
    queue = {"system": "meltano", "project": str(project.folder), **FAST}
    config = queuemedic.write_config(tmp_path, {"pipelines": queue})

    def stuck() -> Ended | None:
        ended = queuemedic.run("--config", config, "check", "--json")
        return ended if ended.code == 1 else None

    checked = wait_until(stuck, within=30, what="the run is stuck")
    (attempt,) = checked.json["queues"][0]["attempts"]
    assert (attempt["job_id"], attempt["stuck_reason"]) == (str(row.id), "never_initialised")
    assert attempt["heartbeat_age_seconds"] is None


def test_two_hundred_polls_a_second_do_a_run_no_harm(project: Project) -> None:
    """On SQLite each poll may meet a heartbeat: the run beats on, ends well, and never finds its database locked."""
    make_tables(project)
    options = MeltanoOptions.model_validate({"project": project.folder})
    kept, polls = MeltanoQueue(QueueName("kept"), options), 0
    beats: set[datetime] = set()
    due = time.monotonic()
    with project.run(seconds=10) as run:
        while processes.look(run.pid) is not None:
            with closing(MeltanoQueue(QueueName("fresh"), options)) as fresh:
                fresh.read(None)
            beats |= {beat for attempt in kept.read(None).started for beat in heartbeats_of(attempt)}
            polls += 2
            due += 2 / POLLS_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
        assert run.wait() == 0, run.output
        assert "locked" not in run.output
    kept.close()
    [row] = project.runs()
    assert row.ended_at is not None
    assert polls > 100  # a busy machine has not the time for more
    assert (seconds_of(row) > 9, len(beats) >= 9) == (True, True), (row, beats)
    instants = [row.started_at, *sorted(beats), row.ended_at]
    assert max(later - earlier for earlier, later in pairwise(instants)) <= HARMLESS_GAP


def test_a_project_folder_needs_no_configuration(project: Project) -> None:
    """`check` in the folder finds the system database of a project as Meltano left it."""
    before = queuemedic.run("check", folder=project.folder)
    assert before.code == 3, before.out
    with project.run():
        project.begun()
        during = queuemedic.run("check", "--json", folder=project.folder)
    (queue,) = during.json["queues"]
    assert (during.code, queue["queue"], queue["started"]) == (0, "meltano", 1)


def test_a_project_on_postgresql_needs_no_configuration(meltano_project: MakeProject, postgres: Postgres) -> None:
    """The URL in meltano.yml is Meltano's own, with its rights."""
    with postgres.database() as database:
        project = meltano_project(database_url=postgres.root_url(database))
        with project.run():
            project.begun()
            checked = queuemedic.run("check", "--json", folder=project.folder)
    (queue,) = checked.json["queues"]
    assert (checked.code, queue["started"], queue["attempts"][0]["kind"]) == (0, 1, STATE_ID)
