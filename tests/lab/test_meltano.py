"""The lab's Meltano: real runs on both databases, each end of one, and nothing left of any."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.lab import releases
from tests.lab.meltano import STATE_ID, Project, Row
from tests.lab.postgres import Postgres
from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first one to need a release installs it

MakeProject = Callable[..., Project]


def latest_with_state(project: Project) -> Row | None:
    """Return the run whose tap has said how far it is."""
    return next((row for row in project.runs() if row.payload), None)


def test_a_run_beats_every_second_and_ends_well(meltano_project: MakeProject) -> None:
    """It is in the database while it goes on, and its payload holds the last state when it is over."""
    project = meltano_project()
    with project.run(seconds=3) as run:
        begun = project.begun()
        assert (begun.id, begun.job_name, begun.ended_at) == (1, STATE_ID, None)
        assert begun.heartbeat_at is not None
        wait_until(lambda: project.runs()[0].heartbeat_at != begun.heartbeat_at, within=10, what="one more heartbeat")
        assert run.wait() == 0, run.output
        assert run.plugins() == []
    [row] = project.runs()
    assert (row.id, row.state, row.started_at) == (begun.id, "SUCCESS", begun.started_at)
    assert row.payload == {"singer_state": {"bookmarks": {"lab": {"id": 2}}}}
    assert row.ended_at is not None
    assert timedelta(seconds=2) < row.ended_at - row.started_at < timedelta(seconds=30)
    assert len(row.run_id) == 32


def test_a_tap_that_fails_fails_the_run(meltano_project: MakeProject) -> None:
    """Meltano says so by its exit code and writes the reason to the payload."""
    project = meltano_project()
    with project.run(seconds=1, end="fail") as run:
        assert run.wait() == 1
    [row] = project.runs()
    assert (row.state, row.payload["error"]) == ("FAIL", "Extractor failed")


def test_a_silent_tap_does_not_stop_the_heart(meltano_project: MakeProject) -> None:
    """A run that hangs looks alive for ever; only its payload stands still."""
    project = meltano_project()
    with project.run(seconds=1, end="hang"):
        silent = wait_until(lambda: latest_with_state(project), within=60, what="the only state is saved")
        beats = {silent.heartbeat_at}

        def have_gone_on() -> bool:
            beats.add(project.runs()[0].heartbeat_at)
            return len(beats) > 3

        wait_until(have_gone_on, within=20, what="three more heartbeats")
        [row] = project.runs()
    assert (row.state, row.payload) == ("RUNNING", silent.payload)


def test_a_killed_run_leaves_its_row_and_its_plugins(meltano_project: MakeProject) -> None:
    """The next run is refused; forced, it ends well beside the row of the dead one, whose plugins are ended by pid."""
    project = meltano_project()
    with project.run(end="hang", seconds=1) as run:
        begun = project.begun()
        wait_until(lambda: len(run.plugins()) >= 2, within=20, what="tap and target work")
        run.kill()
        assert project.runs()[0].state == "RUNNING"
        assert run.plugins() != []
    assert run.plugins() == []
    with project.run(seconds=1) as refused:
        assert refused.wait() == 1
    assert f"Another '{STATE_ID}' pipeline is already running" in " ".join(refused.output.split())
    with project.run(seconds=1, force=True) as forced:
        assert forced.wait() == 0, forced.output
    assert [(row.id, row.state) for row in project.runs()] == [(begun.id + 1, "SUCCESS"), (begun.id, "RUNNING")]


def test_3_6_0_can_be_killed_before_its_first_heartbeat(meltano_project: MakeProject) -> None:
    """RUNNING without a heartbeat, which Meltano believes for 24 hours."""
    project = meltano_project(releases.WITHOUT_FIRST_HEARTBEAT)
    row = project.kill_in_gap()
    assert (row.state, row.heartbeat_at, row.ended_at) == ("RUNNING", None, None)
    assert [left.id for left in project.runs()] == [row.id]


def test_a_run_on_postgresql(meltano_project: MakeProject, postgres: Postgres) -> None:
    """The same rows, but for the type of `run_id`."""
    with postgres.database() as database:
        project = meltano_project(database_url=postgres.root_url(database))
        with project.run(seconds=2) as run:
            assert project.begun().job_name == STATE_ID
            assert run.wait() == 0, run.output
        [row] = project.runs()
        assert (row.state, row.payload["singer_state"]["bookmarks"]) == ("SUCCESS", {"lab": {"id": 1}})
        assert len(row.run_id) == 36
        assert not project.database_file.exists()


def test_a_command_runs_to_its_end(meltano_project: MakeProject) -> None:
    """Its version is the newest known to the lab."""
    code, output = meltano_project().command("--version")
    assert (code, output.split()[-1]) == (0, releases.NEWEST)


def test_what_cannot_be_installed_is_tried_once_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no package index answers, each test would wait for pip; and nothing half made is used later."""
    lists = tmp_path / "lists"
    lists.mkdir()
    packages = lists / "0.0.0.txt"
    packages.write_text("./no-such-package.whl\n")
    monkeypatch.setattr(releases, "LISTS", lists)
    monkeypatch.setattr(releases, "CACHE", tmp_path / "cache")
    with pytest.raises(NotInstalled, match=r"Meltano 0\.0\.0 cannot be installed: ERROR: ") as first:
        releases.meltano("0.0.0")
    monkeypatch.setattr(releases, "PIP", ["--not-an-option"])
    with pytest.raises(NotInstalled) as second:
        releases.meltano("0.0.0")
    assert str(second.value) == str(first.value)
