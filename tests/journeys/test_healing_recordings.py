"""Recorded states of a real Matomo under healing: exactly the orphans are put back, exactly as Matomo does it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from healers.outcomes import Outcome
from healers.probes.local import SCRIPT
from healers.probes.protocol import ProcessAnswer
from healers.verdicts import Liveness, Reason
from tests.builders import a_process
from tests.conftest import lab_hosts
from tests.contracts.benches import SELECT
from tests.contracts.reset_benches import MATOMO_GRANTS
from tests.lab import queuemedic, recordings
from tests.lab.hosts import Host
from tests.lab.mariadb import MariaDb
from tests.lab.recordings import UTC_ZONE, Recording
from tests.lab.watchdog import HEALING, PlayedHost, Watchdog, ledger_of, read_ledger

TABLE = "matomo_archive_invalidations"
CHANGED = ("status", "ts_started", "processing_host", "process_id")
MATOMOS_OWN_RESET = (
    f"UPDATE {TABLE} SET status = 0, processing_host = NULL, process_id = NULL, ts_started = NULL WHERE status = 1"
)
ARCHIVER = 4380
HUNG = (25544, 25595, 25663)
ORPHANS = {"54", "189", "326"}
OLD = timedelta(minutes=2)
STUCK = timedelta(hours=3)
ALIVE = (Liveness.ALIVE, Reason.RUNNING)

Rows = dict[str, dict[str, Any]]


class Replay:
    """A database whose clock stands still, and the program's configuration for it; one ledger for all its runs."""

    def __init__(self, server: MariaDb, database: str, folder: Path) -> None:
        self.server, self.database, self.folder = server, database, folder
        self.url = ""
        self.write_url = ""

    def load(self, name: str, *, after: timedelta = timedelta(0)) -> None:
        """Load a recording, `after` its capture."""
        recording = recordings.recording(name)
        recordings.load(self.server, self.database, recording)
        self.set_clock(recording, after=after)
        if not self.url:
            self.url = self.server.account(self.database, [SELECT])
            self.write_url = self.server.account(self.database, MATOMO_GRANTS)

    def set_clock(self, recording: Recording, *, after: timedelta) -> None:
        """Hold the clock of sessions to come."""
        self.server.set_clock(recording.captured_at + after, database=self.database)

    def write_config(self, hosts: Mapping[str, Mapping[str, Any]]) -> Path:
        """Write the configuration."""
        healing = {**HEALING, "write_url": self.write_url}
        queue = {"system": "matomo", "url": self.url, "poll_every": "1s", "max_duty": 1, "healing": healing}
        ledger = f"sqlite:///{self.folder}/ledger.db"
        return queuemedic.write_config(self.folder, {"analytics": queue}, hosts=hosts, ledger=ledger)

    def watch(self, host: PlayedHost, **changes: Any) -> Watchdog:
        """Begin a run of the program beside one host, `vm` unless `changes` say otherwise."""
        config = self.write_config({"vm": {"via": "local", **changes}})
        return Watchdog(config, {"vm": host})

    def rows(self) -> Rows:
        """Return all rows of the queue by plain SQL."""
        with self.server.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {TABLE}")
            names = [column[0] for column in cursor.description]
            return {str(row[0]): dict(zip(names, row, strict=True)) for row in cursor.fetchall()}

    def checksums(self, *, without: str = "") -> dict[str, int]:
        """Return the server's checksum of each table."""
        tables = [name for (name,) in self.server.sql("SHOW TABLES", database=self.database) if name != without]
        return {name: self.server.sql(f"CHECKSUM TABLE {name}", database=self.database)[0][1] for name in tables}


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is to be undone at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def replay(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    private_mariadb: Callable[..., MariaDb],
    undo: ExitStack,
) -> Callable[[str], Replay]:
    """Make a replay, empty, on a server of the zone of the recording that is named."""

    def make(name: str) -> Replay:
        recordings.shared_or_skip()
        zone = recordings.recording(name).time_zone
        server: MariaDb
        if zone == UTC_ZONE:
            server = request.getfixturevalue("mariadb")
        else:
            server = private_mariadb(options=[f"--default-time-zone={zone}"])
        return Replay(server, undo.enter_context(server.database()), tmp_path)

    return make


def archivers(*pids: int, states: str = "S") -> dict[int, ProcessAnswer]:
    """Return live runs of `core:archive`."""
    return {pid: a_process(pid, states=states) for pid in pids}


def all_put_back(state: Replay, orphans: set[str]) -> Callable[[], bool]:
    """Tell whether all of these wait."""
    waiting = f"SELECT idinvalidation FROM {TABLE} WHERE status = 0"
    return lambda: orphans <= {str(job) for (job,) in state.server.sql(waiting, database=state.database)}


