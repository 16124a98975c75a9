"""Hosts that are silent delay no host that answers, however many they are."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import pytest

from exporter import clock
from healers.asking import HostAsker
from healers.beliefs import Beliefs
from healers.options import HostOptions
from queuemedic.building import make_hosts, make_probes
from queuemedic.config import Config
from queuemedic.rounds import Rounds
from queuemedic.scheduling import Scheduler
from tests.lab.hosts import make_key
from tests.lab.waiting import wait_until

SILENT, ANSWERING = 150, 3
EVERY = 2.0


@contextmanager
def drops_everybody() -> Iterator[int]:
    """Listen, and let no connection come about: what is sent to such a port is dropped, as by a machine that is off."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=1)))
        port = listener.getsockname()[1]
        for _ in range(8):
            filling = stack.enter_context(closing(socket.socket()))
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.1", port))
        trying = stack.enter_context(closing(socket.socket()))
        trying.settimeout(0.3)
        with pytest.raises(TimeoutError):
            trying.connect(("127.0.0.1", port))
        yield port


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """Hosts of which most are off, and those that answer come last."""
    key, known_hosts = tmp_path / "key", tmp_path / "known_hosts"
    public_key = make_key(key)
    with drops_everybody() as port:
        known_hosts.write_text(f"[127.0.0.1]:{port} {public_key}\n")
        off = HostOptions(
            via="ssh", address="127.0.0.1", port=port, user="q", key_file=key, known_hosts=known_hosts, ask_every="2s"
        )
        there = HostOptions(via="local", ask_every="2s")
        hosts = {f"off{number}": off for number in range(SILENT)}
        hosts |= {f"there{number}": there for number in range(ANSWERING)}
        yield Config(queues=MappingProxyType({}), hosts=MappingProxyType(hosts))


def test_those_that_answer_are_asked_in_time(config: Config) -> None:
    """150 of 153 hosts are off: the others wait for them at their first round, and for none later on."""
    answered: dict[str, list[float]] = {}

    def publish(asker: HostAsker, *_: object) -> None:
        if asker.status.is_up:
            answered.setdefault(asker.status.name, []).append(clock.monotonic_seconds())

    rounds = Rounds(config, make_probes(config), Beliefs(make_hosts(config)), publish=publish, tell=lambda _: None)
    scheduler = Scheduler()
    scheduler.start()
    try:
        rounds.start(scheduler)
        wait_until(lambda: len(answered) == ANSWERING, within=30, what="all hosts that are there have answered")
        for times in answered.values():
            times.clear()
        wait_until(lambda: min(map(len, answered.values())) >= 3, within=30, what="they are asked again")
        gaps = [later - earlier for times in answered.values() for earlier, later in pairwise(times)]
        assert max(gaps) < 3 * EVERY
    finally:
        rounds.end()
        scheduler.shutdown(wait=True)
