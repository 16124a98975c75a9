"""Whatever stands in rows is data, from the poll to the journal: refused with a reason, and neither run nor dialled.

The real probe of this machine is asked beside a played one, and the interpreter itself tells what is run and dialled.
"""

import json
import re
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from exporter import log
from healers.outcomes import Outcome
from healers.probes.local import SCRIPT, SHELL, LocalProbe
from healers.probes.protocol import HostAnswer, NoAnswer, Request
from healers.probes.request import write_request
from healers.verdicts import Liveness, Reason
from tests.lab import queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.ports import LOOPBACK
from tests.lab.watchdog import HEALING, Watchdog, machine_id_of

from .healing_benches import DEAD_PID, HOST, LIVE_PID, SYSTEMS, HealingBench, on_sqlite, opened, played_host
from .reset_benches import MatomoResets

HERE = "here"
HERE_OPTIONS = {"via": "local", "aliases": [socket.gethostname()], "pid_namespace": "own"}
MOST_HOSTS = 8
MARKER = "hostile-rows-ran-this"
RUNS = f"touch /tmp/{MARKER}"
HOSTS = (
    f"web1; {RUNS}",
    f"$({RUNS})",
    f"`{RUNS}`",
    f"-oProxyCommand={RUNS}",
    "web1' OR '1'='1",
    "'; DROP TABLE jobs; --",
    'web1" --',
    "%s%s%n %(host)s {0} {host!r}",
    "../../etc/passwd",
    "/etc/passwd",
    "web1\nweb1",
    'web1"} 1\nqueuemedic_up{queue="q"} 0',
    "web1\r\nhost web1",
    "\x1b[2J\x1b[31mweb1",
    "\x1b]0;web1\x07",
    "\x9b31mweb1",
    " web1",
    "web1 ",
    "WEB1",
    "web1.",
    "root@web1",
    "web1:22",
    "127.0.0.1",
    "169.254.169.254",
    "[::1]",
    "ｗｅｂ１",
    "w\u0435b1",
    "\u202eweb1",
    "web1\u2028web1",
    "<script>alert(1)</script>",
    "x" * 100,
)
PIDS = (
    f"100; {RUNS}",
    f"$({RUNS})",
    f"`{RUNS}`",
    "' OR 1=1 --",
    "100\n200",
    "\x1b[31m100",
    "%d%n",
    "{0}",
    "0100",
    " 100",
    "100 ",
    "+100",
    "-100",
    "-1",
    "0",
    "1e2",
    "100.0",
    "0x64",
    "１００",
    "\u0661\u0660\u0660",
    "\u00b2",
    "\u200b100",
    "1_00",
    "100,200",
    "100:918273",
    "/proc/100",
    "NULL",
    "4194305",
    "9" * 15,
    "9" * 100,
)
WITH_NUL = ("web1\0", "100\0")
IDS = (
    "1' OR '1'='1",
    "%s",
    "\x1b[31m7",
    "7\n8",
    " 7",
    "7 ",
    "7",
    "007",
    "\u0667",
    "<b>",
    f"$({RUNS})",
    "\u202e7",
    "7\0",
)
WATCHED = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo"}
)
LINE = re.compile(r"# .*|queuemedic_[a-z_]+(\{.*\})? \S+|process_[a-z_]+ \S+")

seen: list[tuple[str, Any]] = []
is_looking: list[bool] = []


def _notice(event: str, arguments: Any) -> None:
    if is_looking and event in WATCHED:
        seen.append((event, arguments))


@contextmanager
def looking() -> Iterator[list[tuple[str, Any]]]:
    """Gather what this process runs and dials (sys.addaudithook: such a hook stays, and then does nothing)."""
    if not hasattr(_notice, "is_hooked"):
        sys.addaudithook(_notice)
        _notice.is_hooked = True  # type: ignore[attr-defined]
    seen.clear()
    is_looking.append(True)
    try:
        yield seen
    finally:
        is_looking.clear()


class Listening:
    """The real probe of this machine; keeps what it was asked."""

    def __init__(self) -> None:
        self._probe = LocalProbe(timeout=timedelta(seconds=10))
        self.asked: list[Request] = []

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:
        """Ask."""
        self.asked.append(request)
        return self._probe.ask(request, fresh=fresh)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def marker() -> Iterator[Path]:
    """What is there if anything of a row was run."""
    path = Path("/tmp") / MARKER  # noqa: S108
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


