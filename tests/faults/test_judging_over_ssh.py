"""The program judges workers on real hosts over SSH: nothing alive is called dead, and what is dead is."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from healers.probes.local import SCRIPT
from tests.lab.hosts import Host, Hosts, Partition
from tests.lab.queuemedic import Page, Serving, serving, write_config
from tests.lab.sqlite_queue import FAST

WORKER = ("sh", "-c", "sleep 1000; exit", "the-worker")
SCHEMA = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, a TEXT, b TEXT, host TEXT, pid TEXT)"
COLUMNS = {"id": "id", "enqueued_at": "a", "started_at": "b", "host": "host", "pid": "pid"}


@pytest.fixture
def machine(hosts: Hosts, tmp_path: Path) -> Iterator[Host]:
    """A host with the probe on it, of its own for each test."""
    host = hosts.add(f"web{tmp_path.name[-6:].strip('_')}".replace("_", "-"))
    host.write("/etc/probe.sh", SCRIPT.read_text())
    host.set_command("sh /etc/probe.sh")
    yield host
    host.connect()


@contextmanager
def watching(machine: Host, folder: Path, pid: int, **changes: str) -> Iterator[Serving]:
    """Serve beside a job that a worker of this pid holds; at the end the table is as it was."""
    file = folder / "jobs.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(SCHEMA)
        started = "INSERT INTO jobs (a, b, host, pid) VALUES (datetime('now'), datetime('now'), ?, ?)"
        connection.execute(started, (machine.name, str(pid)))
        before = connection.execute("SELECT * FROM jobs").fetchall()
    queue = {
        "system": "table",
        "url": f"sqlite:///{file}",
        "from": "jobs",
        "columns": COLUMNS,
        "waiting_when": "b IS NULL",
        "started_when": "b IS NOT NULL",
        "worker": {"command": ["the-worker"]},
        **FAST,
    }
    asked = machine.options(pid_namespace="own", ask_every="1s", timeout="4s", **changes)
    with serving(write_config(folder, {"q": queue}, hosts={machine.name: asked}), folder) as served:
        yield served
        assert "Traceback" not in served.log
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM jobs").fetchall() == before


def judged(served: Serving, machine: Host, verdict: str, reason: str) -> Page:
    """Scrape until the one job is judged so."""
    labels = {"host": machine.name, "verdict": verdict, "reason": reason}
    return served.scrape_until("worker_verdicts", 1, within=40, queue="q", **labels)


def test_a_worker_that_is_killed_is_dead_and_only_then(machine: Host, tmp_path: Path) -> None:
    """It is alive while it runs and while it is stopped, and no lost connection makes it anything but unknown."""
    pid = machine.spawn(WORKER, user="worker")
    with watching(machine, tmp_path, pid) as served:
        judged(served, machine, "alive", "running")
        machine.send(pid, signal.SIGSTOP)
        judged(served, machine, "alive", "frozen")
        machine.send(pid, signal.SIGCONT)
        for partition in (Partition.BOTH, Partition.IN, Partition.REJECT):
            machine.partition(partition)
            expected = "unreachable" if partition is Partition.REJECT else "timeout"
            page = judged(served, machine, "unknown", expected)
            assert page.total("orphaned_jobs") == 0
            machine.connect()
            judged(served, machine, "alive", "running")
        machine.freeze_sshd()
        judged(served, machine, "unknown", "timeout")
        machine.thaw_sshd()
        judged(served, machine, "alive", "running")
        for child in machine.processes():
            if pid in (child.pid, child.parent):
                machine.kill(child.pid)
        page = judged(served, machine, "dead", "no_process")
        assert page.value("orphaned_jobs", queue="q", host=machine.name) == 1


def test_what_a_dead_worker_left_at_work_keeps_its_job_alive(machine: Host, tmp_path: Path) -> None:
    """Until it has ended, too."""
    pid = machine.spawn(WORKER, user="worker")
    with watching(machine, tmp_path, pid) as served:
        judged(served, machine, "alive", "running")
        children = [child.pid for child in machine.processes() if child.parent == pid]
        assert children
        machine.kill(pid)
        judged(served, machine, "alive", "child_running")
        for child in children:
            machine.kill(child)
        judged(served, machine, "dead", "no_process")


def test_a_host_that_rebooted_has_no_worker_of_before(machine: Host, tmp_path: Path) -> None:
    """The boot id is another, and the machine is not up for longer than since its last answer."""
    pid = machine.spawn(WORKER, user="worker")
    with watching(machine, tmp_path, pid) as served:
        judged(served, machine, "alive", "running")
        machine.power_off()
        judged(served, machine, "unknown", "timeout")
        machine.reboot()
        machine.write("/etc/probe.sh", SCRIPT.read_text())
        judged(served, machine, "dead", "host_rebooted")


def test_a_changed_host_key_proves_nothing(machine: Host, tmp_path: Path) -> None:
    """Whoever answers there now is not the machine that was."""
    pid = machine.spawn(WORKER, user="worker")
    with watching(machine, tmp_path, pid) as served:
        judged(served, machine, "alive", "running")
        machine.replace_host_key()
        machine.kill_connections()
        page = judged(served, machine, "unknown", "host_key")
        assert page.total("orphaned_jobs") == 0


def test_another_machine_under_the_name_proves_nothing(machine: Host, tmp_path: Path) -> None:
    """Its machine-id is not the pinned one."""
    pid = machine.spawn(WORKER, user="worker")
    with watching(machine, tmp_path, pid, machine_id="0" * 32) as served:
        page = judged(served, machine, "unknown", "wrong_host")
        assert page.total("orphaned_jobs") == 0
    assert machine.state(pid) == "S"
