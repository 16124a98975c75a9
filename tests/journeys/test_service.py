"""The program as a service: what it tells systemd, and that it ends in time whatever hangs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.lab import queuemedic
from tests.lab.ports import free_port
from tests.lab.sqlite_queue import FAST, make_queue
from tests.lab.waiting import wait_until

WATCHDOG_SECONDS = 1.0


class Supervisor:
    """A socket as systemd gives to a service, and what came in."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.01)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Take in everything that has come."""
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except TimeoutError:
                return self.heard

    def wait_for(self, text: str) -> None:
        """Wait until somebody says this from now on."""
        self.heard = []
        wait_until(lambda: any(text in one for one in self.listen()), within=10, what=text)

    def silence(self, seconds: float) -> None:
        """Let that much time pass in which there is no sign of life."""
        self.heard = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            assert "WATCHDOG=1" not in "".join(self.listen())

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """Listen to one service."""
    with closing(Supervisor(tmp_path / "notify")) as made:
        yield made


def test_systemd_is_told_from_the_start_to_the_end(supervisor: Supervisor, tmp_path: Path) -> None:
    """Ready when it listens, reloading and ready again, alive in between, and stopping."""
    config = queuemedic.write_config(tmp_path, {"q": make_queue(tmp_path / "q.db")})
    with queuemedic.serving(config, tmp_path, environment=supervisor.environment) as served:
        assert supervisor.listen()[0].startswith("READY=1\nSTATUS=1 queue, ")
        supervisor.wait_for("WATCHDOG=1\nSTATUS=1 queue, 1 up")
        supervisor.heard = []
        before = time.monotonic()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "READY=1" in supervisor.listen(), within=10, what="ready again")
        told = [one for one in supervisor.heard if "WATCHDOG" not in one]
        reloading, begun = told[0].split("\nMONOTONIC_USEC=")
        assert (reloading, told[1:]) == ("RELOADING=1", ["READY=1"])
        assert before <= int(begun) / 1e6 <= time.monotonic()
        config.write_text("nonsense: 1")
        supervisor.heard = []
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "READY=1" in supervisor.listen(), within=10, what="ready again, though it was refused")
        assert served.stop() == 0
        assert "STOPPING=1" in supervisor.listen()
        assert "WATCHDOG=1" not in supervisor.heard[-1]


def test_databases_that_hang_do_not_stop_the_sign_of_life(supervisor: Supervisor, tmp_path: Path) -> None:
    """More of them than there are threads to poll: a restart would help nobody."""
    with closing(socket.create_server(("0.0.0.0", free_port()), backlog=100)) as silent:  # noqa: S104  127.0.0.0/8
        port = silent.getsockname()[1]
        queues = {
            f"q{number}": {"system": "matomo", "url": f"mysql://a:b@127.{number}.0.1:{port}/matomo", **FAST}
            for number in range(1, 40)
        }
        config = queuemedic.write_config(tmp_path, queues)
        with queuemedic.serving(config, tmp_path, environment=supervisor.environment) as served:
            for _ in range(12):
                began = time.monotonic()
                supervisor.wait_for("WATCHDOG=1")
                assert time.monotonic() - began < WATCHDOG_SECONDS
            supervisor.wait_for("STATUS=39 queues, 0 up")
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < 5


DEAD_SCHEDULER = """
from queuemedic import serving
from queuemedic.app import App
polling = App.polling
def and_die(self, *arguments, **options):
    import contextlib, threading
    @contextlib.contextmanager
    def dying():
        with polling(self, *arguments, **options):
            threading.Timer(2.0, lambda: setattr(self._scheduler, "_process_jobs", lambda: 1 / 0)).start()
            yield
    return dying()
App.polling = and_die
"""
STUCK_LOOP = """
import time
from queuemedic.app import App
App.find_unready = lambda self: time.sleep(60)
"""


@pytest.mark.parametrize(("damage", "path"), [(DEAD_SCHEDULER, None), (STUCK_LOOP, "/-/ready")])
def test_a_program_that_is_dead_inside_gives_no_sign_of_life(
    damage: str, path: str | None, supervisor: Supervisor, tmp_path: Path
) -> None:
    """A scheduler that has died, or a loop that answers nobody, though the process runs: systemd then restarts it."""
    port = free_port()
    config = queuemedic.write_config(tmp_path, {"q": make_queue(tmp_path / "q.db")}, port=port)
    code = f"{damage}\nfrom queuemedic.cli import main\nmain()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--config", config, "serve"],
        env={**os.environ, **supervisor.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        supervisor.wait_for("WATCHDOG=1")
        if path:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: has_gone_quiet(supervisor), within=15, what="no sign of life")
        supervisor.silence(2 * WATCHDOG_SECONDS)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def has_gone_quiet(supervisor: Supervisor) -> bool:
    """Whether nothing was heard for longer than the watchdog would wait."""
    supervisor.heard = []
    ends = time.monotonic() + 1.5 * WATCHDOG_SECONDS
    while time.monotonic() < ends:
        if supervisor.listen():
            return False
    return True


def test_it_ends_in_the_middle_of_a_reload_too(tmp_path: Path) -> None:
    """One that waits for a pipe in place of the file; a scraper that never reads is open meanwhile."""
    config = queuemedic.write_config(tmp_path, {"q": make_queue(tmp_path / "q.db")})
    with queuemedic.serving(config, tmp_path) as served:
        config.unlink()
        os.mkfifo(config)
        host, port = served.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
            served.process.send_signal(signal.SIGHUP)
            assert served.get("/-/healthy").status_code == 200
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < 5


def test_it_ends_before_it_has_begun_too(tmp_path: Path) -> None:
    """While it reads a configuration that does not end: as the first process of a container it would not end at all."""
    config = tmp_path / "queuemedic.yml"
    os.mkfifo(config)
    process = subprocess.Popen([queuemedic.QUEUEMEDIC, "--config", config, "serve"])
    try:
        with ExitStack() as writing:
            wait_until(lambda: begin_to_write(config, writing), within=20, what="it reads")
            wait_until(lambda: is_asleep(process.pid), within=20, what="it waits for more")
            process.terminate()
            assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def begin_to_write(pipe: Path, writing: ExitStack) -> bool:
    """Open a pipe if somebody reads it."""
    try:
        writing.callback(os.close, os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def is_asleep(pid: int) -> bool:
    """Whether a process waits in the system for as long as we look: a signal then ends that wait."""
    for _ in range(20):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "S":
            return False
        time.sleep(0.01)
    return True