@contextmanager
def events_in(log_format: log.LogFormat, capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Gather the lines that are written as events."""
    lines: list[str] = []
    capsys.readouterr()
    log.configure(log_format)
    try:
        yield lines
    finally:
        structlog.reset_defaults()
        lines += capsys.readouterr().err.splitlines()


def watch(bench: HealingBench, here: Listening) -> tuple[Watchdog, Path]:
    """Begin a run of the program beside both hosts; what nobody can judge is stuck, so that its refusal is kept."""
    changes = {"stuck_after": "1m", "max_hosts": MOST_HOSTS}
    config = bench.write_config(changes=changes, more_hosts={HERE: HERE_OPTIONS})
    return Watchdog(config, {HOST: played_host(), HERE: here}), config


def assert_one_line_each(lines: Sequence[str], log_format: str) -> None:
    """Make sure that nothing in an event breaks its line, or steers a terminal."""
    assert lines
    for line in lines:
        assert line.isprintable(), repr(line)
        if log_format == "json":
            assert json.loads(line)["event"]
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT[0-9:.]+Z \[", line), line


def assert_page_is_bounded(page: queuemedic.Page) -> None:
    """Make sure of one sample a line, no pid in a label, and no more hosts than are allowed."""
    for line in page.text.rstrip("\n").split("\n"):
        assert LINE.fullmatch(line), repr(line)
    hosts: set[str] = set()
    for family in page.families.values():
        for sample in family.samples:
            assert not {"pid", "job"} & sample.labels.keys()
            if family.name.startswith("queuemedic_") and "queue" in sample.labels:
                hosts |= {value for label, value in sample.labels.items() if label == "host"}
    assert len(hosts - {"other", "none"}) <= MOST_HOSTS


def assert_nothing_ran(found: Sequence[tuple[str, Any]], marker: Path) -> None:
    """Make sure that only the shipped script was run, and only the database on this machine was dialled."""
    assert not marker.exists()
    for event, arguments in found:
        if event == "subprocess.Popen":
            assert tuple(arguments[1]) == (*SHELL, str(SCRIPT))
        else:
            assert event in ("socket.connect", "socket.getaddrinfo"), (event, arguments)
            assert (arguments[0] if event == "socket.getaddrinfo" else arguments[1][0]) == LOOPBACK


@pytest.mark.parametrize(("system", "log_format"), [("sqlite", "json"), *((system, "console") for system in SYSTEMS)])
def test_hostile_hosts_and_pids_are_refused_and_nothing_else_happens(
    system: str,
    log_format: log.LogFormat,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    marker: Path,
) -> None:
    """Beside them a dead worker's job is put back, and a live one's is not."""
    here = Listening()
    with opened(system, request) as bench:
        dead = bench.kill()
        nul = () if system == "postgresql" else WITH_NUL
        by_host = {bench.start(host=host, pid=str(DEAD_PID)): host for host in (*HOSTS, *nul[:1])}
        by_pid = {bench.start(host=host, pid=pid): pid for host in (HOST, HERE) for pid in (*PIDS, *nul[1:])}
        nobody = [bench.start(host="", pid="100"), bench.start(host=HOST, pid="")]
        before = bench.rows()
        dog, config = watch(bench, here)
        with events_in(log_format, capsys) as lines, looking() as found, dog:
            dog.look_twice()
            verdicts, written, page = dog.verdicts("q"), dog.written(), dog.page()
        assert_nothing_ran(found, marker)
        after = bench.rows()
        ended = queuemedic.run("--config", config, "history", "--json")
        shown = queuemedic.run("--config", config, "history")
    assert after == bench.put_back(before, dead)
    expected = {
        **dict.fromkeys(by_host, (Liveness.UNKNOWN, Reason.NOT_CONFIGURED)),
        **dict.fromkeys(by_pid, (Liveness.UNKNOWN, Reason.NOT_A_PID)),
        **dict.fromkeys(nobody, (Liveness.UNKNOWN, Reason.NO_WORKER)),
    }
    assert {job: verdicts[job] for job in expected} == expected  # type: ignore[index]
    assert len(verdicts) == len(expected) + 1
    assert written.reasons() == {**{job: {"unknown"} for job in expected}, dead[0]: {"unconfirmed"}}
    assert ([one.outcome for one in written.resets], written.fault) == ([Outcome.RESET], None)
    asked = [request for request in here.asked if request.pids or request.worker_marks]
    assert {pid for request in here.asked for pid in request.pids} == set()
    assert all(len(write_request(request, "0" * 32)) < 1000 for request in asked)
    assert_one_line_each(lines, log_format)
    assert_page_is_bounded(page)
    views = ended.json["heals"]
    assert {one["job_id"]: one["host"] for one in views if one["job_id"] in by_host} == by_host
    assert {one["job_id"]: one["pid_text"] for one in views if one["job_id"] in by_pid} == by_pid
    assert all(line.isprintable() for line in shown.out.split("\n")), shown.out


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_hostile_ids_are_put_back_as_what_they_are(
    log_format: log.LogFormat, tmp_path: Path, capsys: pytest.CaptureFixture[str], marker: Path
) -> None:
    """Ids that look like each other, like SQL or like a terminal's commands: each row by its own id, and no other."""
    bench = on_sqlite(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
        connection.execute("DROP TABLE jobs")
        connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, kind TEXT, made TEXT, busy, begun, host, pid)")
        insert = "INSERT INTO jobs VALUES (?, ?, datetime('now'), 1, datetime('now', '-5 minutes'), ?, ?)"
        for number, job in enumerate(IDS):
            connection.execute(insert, (job, job, HOST, str(LIVE_PID if number % 2 else DEAD_PID)))
    before, dead = bench.rows(), list(IDS[::2])
    here = Listening()
    dog, config = watch(bench, here)
    with events_in(log_format, capsys) as lines, looking() as found, dog:
        dog.look_twice()
        written, page = dog.written(), dog.page()
    assert_nothing_ran(found, marker)
    assert bench.rows() == bench.put_back(before, dead)
    assert {str(one.intent.key.job_id) for one in written.resets} == set(dead)
    assert {one.outcome for one in written.resets} == {Outcome.RESET}
    assert written.fault is None
    assert_one_line_each(lines, log_format)
    assert_page_is_bounded(page)
    ended = queuemedic.run("--config", config, "history", "--json")
    assert {one["job_id"] for one in ended.json["heals"]} == set(dead)


def test_hostile_rows_of_matomo_are_refused(
    mariadb: MariaDb, matomo_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], marker: Path
) -> None:
    """As much of each as its columns hold: 100 characters of a host, and 15 of a pid."""
    bench = MatomoResets(mariadb, matomo_database)
    bench.queue.close()

    def start(host: str, pid: str) -> str:
        (job,) = bench.bench.enqueue()
        bench.bench.start(job, host=host, pid=pid, ago="3h")
        return job

    by_host = {start(host[:100], str(DEAD_PID)): host[:100] for host in (*HOSTS, WITH_NUL[0])}
    by_pid = {start(host, pid[:15]): pid[:15] for host in (HOST, HERE) for pid in (*PIDS, WITH_NUL[1])}
    before = bench.rows()
    section = {
        "system": "matomo",
        "url": bench.options.url.render_as_string(hide_password=False) if bench.options.url else "",
        "poll_every": "1s",
        "max_hosts": MOST_HOSTS,
        "healing": {**HEALING, "write_url": bench.write_url},
    }
    hosts = {HOST: {"via": "local", "machine_id": machine_id_of(HOST)}, HERE: HERE_OPTIONS}
    config = queuemedic.write_config(tmp_path, {"q": section}, hosts=hosts, ledger=f"sqlite:///{tmp_path}/ledger.db")
    here = Listening()
    dog = Watchdog(config, {HOST: played_host(), HERE: here})
    with events_in("console", capsys) as lines, looking() as found, dog:
        dog.look_twice()
        verdicts, written, page = dog.verdicts("q"), dog.written(), dog.page()
    assert_nothing_ran(found, marker)
    assert bench.rows() == before
    assert verdicts == {
        **dict.fromkeys(by_host, (Liveness.UNKNOWN, Reason.NOT_CONFIGURED)),
        **dict.fromkeys(by_pid, (Liveness.UNKNOWN, Reason.NOT_A_PID)),
    }
    assert written.reasons() == {job: {"unknown"} for job in (*by_host, *by_pid)}
    assert {pid for request in here.asked for pid in request.pids} == set()
    assert_one_line_each(lines, "console")
    assert_page_is_bounded(page)
    views = queuemedic.run("--config", config, "history", "--json").json["heals"]
    assert {one["job_id"]: one["host"] for one in views if one["job_id"] in by_host} == by_host
    assert {one["job_id"]: one["pid_text"] for one in views if one["job_id"] in by_pid} == by_pid