def assert_only_put_back(state: Replay, before: Rows, orphans: set[str]) -> None:
    """Compare every row, column by column: those of the orphans that a reset sets are as it sets them."""
    unset = {"status": 0, "ts_started": None, "processing_host": None, "process_id": None}
    assert state.rows() == {job: {**row, **(unset if job in orphans else {})} for job, row in before.items()}


def see_alive(state: Replay, name: str, host: PlayedHost, pid: int) -> None:
    """Run the program on a live run, so that its archiver is enrolled."""
    state.load(name)
    host.processes = archivers(pid)
    before = state.checksums()
    with state.watch(host) as dog:
        dog.look_twice()
        assert set(dog.verdicts("analytics").values()) == {ALIVE}
        assert dog.written().resets == ()
    assert state.checksums() == before
    host.processes = {}


@pytest.mark.parametrize("name", ["orphaned", "orphaned-later-runs"])
def test_the_orphans_of_a_worker_that_was_seen_are_put_back_as_matomo_does(
    replay: Callable[[str], Replay], name: str, undo: ExitStack
) -> None:
    """Three rows that nobody ever saw alive, on a machine where another row of the same run was; and nothing else."""
    state, host = replay(name), PlayedHost("vm")
    see_alive(state, "running", host, ARCHIVER)
    state.load(name, after=OLD)
    before, others = state.rows(), state.checksums(without=TABLE)
    with state.watch(host) as dog:
        dog.look_until(all_put_back(state, ORPHANS), what="the orphans wait")
        dog.look_twice()
        written = dog.written()
        assert dog.page().values("heals_total", "outcome", queue="analytics")["reset"] == 3
    assert_only_put_back(state, before, ORPHANS)
    assert state.checksums(without=TABLE) == others
    assert [(one.intent.key.job_id, one.outcome) for one in written.resets] == [
        (job, Outcome.RESET) for job in sorted(ORPHANS)
    ]
    assert [dict(one.intent.row) for one in written.resets] == [before[job] for job in sorted(ORPHANS)]
    assert written.fault is None
    copy = Replay(state.server, undo.enter_context(state.server.database()), state.folder)
    copy.load(name)
    copy.server.sql(MATOMOS_OWN_RESET, database=copy.database)
    assert state.checksums() == copy.checksums()


def test_orphans_of_a_machine_where_nobody_was_seen_are_left(replay: Callable[[str], Replay]) -> None:
    """However old they are: a wrong machine would look just the same."""
    state, host = replay("orphaned"), PlayedHost("vm")
    state.load("orphaned", after=STUCK)
    before = state.checksums()
    with state.watch(host) as dog:
        dog.look_twice()
        assert dog.verdicts("analytics") == dict.fromkeys(ORPHANS, (Liveness.UNKNOWN, Reason.HOST_UNPROVEN))
        written = dog.written()
    assert state.checksums() == before
    assert (written.resets, written.reasons()) == ((), {job: {"unknown"} for job in ORPHANS})
    assert all(Reason.HOST_UNPROVEN in refusal.detail for refusal in written.refusals)
    with state.watch(host, machine_id=host.machine_id) as dog:
        dog.look_until(all_put_back(state, ORPHANS), what="the orphans of a pinned machine wait")


ALIVE_OR_UNKNOWN: Mapping[str, tuple[dict[int, ProcessAnswer], tuple[Liveness, Reason] | None]] = {
    "running": (archivers(ARCHIVER), ALIVE),
    "running-dbtz-plus5": (archivers(15356), ALIVE),
    "running-dbtz-minus5": (archivers(15656), ALIVE),
    "running-three-hung": (archivers(*HUNG), ALIVE),
    "running-no-getmypid": ({}, (Liveness.UNKNOWN, Reason.NOT_A_PID)),
    "running-container": ({}, (Liveness.UNKNOWN, Reason.NOT_CONFIGURED)),
    "idle-residual": ({}, None),
    "backlog": ({}, None),
}


@pytest.mark.parametrize("name", ALIVE_OR_UNKNOWN)
def test_what_is_alive_or_unknown_is_left(replay: Callable[[str], Replay], name: str) -> None:
    """Three hours later, on a pinned machine, with everything that is asked for answered."""
    processes, expected = ALIVE_OR_UNKNOWN[name]
    state, host = replay(name), PlayedHost("vm")
    state.load(name, after=STUCK)
    host.processes = dict(processes)
    before = state.checksums()
    with state.watch(host, machine_id=host.machine_id) as dog:
        dog.look_twice()
        verdicts = dog.verdicts("analytics")
        written = dog.written()
        page = dog.page()
    assert state.checksums() == before
    assert len(verdicts) == recordings.recording(name).started
    assert set(verdicts.values()) == ({expected} if expected else set())
    assert written.resets == ()
    is_unknown = expected is not None and expected[0] is Liveness.UNKNOWN
    assert written.reasons() == ({job: {"unknown"} for job in verdicts} if is_unknown else {})
    assert page.total("heals_total", queue="analytics") == 0
    assert page.total("orphaned_jobs", queue="analytics") == 0
    assert page.value("heal_pass_timestamp_seconds", queue="analytics")


