"""Matomo in the lab is like Matomo: its tables, recorded states, and how its archiver takes, does and leaves rows."""

import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.lab import matomo, processes, recordings
from tests.lab.mariadb import MariaDb
from tests.lab.matomo import Archiver, ArchiveWorker
from tests.lab.recordings import RECORDINGS, Recording
from tests.lab.waiting import wait_until

LONG_SECONDS = 600
WORKER_COLUMNS = {"processing_host", "process_id"}

Start = Callable[..., Archiver]


class Queue:
    """What a test asks of the job table."""

    def __init__(self, server: MariaDb, database: str) -> None:
        self.server = server
        self.database = database
        self.url = server.account(database, ["ALL ON *"])

    def insert(self, *rows: dict[str, object]) -> list[int]:
        """Insert rows."""
        return matomo.insert_rows(self.server, self.database, *rows)

    def column(self, column: str, where: str) -> list[object]:
        """Return one column of some rows."""
        statement = f"SELECT {column} FROM matomo_archive_invalidations WHERE {where} ORDER BY idinvalidation"
        return [value for (value,) in self.server.sql(statement, database=self.database)]

    def all(self) -> list[int]:
        """Return the ids of all rows."""
        return [int(str(value)) for value in self.column("idinvalidation", "TRUE")]

    def started(self) -> list[int]:
        """Return the ids of the started rows."""
        return [int(str(value)) for value in self.column("idinvalidation", "status = 1")]

    def waiting(self) -> list[int]:
        """Return the ids of the waiting rows that keep no trace of a worker."""
        clean = "status = 0 AND ts_started IS NULL AND processing_host IS NULL AND process_id IS NULL"
        return [int(str(value)) for value in self.column("idinvalidation", clean)]


@pytest.fixture
def queue(mariadb: MariaDb, matomo_database: str) -> Queue:
    """An empty queue of Matomo 5.3."""
    return Queue(mariadb, matomo_database)


@pytest.fixture
def archiver(queue: Queue) -> Archiver:
    """An archiver of that queue whose workers work until told to finish."""
    return Archiver(queue.url, work_seconds=LONG_SECONDS)


def at_work(queue: Queue, archiver: Archiver, rows: int = 3) -> list[ArchiveWorker]:
    """Return the archiver's workers when as many rows are started and they are so many.

    The rows first: a row outlasts the work on it, so whoever is at work after that is at work on these rows. A worker
    that was seen before may be one of the batch before, and be done by now.
    """

    def workers() -> list[ArchiveWorker] | None:
        started = queue.started()
        found = archiver.workers()
        return found if len(found) == rows == len(started) else None

    return wait_until(workers, within=30, what=f"{rows} rows are started and their workers at work")


@pytest.mark.parametrize("version", matomo.VERSIONS)
def test_each_version_has_its_columns(mariadb: MariaDb, version: str) -> None:
    """Worker columns come with 5.3, times of finished archives with 5.7; an old installation has another shape."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version=version, prefix="")
        columns = {
            row[0]: row[1:3] for row in mariadb.sql("SHOW COLUMNS FROM archive_invalidations", database=database)
        }
        tables = {row[0] for row in mariadb.sql("SHOW TABLES", database=database)}
    is_old = version == "4.0-upgraded"
    assert columns["idsite"] == ("int(11)" if is_old else "int(10) unsigned", "NO")
    assert columns["ts_invalidated"] == ("datetime", "NO" if is_old else "YES")
    assert (columns.keys() >= WORKER_COLUMNS) is (version in {"5.3", "5.7", "6.0"})
    assert ("archiving_metrics" in tables) is (version in {"5.7", "6.0"})
    assert tables >= {"site", "option"}


def test_an_upgrade_to_5_3_adds_the_worker_columns(mariadb: MariaDb) -> None:
    """What was in the table stays."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version="5.2", upgraded=True)
        matomo.insert_rows(mariadb, database, {"status": 1})
        matomo.upgrade_to_5_3(mariadb, database)
        statement = "SELECT status, processing_host, process_id FROM matomo_archive_invalidations"
        assert mariadb.sql(statement, database=database) == [(1, None, None)]


def test_a_timedelta_is_that_long_ago_in_the_zone_of_the_column(private_mariadb: Callable[..., MariaDb]) -> None:
    """`ts_invalidated` is UTC, `ts_started` the database's own time."""
    server = private_mariadb(options=["--default-time-zone=-05:00"])
    with server.database() as database:
        matomo.create_tables(server, database)
        ago = timedelta(hours=3)
        matomo.insert_rows(server, database, {"status": 1, "ts_started": ago, "ts_invalidated": ago}, {})
        ages = server.sql(
            "SELECT TIMESTAMPDIFF(SECOND, ts_invalidated, UTC_TIMESTAMP()),"
            " UNIX_TIMESTAMP() - UNIX_TIMESTAMP(ts_started),"
            " DATEDIFF(UTC_DATE(), date1), DATEDIFF(date2, date1) FROM matomo_archive_invalidations",
            database=database,
        )
    assert ages[0] == (pytest.approx(10800, abs=3), pytest.approx(10800, abs=3), 1, 0)
    assert ages[1] == (pytest.approx(0, abs=3), None, 2, 0)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_a_recording_has_its_rows(mariadb: MariaDb, recording: Recording) -> None:
    """As many as its README says, and none from later than it was captured."""
    with mariadb.database() as database:
        recordings.load(mariadb, database, recording)
        [row] = mariadb.sql(
            "SELECT SUM(status = 0), SUM(status = 1), MAX(ts_invalidated) FROM matomo_archive_invalidations",
            database=database,
        )
    assert row[:2] == (recording.queued, recording.started)
    assert row[2].replace(tzinfo=UTC) <= recording.captured_at


