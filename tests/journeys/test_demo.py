"""The demo as a newcomer runs it: a killed worker is seen as stuck, and Ctrl-C leaves nothing behind."""

import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.ports import free_port
from tests.lab.processes import Process, look, running
from tests.lab.queuemedic import QUEUEMEDIC
from tests.lab.waiting import wait_until

TROUBLE = {"queuemedic_stuck_jobs", "queuemedic_orphaned_jobs"}


def samples(address: str) -> dict[str, float]:
    """Scrape and add up by name."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{address}/metrics").text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
    return totals


def family(pid: int) -> list[Process]:
    """Return a process and those it has started."""
    return [process for process in running() if pid in (process.pid, process.parent)]


def workers_of(pid: int) -> list[Process]:
    """Return the demo's workers."""
    return [process for process in family(pid) if "queuemedic.demo" in process.argv()]


def sees_all_trouble(address: str, seen: set[str]) -> bool:
    """Scrape once, and say whether all trouble was seen by now: the demo heals, so it may never be on one page."""
    page = samples(address)
    seen |= {name for name in TROUBLE if page[name] >= 1}
    return seen == TROUBLE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_demo_shows_a_stuck_job_and_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    """Its workers end with it, also if it is killed; its folder goes, unless it is killed."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    demo = subprocess.Popen(
        [QUEUEMEDIC, "demo", "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
    )
    try:
        wait_until(lambda: samples(address)["queuemedic_up"] == 1, within=30, what="the demo is up")
        wait_until(lambda: len(workers_of(demo.pid)) == 3, within=10, what="three work, also if one was just killed")
        if number is signal.SIGINT:
            seen: set[str] = set()
            wait_until(lambda: sees_all_trouble(address, seen), within=40, what="a stuck job, its worker dead")
            assert samples(address)["queuemedic_jobs_ended_total"] > 0
        everybody = family(demo.pid)
    finally:
        demo.send_signal(number)
        out, _ = demo.communicate(timeout=20)
    wait_until(lambda: not any(process.now() for process in everybody), within=10, what="nobody is left")
    if number is not signal.SIGKILL:
        assert demo.returncode == 0, out
        assert list(tmp_path.iterdir()) == []
    assert address in out
    assert "Traceback" not in out
    assert look(demo.pid) is None
