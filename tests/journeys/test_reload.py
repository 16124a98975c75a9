"""Reload the configuration of the running program: what is the same goes on, and what is wrong changes nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.lab import queuemedic
from tests.lab.ports import free_port
from tests.lab.queuemedic import Serving
from tests.lab.sqlite_queue import FAST, add_jobs, make_queue
from tests.lab.waiting import wait_until


class Program:
    """`serve` with two queues on SQLite, and its configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web: dict[str, Any] = {"enable_lifecycle": True}
        self.queues = {name: make_queue(folder / f"{name}.db") for name in ("kept", "other")}
        self.hosts: dict[str, Any] = {}
        self.file = folder / "queuemedic.yml"
        self.port = 0
        self.served: Serving

    def write(self) -> None:
        """Write the file as the attributes say."""
        web = {"listen": f"127.0.0.1:{self.port}", **self.web}
        draft = self.folder / "draft.yml"
        draft.write_text(yaml.safe_dump({"web": web, "queues": self.queues, "hosts": self.hosts}))
        draft.replace(self.file)

    @contextmanager
    def running(self, **options: Any) -> Iterator[Serving]:
        """Run it until both queues are up."""
        self.write()
        with queuemedic.serving(self.file, self.folder, **options) as served:
            self.port = int(served.address.rpartition(":")[2])
            self.served = served
            for name in self.queues:
                served.scrape_until("up", 1, queue=name)
            yield served

    def reload(self, code: int = 200) -> str:
        """Write the file and reload it."""
        self.write()
        answer = self.served.post("/-/reload")
        assert answer.status_code == code, (answer.text, self.served.log)
        return answer.text


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The program, running."""
    made = Program(tmp_path)
    with made.running():
        yield made


def test_a_queue_that_is_the_same_goes_on(program: Program) -> None:
    """History, connection, counters and schedule stay; the queue that changed begins anew, a new one comes."""
    for name in program.queues:
        add_jobs(program.folder / f"{name}.db", 3)
        program.served.scrape_until("jobs_enqueued_total", 3, queue=name, kind="job")
    before = program.served.scrape()
    program.queues["other"]["stuck_after"] = "2h"
    program.queues["third"] = make_queue(program.folder / "third.db")
    program.reload()
    page = program.served.scrape_until("up", 1, queue="third")
    assert page.value("jobs_enqueued_total", queue="kept", kind="job") == 3
    polls = before.value("polls_total", queue="kept", outcome="ok") or 0
    assert (page.value("polls_total", queue="kept", outcome="ok") or 0) >= polls
    assert (
        program.served.scrape_until("up", 1, queue="other").value("jobs_enqueued_total", queue="other", kind="job") == 0
    )
    assert page.value("limit_seconds", queue="other", limit="stuck_after") == 7200
    assert page.value("config_reload_successful") == 1
    assert (page.value("config_reload_timestamp_seconds") or 0) > (before.value("config_reload_timestamp_seconds") or 0)
    assert program.served.log.count("queue.reached") == 4


def test_a_queue_that_is_gone_leaves_the_page_at_once(program: Program) -> None:
    """With all of its series, and nothing of it comes back; its files are let go of."""
    del program.queues["other"]
    program.reload()
    assert 'queue="other"' not in program.served.scrape().text
    descriptors = Path(f"/proc/{program.served.process.pid}/fd")

    def has_let_go() -> bool:
        return not any("other.db" in str(one.resolve()) for one in descriptors.iterdir())

    wait_until(has_let_go, within=5, what="the file is closed")
    assert 'queue="other"' not in program.served.scrape().text


def test_hosts_matter_to_the_queues_that_have_seen_them(program: Program) -> None:
    """A new name for a host that a queue has seen begins its history anew; to others it is no change."""
    add_jobs(program.folder / "other.db", started_on="web03.test")
    program.served.scrape_until("host_started_jobs", 1, queue="other", host="web03.test")
    for name in program.queues:
        add_jobs(program.folder / f"{name}.db", 3)
    program.served.scrape_until("jobs_enqueued_total", 3, queue="kept", kind="job")
    program.served.scrape_until("jobs_enqueued_total", 4, queue="other", kind="job")
    program.hosts = {"web03": {"aliases": ["web03.test"]}}
    program.reload()
    page = program.served.scrape_until("host_started_jobs", 1, queue="other", host="web03")
    assert page.value("host_started_jobs", queue="other", host="web03.test") is None
    assert page.value("jobs_enqueued_total", queue="other", kind="job") == 0
    assert page.value("jobs_enqueued_total", queue="kept", kind="job") == 3
    add_jobs(program.folder / "kept.db", started_on="web03.test")
    page = program.served.scrape_until("host_started_jobs", 1, queue="kept", host="web03")
    assert page.value("jobs_enqueued_total", queue="kept", kind="job") == 4


def test_a_queue_whose_file_names_another_database_begins_anew(program: Program) -> None:
    """Its section is equal and its history is not: the other's jobs were not enqueued just now."""
    url_file, url = program.folder / "url", program.queues["other"].pop("url")
    program.queues["other"]["url_file"] = str(url_file)
    url_file.write_text(url)
    program.reload()
    program.served.scrape_until("jobs", 1, queue="other", kind="job", state="waiting")
    program.queues["other"]["poll_every"] = "1h"
    program.reload()
    before = program.served.scrape_until("polls_total", 1, queue="other", outcome="ok")
    make_queue(program.folder / "another.db", waiting=7)
    url_file.write_text(url.replace("other.db", "another.db"))
    program.reload()
    after = program.served.scrape_until("jobs", 7, queue="other", kind="job", state="waiting")
    assert after.value("jobs_enqueued_total", queue="other", kind="job") == 0
    assert after.value("polls_total", queue="other", outcome="ok") == 1
    kept = [page.value("polls_total", queue="kept", outcome="ok") or 0 for page in (before, after)]
    assert 1 <= kept[0] <= kept[1]
    url_file.unlink()
    assert f"{url_file}: cannot be read" in program.reload(500)