@pytest.mark.parametrize(("name", "samples", "most"), [("healthy", 80, 3), ("crash", 195, 6), ("dbtz-minus5", 60, 3)])
def test_a_timeline_has_its_samples(name: str, samples: int, most: int) -> None:
    """Each says when it was taken and what was started: up to three rows, beside three orphans after the crash."""
    taken = list(recordings.timeline(name))
    assert len(taken) == samples
    assert taken[0]["t_unix"] < taken[-1]["t_unix"]
    assert max(sample["started"] for sample in taken) == most


def test_a_missing_recording_skips_but_fails_in_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A skip that nobody sees would hide that nothing was tested."""
    monkeypatch.setattr(recordings, "SHARED", tmp_path / "gone")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"\.\./shared is not here"):
        recordings.shared_or_skip()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(FileNotFoundError, match=r"\.\./shared is not here"):
        recordings.shared_or_skip()


def test_rows_are_claimed_with_host_and_pid_by_three(queue: Queue, archiver: Archiver) -> None:
    """The newest days first, one worker each, and the fourth waits."""
    ids = queue.insert({}, {}, {}, {})
    with archiver:
        at_work(queue, archiver)
        assert (queue.started(), queue.waiting()) == (ids[:3], ids[3:])
        assert queue.column("processing_host", "status = 1") == [socket.gethostname()] * 3
        assert queue.column("process_id", "status = 1") == [str(archiver.pid)] * 3
        assert queue.column("ts_started", "ts_started NOT BETWEEN NOW() - INTERVAL 5 MINUTE AND NOW()") == []


def test_the_processes_look_as_recorded(queue: Queue, archiver: Archiver) -> None:
    """Command lines, parent, group and session are those a real Matomo 5.3 has."""
    queue.insert({"date1": "2026-11-01"}, {"date1": "2026-11-02", "name": "done.Goals", "report": "14"}, {})
    console = str(matomo.CONSOLE)
    with archiver:
        workers = at_work(queue, archiver)
        parent = processes.look(archiver.pid)
        assert parent is not None
        assert parent.argv() == (sys.executable, console, "core:archive", "--url=http://127.0.0.1/")
        assert (parent.group, parent.session) == (archiver.pid, archiver.pid)
    queries = []
    for worker in workers:
        *command, request = worker.argv
        assert command[2:] == [console, "climulti:request", "-q", "--matomo-domain=127.0.0.1", "--superuser"]
        assert worker.process.parent != archiver.pid
        assert (worker.process.group, worker.process.session) == (archiver.pid, archiver.pid)
        queries.append({name: values[0] for name, values in parse_qs(request).items()})
    assert {query.pop("runid") for query in queries} == {str(archiver.pid)}
    assert len({int(query.pop("pid"), 16) for query in queries}) == 3
    [plugin] = [query for query in queries if query["date"] == "2026-11-02"]
    assert list(plugin.items()) == [
        ("module", "API"),
        ("method", "CoreAdminHome.archiveReports"),
        ("idSite", "1"),
        ("period", "day"),
        ("date", "2026-11-02"),
        ("format", "json"),
        ("plugin", "Goals"),
        ("pluginOnly", "1"),
        ("requestedReport", "14"),
        ("trigger", "archivephp"),
    ]


def test_a_single_worker_is_a_child_of_sh_without_runid(queue: Queue, archiver: Archiver) -> None:
    """With one row at hand the archiver waits for it in the foreground."""
    queue.insert({"period": 5, "date1": "2026-11-01", "date2": "2026-11-05", "name": "done" + "a" * 32})
    with archiver:
        [worker] = at_work(queue, archiver, rows=1)
        shell = processes.look(worker.process.parent)
        assert shell is not None
        assert shell.argv()[:2] == ("sh", "-c")
        assert shell.parent == archiver.pid
    query = parse_qs(worker.argv[-1])
    assert query["date"] == ["2026-11-01,2026-11-05"]
    assert query["segment"] == ["lab==" + "a" * 32]
    assert not query.keys() & {"pid", "runid"}


@pytest.mark.parametrize("version", ["4.0-upgraded", "5.2", "5.3", "6.0"])
def test_a_run_finishes_every_row_of_every_version(mariadb: MariaDb, version: str) -> None:
    """Rows are deleted, the run is noted, and from 5.7 on so is how long each whole archive took."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database, version=version)
        queue = Queue(mariadb, database)
        queue.insert({}, {}, {}, {"idsite": 2}, {"idsite": 3, "name": "done.Goals"})
        with Archiver(queue.url, work_seconds=0.01) as archiver:
            assert archiver.wait() == 0
            assert archiver.output == "Done archiving!\n"
        assert queue.all() == []
        rows = mariadb.sql("SELECT option_name, option_value FROM matomo_option", database=database)
        options: dict[str, str] = dict(rows)
        assert int(options["LastCompletedFullArchiving"]) >= int(options["LastFullArchivingStartTime"])
        if version == "6.0":
            metrics = "SELECT idsite, COUNT(*) FROM matomo_archiving_metrics WHERE total_time >= 10 GROUP BY idsite"
            assert mariadb.sql(metrics, database=database) == [(1, 3), (2, 1)]