def test_a_container_under_the_machine_s_name_is_not_its_pid_1(replay: Callable[[str], Replay]) -> None:
    """The row says pid 1, which on the machine is something else, and is there."""
    state, host = replay("running-container"), PlayedHost("vm")
    state.load("running-container", after=STUCK)
    host.processes = {1: a_process(1, argv=None, name="systemd")}
    before = state.checksums()
    with state.watch(host, machine_id=host.machine_id, aliases=["archiver-7f9c"]) as dog:
        dog.look_twice()
        assert set(dog.verdicts("analytics").values()) == {(Liveness.UNKNOWN, Reason.NOT_IDENTIFIABLE)}
        assert dog.written().resets == ()
    assert state.checksums() == before


def test_hung_workers_that_are_stopped_are_alive(replay: Callable[[str], Replay]) -> None:
    """The archivers themselves stopped, too: frozen is not dead."""
    state, host = replay("running-three-hung"), PlayedHost("vm")
    state.load("running-three-hung", after=STUCK)
    host.processes = archivers(*HUNG, states="T")
    before = state.checksums()
    with state.watch(host, machine_id=host.machine_id) as dog:
        dog.look_twice()
        assert set(dog.verdicts("analytics").values()) == {(Liveness.ALIVE, Reason.FROZEN)}
    assert state.checksums() == before


@pytest.mark.parametrize(
    ("name", "pid"), [("running", ARCHIVER), ("running-dbtz-plus5", 15356), ("running-dbtz-minus5", 15656)]
)
def test_a_dead_worker_s_rows_are_put_back_once_they_are_old_on_the_database_s_clock(
    replay: Callable[[str], Replay], name: str, pid: int
) -> None:
    """Whatever its time zone: not after 55 s, but after 65 s, by the clock that wrote their start."""
    state, host = replay(name), PlayedHost("vm")
    see_alive(state, name, host, pid)
    recording = recordings.recording(name)
    jobs = {job for job, row in state.rows().items() if row["status"] == 1}
    before = state.rows()
    state.set_clock(recording, after=timedelta(seconds=55))
    with state.watch(host) as dog:
        dog.look_twice()
        assert set(dog.verdicts("analytics").values()) == {(Liveness.DEAD, Reason.NO_PROCESS)}
        assert all("too_young" in reasons for reasons in dog.written().reasons().values())
        assert dog.written().reasons().keys() == jobs
        assert dog.written().resets == ()
    assert state.rows() == before
    state.set_clock(recording, after=timedelta(seconds=65))
    with state.watch(host) as dog:
        dog.look_until(all_put_back(state, jobs), what="the rows wait")
    assert_only_put_back(state, before, jobs)


@pytest.fixture
def machine() -> Iterator[Host]:
    """A host of the lab by the recorded name, with the probe on it."""
    with lab_hosts() as hosts:
        host = hosts.add("vm")
        host.write("/etc/probe.sh", SCRIPT.read_text())
        host.set_command("sh /etc/probe.sh")
        yield host


def test_the_program_puts_the_recorded_orphans_back(replay: Callable[[str], Replay], machine: Host) -> None:
    """The real program, over SSH: it sees the recorded pid at work, is restarted, and finds it killed."""
    state = replay("running")
    state.load("running")
    machine.spawn(["sh", "-c", "sleep 1000; exit", "/srv/matomo/console", "core:archive"], user="worker", pid=ARCHIVER)
    asked = machine.options(pid_namespace="own", ask_every="1s", timeout="4s", machine_id=None)
    before = state.rows()
    with queuemedic.serving(state.write_config({"vm": asked}), state.folder) as server:
        labels = {"host": "vm", "verdict": "alive", "reason": "running"}
        server.scrape_until("worker_verdicts", 3, within=60, queue="analytics", **labels)
        assert server.stop() == 0
    assert state.rows() == before
    for process in machine.processes():
        if ARCHIVER in (process.pid, process.parent):
            machine.kill(process.pid)
    state.load("orphaned", after=OLD)
    before, others = state.rows(), state.checksums(without=TABLE)
    with queuemedic.serving(state.write_config({"vm": asked}), state.folder) as server:
        server.scrape_until("heals_total", 3, within=60, queue="analytics", outcome="reset")
        assert "Traceback" not in server.log
        assert server.log.count("job.reset") == 3
        assert server.stop() == 0
    assert_only_put_back(state, before, ORPHANS)
    assert state.checksums(without=TABLE) == others
    with ledger_of(state.folder / "queuemedic.yml") as ledger:
        written = read_ledger(ledger)
    assert ([one.outcome for one in written.resets], written.fault) == ([Outcome.RESET] * 3, None)
