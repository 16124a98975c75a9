"""What systemd is told: real datagrams, and a sign of life only while the program lives."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from queuemedic.app import App
from queuemedic.notify import Notifier
from queuemedic.serving import _Life


@contextmanager
def supervisor(address: str) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        yield listener


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_message_is_one_datagram(is_abstract: bool, tmp_path: Path) -> None:
    """To a path, or to an abstract socket, which is written with an @."""
    name = f"@queuemedic-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with supervisor(name.replace("@", "\0")) as listener:
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.send("READY=1", "STATUS=well")
        assert listener.recv(4096) == b"READY=1\nSTATUS=well"
        notifier.send_reloading()
        reloading, begun = listener.recv(4096).decode().split("\n")
        assert reloading == "RELOADING=1"
        assert begun.removeprefix("MONOTONIC_USEC=").isdigit()


@pytest.mark.parametrize("name", ["", "/nowhere/at/all", "relative", "x" * 200, "\0" * 3, "@"])
def test_nobody_who_listens_is_no_fault(name: str) -> None:
    """Nothing is raised, whatever the name is."""
    notifier = Notifier({"NOTIFY_SOCKET": name} if name else {})
    assert bool(notifier) == bool(name)
    notifier.send("READY=1")


def test_a_supervisor_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    """Its buffer is full, and sending goes on."""
    name = str(tmp_path / "notify")
    with supervisor(name):
        notifier = Notifier({"NOTIFY_SOCKET": name})
        for _ in range(5000):
            notifier.send("STATUS=" + "x" * 1000)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "me"}, None),
    ],
)
def test_the_watchdog_may_be_meant_for_another_process(environment: dict[str, str], seconds: float | None) -> None:
    """It is ours if no process is named, or this one."""
    assert Notifier({"NOTIFY_SOCKET": "@x", **environment}).watchdog_seconds == seconds


def test_a_sign_of_life_passes_through_the_loop(tmp_path: Path) -> None:
    """A beat that the loop does not take up is none; each tells how many queues are up."""
    pollers = [SimpleNamespace(status=SimpleNamespace(is_up=is_up)) for is_up in (True, False, True)]
    name = str(tmp_path / "notify")
    with supervisor(name) as listener:
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000"})
        life = _Life(cast(App, SimpleNamespace(pollers=pollers)), notifier)
        assert life.beat_seconds == 2.0
        life.beat()
        listener.setblocking(False)

        async def run() -> None:
            life.loop = asyncio.get_running_loop()
            life.beat()
            with pytest.raises(BlockingIOError):
                listener.recv(4096)
            await asyncio.sleep(0)
            assert listener.recv(4096) == b"WATCHDOG=1\nSTATUS=3 queues, 2 up"

        asyncio.run(run())
        life.beat()
        with pytest.raises(BlockingIOError):
            listener.recv(4096)