def test_a_bad_file_changes_nothing_and_every_fault_is_said(program: Program) -> None:
    """In the answer and in the log; the gauge says it until a reload succeeds, the timestamp stays."""
    before = program.served.scrape()
    program.queues["other"]["poll_every"] = "5 min"
    program.queues["bad"] = {"system": "matomo", "url": "mysql://reader:s3cret@db1/matomo", "max_hosts": 0}
    body = program.reload(500)
    assert "queues.other.poll_every: '5 min' is not a duration" in body
    assert "queues.bad.max_hosts: 0 is too small" in body
    assert "config.reload_failed" in program.served.log
    assert "5 min" in program.served.log
    page = program.served.scrape()
    assert page.value("config_reload_successful") == 0
    at = "config_reload_timestamp_seconds"
    assert page.value(at) == before.value(at)
    assert page.value("up", queue="other") == 1
    assert 'queue="bad"' not in page.text
    assert "s3cret" not in body + program.served.log + page.text
    program.queues = {name: program.queues[name] for name in ("kept", "other")}
    program.queues["other"].update(FAST)
    program.reload()
    assert program.served.scrape().value("config_reload_successful") == 1


def test_queues_that_cannot_be_built_are_all_named(program: Program) -> None:
    """The file is right, but what it names is not there; nothing has changed, not even the other queue."""
    for name in ("bad", "worse"):
        program.queues[name] = {"system": "matomo", "matomo_config": f"/nowhere/{name}.ini.php"}
    program.queues["other"]["stuck_after"] = "2h"
    body = program.reload(500)
    assert "queues.bad" in body
    assert "queues.worse" in body
    assert program.served.scrape().value("limit_seconds", queue="other", limit="stuck_after") == 3600


def test_a_reload_has_to_be_allowed(tmp_path: Path) -> None:
    """Over HTTP only where the configuration says so, and never by GET; SIGHUP always does, and can allow it."""
    program = Program(tmp_path)
    program.web = {}
    with program.running() as served:
        answer = served.post("/-/reload")
        assert (answer.status_code, "web.enable_lifecycle" in answer.text) == (403, True)
        assert served.get("/-/reload").status_code == 405
        assert "config.reloaded" not in served.log
        program.web = {"enable_lifecycle": True}
        program.write()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.reloaded" in served.log, within=10, what="reloaded")
        assert served.post("/-/reload").status_code == 200
        program.web = {"listen": "127.0.0.1:1"}
        program.reload()
        assert "web.listen_kept" in served.log
        assert served.post("/-/reload").status_code == 403