def test_a_batch_is_deleted_only_as_a_whole(queue: Queue, archiver: Archiver) -> None:
    """While one worker is at work the rows of the others stay, their workers long gone."""
    ids = queue.insert({}, {}, {})
    with archiver:
        last, *others = at_work(queue, archiver)
        for worker in others:
            worker.finish()
        wait_until(lambda: len(archiver.workers()) == 1, within=30, what="the other workers are done")
        assert queue.started() == ids
        last.finish()
        assert archiver.wait() == 0
    assert queue.all() == []


@pytest.mark.parametrize("group", [False, True])
def test_a_killed_archiver_leaves_its_rows_started(queue: Queue, archiver: Archiver, group: bool) -> None:
    """Three rows keep the dead pid; workers of a parent killed alone go on."""
    ids = queue.insert({}, {}, {}, {})
    with archiver:
        at_work(queue, archiver)
        archiver.kill(group=group)
        assert processes.look(archiver.pid) is None
        assert len(archiver.workers()) == (0 if group else 3)
        assert queue.started() == ids[:3]
        assert queue.column("process_id", "status = 1") == [str(archiver.pid)] * 3
    assert archiver.workers() == []


def test_a_terminated_archiver_leaves_its_rows_started(queue: Queue, archiver: Archiver) -> None:
    """Matomo 5.3 does not handle SIGTERM unless a flag is set that is off."""
    ids = queue.insert({}, {}, {})
    with archiver:
        at_work(queue, archiver)
        assert archiver.stop() == -signal.SIGTERM
        assert queue.started() == ids


def test_a_killed_worker_puts_its_row_back(queue: Queue, archiver: Archiver) -> None:
    """Its siblings' rows are done, the run goes on and ends with 1, and the next run does the row."""
    queue.insert({}, {}, {}, {})
    with archiver:
        victim, *others = at_work(queue, archiver)
        victim.kill()
        for worker in others:
            worker.finish()
        [fourth] = at_work(queue, archiver, rows=1)
        assert len(queue.waiting()) == 1
        fourth.finish()
        assert archiver.wait() == 1
        assert "1 total errors" in archiver.output
    assert len(queue.all()) == len(queue.waiting()) == 1
    with Archiver(queue.url) as next_run:
        assert next_run.wait() == 0
    assert queue.all() == []


def test_a_released_row_with_a_waiting_twin_is_deleted(queue: Queue, archiver: Archiver) -> None:
    """From 5.3 on, so that the archive is not built twice; an empty report is none."""
    queue.insert({"date1": "2026-11-01", "report": ""})
    with archiver:
        [worker] = at_work(queue, archiver, rows=1)
        later = timedelta(hours=-1)  # so that this run does not take it
        twin = queue.insert({"date1": "2026-11-01", "ts_invalidated": later})
        worker.kill()
        assert archiver.wait() == 1
    assert queue.all() == queue.waiting() == twin


def test_an_orphan_holds_back_what_overlaps_it_until_it_is_reset(queue: Queue) -> None:
    """The next run does the rest and says that all is well; only one with the recovery time past heals it."""
    orphan = {"status": 1, "ts_started": timedelta(hours=2), "processing_host": "gone", "process_id": "4380"}
    week = {"period": 2, "date1": "2026-11-02", "date2": "2026-11-08"}
    ids = queue.insert({**orphan, "date1": "2026-11-03"}, week, {"date1": "2026-11-09"}, {"idsite": 2, **week})
    with Archiver(queue.url) as next_run:
        assert next_run.wait() == 0
    assert (queue.started(), queue.waiting()) == (ids[:1], ids[1:2])
    with Archiver(queue.url, recovery_after=timedelta(hours=1)) as later_run:
        assert later_run.wait() == 0
    assert queue.all() == []


def test_a_frozen_archiver_goes_on_when_thawed(queue: Queue, archiver: Archiver) -> None:
    """Nothing happens to its rows in between."""
    ids = queue.insert({}, {}, {})
    with archiver:
        at_work(queue, archiver)
        archiver.freeze()
        parent = processes.look(archiver.pid)
        assert parent is not None
        assert [parent.state, *(worker.process.state for worker in archiver.workers())] == ["T"] * 4
        assert queue.started() == ids
        archiver.thaw()
        for worker in archiver.workers():
            worker.finish()
        assert archiver.wait() == 0
    assert queue.all() == []
