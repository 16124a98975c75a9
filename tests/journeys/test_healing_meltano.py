"""The real Meltano, healed: a run that was killed is failed as Meltano fails it, one that lives is left alone.

A run counts as silent after 30 s (healers/runs.py, LOST_AFTER), so what must not be healed is watched beside what must:
when the killed run is healed, the others were silent for as long, or longer.
"""

import json
import os
import pwd
import re
import signal
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from healers.outcomes import Outcome
from healers.resets.meltano import ERROR
from healers.verdicts import Reason
from tests.contracts.reset_benches import MELTANO_GRANTS
from tests.lab import queuemedic, releases
from tests.lab.meltano import STATE_ID, Project, Row, Run
from tests.lab.orphans import FAST, HEALING, HOST, HOSTS, NOBODYS_ID, become_nobody
from tests.lab.postgres import Postgres
from tests.lab.queuemedic import Page, Serving
from tests.lab.waiting import wait_until
from tests.lab.watchdog import Written, ledger_of, read_ledger

pytestmark = pytest.mark.timeout(600)  # the first test to need a release of Meltano installs it

MakeProject = Callable[..., Project]
Values = dict[str, Any]
HEALED_WITHIN = 180.0
SEEN_WITHIN = 60.0
BEHIND = timedelta(minutes=10)
LOCKED_SECONDS = 400
SILENT_SECONDS = 35
MELTANOS_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


class Database(ABC):
    """A kind of system database, and what can happen to one."""

    @abstractmethod
    def make(self) -> Project:
        """Make a project that has such a database."""

    @abstractmethod
    def section(self, project: Project) -> Values:
        """Say where the runs of a project are watched and healed."""

    @abstractmethod
    def set_clock_behind(self, project: Project) -> None:
        """Let each time that Meltano writes be ten minutes older, as if its machine's clock were."""

    @abstractmethod
    def locked(self, project: Project) -> AbstractContextManager[object]:
        """Keep Meltano from writing heartbeats meanwhile."""

    def row(self, project: Project, number: int) -> Values:
        """Return a whole row by plain SQL, its times as text."""
        names = "id, job_name, state, started_at, ended_at, payload, payload_flags, run_id, trigger, last_heartbeat_at"
        texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in names.split(", "))
        [values] = project.sql(f"SELECT {texts} FROM runs WHERE id = {number}")
        return dict(zip(names.split(", "), values, strict=True))


