"""Passes over thousands of orphans are work, so rounds do not bring one after the other."""

from pathlib import Path

import pytest

from exporter import clock
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.poller import Poller
from exporter.queues.memory import MemoryQueue
from exporter.slots import ServerSlots
from healers.beliefs import Beliefs
from healers.gathering import Seen
from queuemedic.healing import Healing
from tests.unit.config_files import read

QUEUE = QueueName("mails")


@pytest.fixture
def poller() -> Poller:
    """What polls a queue that is healed."""
    table = MemoryQueue(QUEUE, now=clock.now)
    return Poller(table, QueueOptions(), aliases={}, server_slots=ServerSlots(1), publish=lambda *_: None)


@pytest.fixture
def healing(tmp_path: Path, poller: Poller) -> Healing:
    """The healing half of a program with that queue."""
    text = f"ledger: sqlite:///{tmp_path}/ledger.db\nqueues:\n  mails: {{system: memory, healing: {{mode: dry_run}}}}\n"
    config, beliefs = read(tmp_path, text), Beliefs([])
    made = Healing(config, get_beliefs=lambda: beliefs, publish=lambda *_: None)
    made.replace(config, {QUEUE: poller}, {QUEUE: None})
    return made


@pytest.mark.parametrize(("worked", "rests"), [(0.0, 0.5), (0.25, 1.0)])
def test_a_pass_rests_as_long_as_it_was_work(healing: Healing, poller: Poller, worked: float, rests: float) -> None:
    """Four times its time on the processor: what it waits for, a database or a lock, counts for nothing."""

    def see(_: Poller) -> Seen | None:
        until = clock.thread_seconds() + worked
        while clock.thread_seconds() < until:
            pass
        return None

    assert healing.rest_seconds(QUEUE) == 0
    before = clock.monotonic_seconds()
    healing.run_pass(poller, see)
    took = clock.monotonic_seconds() - before
    found = healing.rest_seconds(QUEUE)
    assert found < rests if not worked else rests - took < found
    healing.keeper.close(within_seconds=5)
