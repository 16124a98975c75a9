"""What healing holds in memory depends on what is started now, not on how much was ever put back.

Counted by tracemalloc after a collection, so neither what the allocator keeps nor what others have loaded matters.
"""

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.builders import a_process
from tests.lab.watchdog import PlayedHost, Watchdog

from .healing_benches import HOST, HealingBench, on_sqlite, played_host

JOBS, WARM_TURNS, TURNS = 60, 2, 3
PIDS = range(1_000, 1_000 + JOBS)
"""The same in each turn: the latest workers are remembered, some thousands of them."""

MOST_BYTES_A_JOB = 200
"""The key of an attempt takes 350, all that is held of one thousands; drivers take 10 kB now and then."""

TAKE = (
    f"UPDATE jobs SET busy = 1, begun = datetime('now', '-300 seconds'), host = '{HOST}',"
    f" pid = {PIDS.start} + id % {JOBS} WHERE kind = 'mail' AND busy = 0"
)
UNLIMITED: dict[str, Any] = {"max_resets_per_hour": 100_000, "max_resets_per_job": {"resets": 100, "within": "24h"}}


@pytest.fixture
def traced() -> Iterator[None]:
    """Count what is held; of each allocation one frame, which costs the least."""
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_what_was_put_back_is_not_held(tmp_path: Path) -> None:
    """Hundreds of jobs, whose workers were seen alive and then died, leave nothing behind."""
    bench, host, held = on_sqlite(tmp_path / "watched"), played_host(), []
    bench.table.enqueue(JOBS - 1)  # besides the one that waits already
    with capture_logs() as told, Watchdog(bench.write_config(**UNLIMITED), {HOST: host}) as dog:
        for turn in range(1, WARM_TURNS + TURNS + 1):
            _heal(bench, dog, host)
            assert bench.resets().total() == turn * JOBS
            for kept_by_the_test in (host.asked, told):
                kept_by_the_test.clear()
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    assert held[-1] - held[WARM_TURNS - 1] < TURNS * JOBS * MOST_BYTES_A_JOB


def _heal(bench: HealingBench, dog: Watchdog, host: PlayedHost) -> None:
    """Let workers take all jobs that wait, be seen, and die, and their jobs be put back."""
    alive = host.processes
    host.processes = alive | {pid: a_process(pid) for pid in PIDS}
    bench.table.sql(TAKE)
    dog.look()
    host.processes = alive
    dog.look_twice()