class Sqlite(Database):
    """A file in the project's folder; Meltano itself waits long enough for a lock (`timeout` of sqlite3, else 5 s)."""

    def __init__(self, make_project: MakeProject) -> None:
        self._make_project = make_project

    def make(self) -> Project:
        project = self._make_project()
        url = f"sqlite:///{project.database_file}?timeout={LOCKED_SECONDS}"
        (project.folder / ".env").write_text(f"MELTANO_DATABASE_URI={url}\n")
        return project

    def section(self, project: Project) -> Values:
        return {"url": f"sqlite:///{project.database_file}"}

    def set_clock_behind(self, project: Project) -> None:
        shifted = f"strftime('%Y-%m-%d %H:%M:%f000', NEW.{{}}, '-{BEHIND.total_seconds():.0f} seconds')"
        project.sql(
            "CREATE TRIGGER lab_beat AFTER UPDATE OF last_heartbeat_at ON runs BEGIN"
            f" UPDATE runs SET last_heartbeat_at = {shifted.format('last_heartbeat_at')} WHERE id = NEW.id; END"
        )
        project.sql(
            "CREATE TRIGGER lab_start AFTER INSERT ON runs BEGIN UPDATE runs SET last_heartbeat_at = last_heartbeat_at,"
            f" started_at = {shifted.format('started_at')} WHERE id = NEW.id; END"
        )

    @contextmanager
    def locked(self, project: Project) -> Iterator[None]:
        with closing(sqlite3.connect(project.database_file, isolation_level=None, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield


class Postgresql(Database):
    """A database on the run's server, with an account that watches and one that heals."""

    def __init__(self, make_project: MakeProject, server: Postgres, undo: ExitStack) -> None:
        self._make_project, self._server, self._undo = make_project, server, undo
        self._names: dict[Path, str] = {}

    def make(self) -> Project:
        name = self._undo.enter_context(self._server.database())
        project = self._make_project(database_url=self._server.root_url(name))
        self._names[project.folder] = name
        make_tables(project)
        return project

    def section(self, project: Project) -> Values:
        name = self._names[project.folder]
        url = self._server.account(name, ["SELECT ON runs"])
        return {"url": url, "healing": {**HEALING, "write_url": self._server.account(name, MELTANO_GRANTS)}}

    def set_clock_behind(self, project: Project) -> None:
        behind = f"interval '{BEHIND.total_seconds():.0f} seconds'"
        project.sql(
            "CREATE FUNCTION lab_clock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF TG_OP = 'INSERT' THEN NEW.started_at := NEW.started_at - {behind}; END IF;"
            " IF TG_OP = 'INSERT' OR NEW.last_heartbeat_at IS DISTINCT FROM OLD.last_heartbeat_at THEN"
            f" NEW.last_heartbeat_at := NEW.last_heartbeat_at - {behind}; END IF; RETURN NEW; END $$"
        )
        project.sql(
            "CREATE TRIGGER lab_clock BEFORE INSERT OR UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION lab_clock()"
        )

    @contextmanager
    def locked(self, project: Project) -> Iterator[None]:
        url = self._server.root_url(self._names[project.folder]).replace("+psycopg", "")
        with psycopg.connect(url) as session:
            session.execute("SELECT id FROM runs FOR UPDATE")
            yield
            session.rollback()


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is to be undone at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest, meltano_project: MakeProject, undo: ExitStack) -> Database:
    """Each kind of system database."""
    if request.param == "sqlite":
        return Sqlite(meltano_project)
    return Postgresql(meltano_project, request.getfixturevalue("postgres"), undo)


def make_tables(project: Project) -> None:
    """Let Meltano make its tables, without a run."""
    code, output = project.command("schedule", "list")
    assert code == 0, output


def name_folder(project: Project) -> None:
    """Let the tap keep the arguments that Meltano gives it, as taps do: files of its own in the project's folder."""
    file = project.folder / "tap.sh"
    file.write_text(file.read_text().replace(" tap\n", ' tap "$@"\n'))


def write_config(folder: Path, queues: Mapping[str, tuple[Project, Values]], **changes: Any) -> Path:
    """Write a configuration that heals these projects, whose runs this machine alone may run."""
    account = pwd.getpwuid(os.geteuid()).pw_name
    sections = {
        name: {
            "system": "meltano",
            "project": str(project.folder),
            "workers_on": [HOST],
            "workers_user": account,
            "healing": HEALING,
            **FAST,
            **section,
            **changes,
        }
        for name, (project, section) in queues.items()
    }
    return queuemedic.write_config(folder, sections, hosts=HOSTS, ledger=f"sqlite:///{folder}/ledger.db")


def judged(served: Serving, queue: str, verdict: str, reason: str) -> Page:
    """Scrape until the one run of a queue is judged so."""
    labels = {"host": "none", "verdict": verdict, "reason": reason}
    return served.scrape_until("worker_verdicts", 1, within=SEEN_WITHIN, queue=queue, **labels)


def healed(served: Serving, queue: str) -> Page:
    """Scrape until a run of a queue was put back."""
    return served.scrape_until("heals_total", 1, within=HEALED_WITHIN, queue=queue, outcome="reset")


def until_silent_for_long(served: Serving) -> None:
    """Wait until polls were read for longer than a run may be silent."""
    began = served.scrape().value("snapshot_timestamp_seconds", queue="pipelines") or 0
    wait_until(
        lambda: (served.scrape().value("snapshot_timestamp_seconds", queue="pipelines") or 0) > began + SILENT_SECONDS,
        within=HEALED_WITHIN,
        what="the run was silent for long",
    )


def saved_bookmarks(project: Project, *, last: int = 0) -> Row:
    """Wait until Meltano has saved so many bookmarks of the run that goes on, and return its row."""

    def found() -> Row | None:
        rows = project.runs()
        return rows[0] if rows and rows[0].payload["singer_state"]["bookmarks"]["lab"]["id"] >= last else None

    return wait_until(found, within=SEEN_WITHIN, what="bookmarks are saved")


def beats_on(project: Project) -> bool:
    """Wait until the newest run writes another heartbeat, and tell whether it still runs."""
    [before, *_] = project.runs()
    wait_until(
        lambda: project.runs()[0].heartbeat_at != before.heartbeat_at, within=SEEN_WITHIN, what="the run beats on"
    )
    return project.runs()[0].state == "RUNNING"


def is_refused(project: Project) -> bool:
    """Tell whether Meltano refuses to run the same job again."""
    with project.run(seconds=1) as again:
        return again.wait() == 1 and f"Another '{STATE_ID}' pipeline is already running" in joined(again)


def goes_through(project: Project) -> bool:
    """Tell whether Meltano runs the same job again, without --force."""
    with project.run(seconds=1) as again:
        assert again.wait() == 0, again.output
    return project.runs()[0].state == "SUCCESS"


def joined(started: Run) -> str:
    """Return what Meltano has printed, as one line."""
    return " ".join(started.output.split())


def send(started: Run, number: signal.Signals) -> None:
    """Signal a run with its plugins."""
    for process in started.plugins():
        process.send(number)
    os.kill(started.pid, number)


def ledger_at_end(served: Serving, config: Path) -> Written:
    """End the program, and read its ledger."""
    assert "Traceback" not in served.log
    assert served.stop() == 0
    with ledger_of(config) as ledger:
        return read_ledger(ledger)


def assert_failed_as_meltano_does(before: Values, after: Values) -> None:
    """Compare two whole rows: state, time of detection and error are those of a failed run, all else stays."""
    assert after["state"] == "FAIL"
    assert MELTANOS_TIME.fullmatch(after["ended_at"]), after
    assert datetime.fromisoformat(after["ended_at"]) > datetime.fromisoformat(before["last_heartbeat_at"])
    assert json.loads(after["payload"]) == {**json.loads(before["payload"]), "error": ERROR}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"state", "ended_at", "payload"}


