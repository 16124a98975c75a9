"""Fixtures: hosts of the lab, and the check that a test has left no thread, descriptor or process behind."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import lab_hosts
from tests.lab import processes
from tests.lab.hosts import Host, Hosts
from tests.lab.waiting import wait_until


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """The module's hosts; skips where such cannot be made."""
    with lab_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def web(hosts: Hosts) -> Host:
    """One host, to be left as it was found."""
    return hosts.add("web03")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail the test if a thread, a descriptor or a child of this process outlives it."""
    before = _held()

    def assert_as_before() -> bool:
        assert _held() == before
        return True

    yield
    wait_until(assert_as_before, within=10, what="all is as before")


def _held() -> tuple[list[str], list[str], int]:
    """Return the names of the threads, what kinds of things descriptors lead to, and how many children there are."""
    threads = sorted(thread.name for thread in threading.enumerate())
    descriptors = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            descriptors.append(str(each.readlink()).partition("[")[0])
    children = [process.pid for process in processes.running() if process.parent == os.getpid()]
    return threads, sorted(descriptors), len(children)