def test_a_queue_that_hangs_delays_no_reload_and_says_nothing_afterwards(tmp_path: Path) -> None:
    """Its poll is under way when the queue is taken out: the reload answers, and the poll's end changes no page."""
    program = Program(tmp_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"mysql://reader:x@127.0.0.1:{silent.getsockname()[1]}/matomo"
        program.queues["hung"] = {"system": "matomo", "url": url, **FAST, "poll_timeout": "3s"}
        program.write()
        with queuemedic.serving(program.file, tmp_path) as served:
            program.served = served
            program.port = int(served.address.rpartition(":")[2])
            silent.settimeout(10)
            connection, _ = silent.accept()
            del program.queues["hung"]
            began = time.monotonic()
            program.reload()
            assert time.monotonic() - began < 1.5
            assert 'queue="hung"' not in served.scrape().text
            connection.settimeout(10)
            with closing(connection):
                assert connection.recv(1) == b""
            assert 'queue="hung"' not in served.scrape().text


def test_a_queue_that_comes_back_waits_for_its_own_poll_that_still_hangs(program: Program) -> None:
    """Taken out and put back, the queues of a server that is silent still send it no more than two polls at once."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, ExitStack() as held:
        silent.settimeout(10)
        url = f"mysql://a:b@127.0.0.1:{silent.getsockname()[1]}/matomo"
        before = dict(program.queues)
        hanging = {f"hanging{number}": {"system": "matomo", "url": url, "poll_every": "1s"} for number in range(2)}
        program.queues |= hanging
        program.reload()
        for _ in hanging:
            held.enter_context(silent.accept()[0])
        program.queues = before
        program.reload()
        program.queues = {**before, **hanging}
        program.reload()
        silent.settimeout(4)
        with pytest.raises(TimeoutError):
            silent.accept()


def test_queues_that_hang_delay_no_other_after_a_reload_either(tmp_path: Path) -> None:
    """As many as there are threads for those that answer, all of them changed while they get no answer."""
    program = Program(tmp_path)
    with ExitStack() as silence:
        silent = [silence.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(16)]
        for number, listener in enumerate(silent):
            url = f"mysql://a:b@127.0.0.1:{listener.getsockname()[1]}/matomo"
            program.queues[f"hanging{number}"] = {"system": "matomo", "url": url, **FAST}
        program.write()
        served = silence.enter_context(queuemedic.serving(program.file, tmp_path))
        program.served, program.port = served, int(served.address.rpartition(":")[2])

        def failed() -> int:
            return sum(
                number > 0 for number in served.scrape().values("polls_total", "queue", outcome="timeout").values()
            )

        wait_until(lambda: failed() == len(silent), within=30, what="all of them were tried")
        for number in range(len(silent)):
            program.queues[f"hanging{number}"]["poll_timeout"] = "30s"
        program.reload()
        polls = served.scrape().total("polls_total", queue="kept", outcome="ok")
        wait_until(
            lambda: served.scrape().total("polls_total", queue="kept", outcome="ok") >= polls + 4,
            within=15,
            what="the others are polled as before",
        )


def test_fifty_reloads_in_a_row_under_load(program: Program) -> None:
    """Nothing grows, no scrape fails, counters of the queue that stays never fall, and two at once do not mix."""
    add_jobs(program.folder / "kept.db", 3)
    program.served.scrape_until("jobs_enqueued_total", 3, queue="kept", kind="job")
    program.reload()
    counts: list[float | None] = []
    has_ended = threading.Event()

    def scrape() -> None:
        with httpx.Client(base_url=program.served.address, timeout=20) as client:
            while not has_ended.is_set():
                page = queuemedic.Page(client.get("/metrics").text, is_openmetrics=False)
                counts.append(page.value("jobs_enqueued_total", queue="kept", kind="job"))

    def reload_often() -> None:
        with httpx.Client(base_url=program.served.address, timeout=20) as client:
            for _ in range(25):
                assert client.post("/-/reload").status_code == 200

    def usage() -> tuple[int, int, int]:
        status = Path(f"/proc/{program.served.process.pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return program.served.threads(), program.served.descriptors(), int(resident.split()[1])

    def reload_with_changes(times: int) -> None:
        for number in range(times):
            program.queues["other"]["stuck_after"] = f"{number + 1}h"
            program.reload()

    scraping = threading.Thread(target=scrape)
    scraping.start()
    others = [threading.Thread(target=reload_often) for _ in range(2)]
    try:
        reload_with_changes(10)
        threads, descriptors, resident = usage()
        for other in others:
            other.start()
        reload_with_changes(50)
        for other in others:
            other.join()
    finally:
        has_ended.set()
        scraping.join()
    assert set(counts) == {3.0}
    assert len(counts) > 50
    wait_until(lambda: program.served.threads() <= threads + 4, within=10, what="threads are back")
    wait_until(lambda: program.served.descriptors() <= descriptors + 2, within=10, what="descriptors are back")
    assert usage()[2] < resident + 12_000
    program.served.scrape_until("up", 1, queue="other")
    assert "Traceback" not in program.served.log


def test_without_a_file_there_is_something_to_reload_too(tmp_path: Path) -> None:
    """In the folder of a Matomo: its queue is the same, and goes on."""
    folder = tmp_path / "config"
    folder.mkdir()
    ini = "[database]\nhost = 127.0.0.1\nport = 1\nusername = x\npassword = s3cret\ndbname = matomo\n"
    (folder / "config.ini.php").write_text(f"; <?php exit; ?>\n{ini}")
    with queuemedic.serving(None, tmp_path) as served:
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.reloaded" in served.log, within=10, what="reloaded")
        assert served.scrape().value("config_reload_successful") == 1
        assert served.post("/-/reload").status_code == 403
        (folder / "config.ini.php").unlink()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.reload_failed" in served.log, within=10, what="refused")
        assert served.scrape().value("config_reload_successful") == 0
        assert "s3cret" not in served.log
        assert served.stop() == 0


def test_no_other_configuration_takes_the_place_of_a_file_that_is_gone(tmp_path: Path) -> None:
    """Not even in a folder that needs none, where the password would be gone with the file."""
    program = Program(tmp_path)
    (tmp_path / "meltano.yml").write_text("version: 1\n")
    (tmp_path / "web.yml").write_text(
        "basic_auth_users: {a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}\n"
    )
    program.web, program.port = {"config_file": "web.yml"}, free_port()
    program.write()
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen([queuemedic.QUEUEMEDIC, "serve"], stdout=output, stderr=output, cwd=tmp_path)
    try:
        wait_until(lambda: "server.started" in log.read_text(), within=20, what="started")
        program.file.unlink()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config.reload" in log.read_text(), within=10, what="the hangup was heard")
        assert "faults=('queuemedic.yml: does not exist; write the path of a configuration file',)" in log.read_text()
        assert httpx.get(f"http://127.0.0.1:{program.port}/metrics").status_code == 401
    finally:
        process.kill()
        process.wait()


def test_pages_are_served_while_a_reload_hangs(tmp_path: Path) -> None:
    """The file is a pipe that nobody writes to: scrapes go on, and the program ends when it is told to."""
    program = Program(tmp_path)
    with program.running() as served:
        program.file.unlink()
        os.mkfifo(program.file)
        served.process.send_signal(signal.SIGHUP)
        for _ in range(20):
            assert served.get("/metrics").status_code == 200
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 5


def test_a_hangup_before_there_is_a_server_is_kept_for_later(tmp_path: Path) -> None:
    """It does not end the program, which reloads as soon as it can."""
    program = Program(tmp_path)
    program.write()
    log = tmp_path / "early.log"
    code = (
        "import os, signal, sys\n"
        "from queuemedic import startup\n"
        "load = startup.load_config\n"
        "def late(file):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    startup.load_config = load\n"
        "    return load(file)\n"
        "startup.load_config = late\n"
        "from queuemedic.cli import main\n"
        "main()\n"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "--config", program.file, "serve"], stdout=output, stderr=output
        )
    try:
        wait_until(lambda: "config.reloaded" in log.read_text(), within=20, what="reloaded")
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