def test_a_killed_run_is_failed_and_the_next_goes_through_while_live_ones_are_left(
    database: Database, undo: ExitStack, tmp_path: Path
) -> None:
    """Left alone: a run that is stopped, one that cannot write its heartbeat, and one whose clock is behind."""
    projects = {name: database.make() for name in ("killed", "frozen", "locked", "behind")}
    killed, locked, behind = projects["killed"], projects["locked"], projects["behind"]
    make_tables(behind)
    database.set_clock_behind(behind)
    runs = {name: undo.enter_context(project.run(seconds=3600)) for name, project in projects.items()}
    begun = {name: saved_bookmarks(project) for name, project in projects.items()}
    config = write_config(tmp_path, {name: (project, database.section(project)) for name, project in projects.items()})
    with queuemedic.serving(config, tmp_path) as served:
        for name in projects:
            judged(served, name, "alive", "running")
        send(runs["frozen"], signal.SIGSTOP)
        lock = undo.enter_context(ExitStack())
        lock.enter_context(database.locked(locked))
        silent = {name: projects[name].runs() for name in ("frozen", "locked")}
        runs["killed"].kill()
        before = database.row(killed, begun["killed"].id)
        assert is_refused(killed)
        judged(served, "frozen", "alive", "frozen")
        assert killed.runs()[0].state == "RUNNING"

        healed(served, "killed")
        assert_failed_as_meltano_does(before, database.row(killed, begun["killed"].id))
        assert goes_through(killed)

        assert {name: projects[name].runs() for name in silent} == silent
        judged(served, "frozen", "alive", "frozen")
        page = judged(served, "locked", "alive", "running")
        assert page.value("stuck_jobs", queue="locked", host="none", reason="heartbeat_lost") == 1
        judged(served, "behind", "alive", "running")
        send(runs["frozen"], signal.SIGCONT)
        lock.close()
        assert [beats_on(projects[name]) for name in ("frozen", "locked", "behind")] == [True] * 3
        page = served.scrape()
        assert [page.value("heals_total", queue=name, outcome="reset") for name in projects] == [1, 0, 0, 0]
        written = ledger_at_end(served, config)
    assert behind.runs()[0].heartbeat_at is not None
    assert [(one.intent.key.queue, one.outcome) for one in written.resets] == [("killed", Outcome.RESET)]
    assert written.resets[0].intent.reason is Reason.HEARTBEAT_LOST
    assert {refusal.reason for refusal in written.refusals if refusal.key.queue != "killed"} <= {"unknown"}
    assert written.fault is None


