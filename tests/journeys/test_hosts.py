"""Workers judged by the running program: it asks this machine, and writes nothing."""

import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.lab.queuemedic import Page, Serving, run, serving, write_config
from tests.lab.sqlite_queue import FAST
from tests.lab.waiting import wait_until

HOST = socket.gethostname()
WORKER = ("sh", "-c", "echo; read -r end", "the-worker")


@pytest.fixture
def worker() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits."""
    process = subprocess.Popen(WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def make_queue(file: Path) -> dict[str, Any]:
    """Make a table whose rows record a pid."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, a TEXT, b TEXT, host TEXT, pid TEXT)")
    columns = {"id": "id", "enqueued_at": "a", "started_at": "b", "host": "host", "pid": "pid"}
    return {
        "system": "table",
        "url": f"sqlite:///{file}",
        "from": "jobs",
        "columns": columns,
        "waiting_when": "b IS NULL",
        "started_when": "b IS NOT NULL",
        "worker": {"command": ["the-worker"]},
        **FAST,
    }


def start_job(file: Path, pid: int, host: str = HOST) -> None:
    """Add a job that a worker has just taken."""
    with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        started = "INSERT INTO jobs (a, b, host, pid) VALUES (datetime('now'), datetime('now'), ?, ?)"
        connection.execute(started, (host, str(pid)))


def rows(file: Path) -> list[tuple[object, ...]]:
    """Return the whole table."""
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        return connection.execute("SELECT * FROM jobs").fetchall()


def a_site(folder: Path, **host: Any) -> tuple[Path, Path]:
    """Return a table, and a configuration that asks this machine."""
    file = folder / "jobs.db"
    asked = {"via": "local", "pid_namespace": "own", "ask_every": "1s", **host}
    return file, write_config(folder, {"q": make_queue(file)}, hosts={HOST: asked})


def scrape_until(served: Serving, verdict: str, reason: str) -> Page:
    """Scrape until the one job is judged so."""
    return served.scrape_until("worker_verdicts", 1, queue="q", host=HOST, verdict=verdict, reason=reason)


def test_a_worker_is_alive_frozen_and_dead_as_it_really_is(tmp_path: Path, worker: "subprocess.Popen[bytes]") -> None:
    """From one round to the next; and nothing but the judgement changes."""
    file, config = a_site(tmp_path)
    start_job(file, worker.pid)
    before = rows(file)
    with serving(config, tmp_path) as served:
        scrape_until(served, "alive", "running")
        assert served.scrape().value("orphaned_jobs", queue="q", host=HOST) == 0
        os.kill(worker.pid, signal.SIGSTOP)
        scrape_until(served, "alive", "frozen")
        os.kill(worker.pid, signal.SIGCONT)
        scrape_until(served, "alive", "running")
        worker.kill()
        worker.wait()
        page = scrape_until(served, "dead", "no_process")
        assert page.value("orphaned_jobs", queue="q", host=HOST) == 1
        assert page.value("host_up", host=HOST) == 1
        assert page.value("healing_mode", queue="q", mode="disabled") == 1
        assert served.log.count("host.answered") == 1
    assert rows(file) == before


def test_check_says_what_it_can_tell_in_one_round(tmp_path: Path, worker: "subprocess.Popen[bytes]") -> None:
    """A worker that is there is alive; of one that nobody ever saw, absence proves nothing."""
    file, config = a_site(tmp_path)
    start_job(file, worker.pid)
    start_job(file, 4_000_000)
    start_job(file, 1)
    (queue,) = run("--config", config, "check", "--json").json["queues"]
    reasons = {attempt["pid"]: (attempt["verdict"], attempt["verdict_reason"]) for attempt in queue["attempts"]}
    assert reasons[worker.pid] == ("alive", "running")
    assert reasons[1] in {("unknown", "not_identifiable"), ("unknown", "pid_namespace")}  # beside some container
    assert reasons[4_000_000][0] == "unknown"
    assert queue["orphaned"] == 0


def test_hosts_check_says_of_each_whether_it_can_be_used(tmp_path: Path) -> None:
    """And which recorded host is missing, with lines to paste."""
    file, config = a_site(tmp_path)
    start_job(file, 1, host="web9")
    good = run("--config", config, "hosts", "check")
    assert (good.code, good.out.splitlines()[0], good.err) == (0, f"✓ {HOST}: answers", "")
    assert "'web9' is recorded by rows and cannot be asked" in good.out
    config.write_text(config.read_text().replace(f"{HOST}:", "elsewhere:"))
    bad = run("--config", config, "hosts", "check", "--json")
    assert bad.code == 3
    (view,) = bad.json["hosts"]
    assert (view["host"], view["up"], view["reason"]) == ("elsewhere", False, "wrong_host")


def test_the_script_is_printed_whole() -> None:
    """As it is to be installed on a host; beside it the line for authorized_keys, which the how-to has, too."""
    printed = run("hosts", "script")
    assert printed.code == 0
    assert printed.out.startswith("#!/bin/sh\n")
    assert printed.err.strip() in Path("docs/howto/ask-hosts.md").read_text()
    assert subprocess.run(["sh", "-n"], input=printed.out.encode(), check=False).returncode == 0


def test_a_reload_asks_other_hosts_and_forgets_nobody(tmp_path: Path, worker: "subprocess.Popen[bytes]") -> None:
    """What was enrolled stays so: the worker that dies meanwhile is dead at once."""
    file, config = a_site(tmp_path)
    start_job(file, worker.pid)
    with serving(config, tmp_path) as served:
        scrape_until(served, "alive", "running")
        config.write_text(config.read_text().replace("ask_every: 1s", "ask_every: 2s"))
        worker.kill()
        worker.wait()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.reloaded" in served.log, within=10, what="the reload")
        scrape_until(served, "dead", "no_process")


def test_a_table_without_a_word_on_how_to_put_back_is_not_healed(tmp_path: Path) -> None:
    """At the start, and not when the first job is orphaned."""
    file = tmp_path / "jobs.db"
    queue = {**make_queue(file), "healing": {"mode": "reset"}}
    done = run("--config", write_config(tmp_path, {"q": queue}), "config", "check")
    assert (done.code, done.out) == (2, "")
    assert done.err == "queues.q.healing.reset: there is none; give what puts a job back, {column: null}\n"