@pytest.mark.long
def test_a_run_of_3_6_0_that_was_killed_before_its_first_heartbeat_is_failed(
    meltano_project: MakeProject, tmp_path: Path
) -> None:
    """Meltano itself would wait for 24 hours."""
    project = meltano_project(releases.WITHOUT_FIRST_HEARTBEAT)
    row = project.kill_in_gap()
    assert is_refused(project)
    before = Sqlite(meltano_project).row(project, row.id)
    config = write_config(tmp_path, {"pipelines": (project, {})})
    with queuemedic.serving(config, tmp_path) as served:
        judged(served, "pipelines", "dead", "never_initialised")
        healed(served, "pipelines")
        written = ledger_at_end(served, config)
    after = Sqlite(meltano_project).row(project, row.id)
    assert MELTANOS_TIME.fullmatch(after["ended_at"])
    assert after == {**before, "state": "FAIL", "ended_at": after["ended_at"], "payload": json.dumps({"error": ERROR})}
    assert [one.intent.reason for one in written.resets] == [Reason.NEVER_INITIALISED]
    assert goes_through(project)


@pytest.mark.long
def test_a_killed_run_is_left_while_one_of_its_plugins_lives(meltano_project: MakeProject, tmp_path: Path) -> None:
    """Healed too soon, the next run would meet a tap that is still at work; without it, it is healed."""
    project = meltano_project()
    name_folder(project)
    config = write_config(tmp_path, {"pipelines": (project, {})})
    with project.run(seconds=3, end="hang") as started:
        saved_bookmarks(project, last=2)
        started.kill()
        with queuemedic.serving(config, tmp_path) as served:
            judged(served, "pipelines", "alive", "running")
            until_silent_for_long(served)
            judged(served, "pipelines", "alive", "running")
            assert served.scrape().total("heals_total") == 0
            assert [row.state for row in project.runs()] == ["RUNNING"]
            for process in started.plugins():
                process.send(signal.SIGKILL)
            healed(served, "pipelines")
            assert ledger_at_end(served, config).resets[0].outcome is Outcome.RESET
    assert goes_through(project)


@pytest.mark.long
def test_an_account_that_cannot_see_whose_files_are_open_heals_nothing(
    meltano_project: MakeProject, postgres: Postgres, undo: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is stopped, so it looks dead in every way, but for what only its own account or root may look at."""
    folder = become_nobody(monkeypatch)
    os.chown(folder, NOBODYS_ID, NOBODYS_ID)
    database = Postgresql(meltano_project, postgres, undo)
    project = database.make()
    config = write_config(folder, {"pipelines": (project, database.section(project))})
    with project.run(seconds=3600) as started, queuemedic.serving(config, folder) as served:
        project.begun()
        judged(served, "pipelines", "unknown", "files_invisible")
        send(started, signal.SIGSTOP)
        until_silent_for_long(served)
        judged(served, "pipelines", "unknown", "files_invisible")
        page = served.scrape_until("heal_refusals_total", 1, within=SEEN_WITHIN, queue="pipelines", reason="unknown")
        assert page.total("heals_total") == 0
        assert [row.state for row in project.runs()] == ["RUNNING"]
        written = ledger_at_end(served, config)
    assert (written.resets, {refusal.reason for refusal in written.refusals}) == ((), {"unknown"})
