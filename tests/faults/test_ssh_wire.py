"""The wire to a real sshd falls silent, or is cut, after any number of bytes: no answer, in time, nothing left."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from healers.options import HostOptions
from healers.probes.command import SshCommand
from healers.probes.connection import Said
from healers.probes.protocol import NoAnswer, Silence
from healers.probes.ssh import read_target
from tests.lab.hosts import SSH_PORT, Host
from tests.lab.proxy import Proxy

OUTPUT = b"the answer\n" * 100
STAGES = ("negotiating", "logging in", "opening a session", "starting the command", "reading the answer")


@pytest.fixture(scope="module")
def proxy(web: Host) -> Iterator[Proxy]:
    """A wire to the host."""
    web.set_command("cat")
    with Proxy(SSH_PORT, target_host=web.address) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy, web: Host, tmp_path: Path) -> HostOptions:
    """How to ask over the wire."""
    proxy.reply_bytes, proxy.cuts_there = None, False
    known = tmp_path / "known_hosts"
    options = web.options(address=proxy.host, port=proxy.port, known_hosts=str(known))
    known.write_text(f"[{proxy.host}]:{proxy.port} {web.host_key}\n")
    return HostOptions(**options)


def whole_reply(proxy: Proxy, options: HostOptions) -> int:
    """Return how many bytes the host sends until the exit status is there."""
    with closing(SshCommand(read_target(options), timeout=20)) as asked:
        said = asked.run(OUTPUT, fresh=True)
        assert isinstance(said, Said), said
        assert (said.output, said.exit_status) == (OUTPUT, 0)
        return proxy.replied


@pytest.mark.usefixtures("nothing_left")
def test_silence_at_every_stage(proxy: Proxy, through: HostOptions) -> None:
    """Wherever the host falls silent the ask ends in time, and its message says at which stage it was."""
    total = whole_reply(proxy, through)
    stages: set[str] = set()
    for share in range(9):
        proxy.reply_bytes = (total - 300) * share // 8
        started = time.monotonic()
        with closing(SshCommand(read_target(through), timeout=1.0)) as asked:
            said = asked.run(OUTPUT, fresh=True)
        assert time.monotonic() - started < 2.0
        assert isinstance(said, NoAnswer), proxy.reply_bytes
        assert said.silence is Silence.TIMEOUT, (proxy.reply_bytes, said)
        stages.add(said.detail.rpartition("while ")[2])
    assert {"negotiating", "logging in"} <= stages


@pytest.mark.usefixtures("nothing_left")
def test_a_cut_at_many_bytes(proxy: Proxy, through: HostOptions) -> None:
    """Wherever the connection is cut, there is either no answer or all of it; never a part with an exit status."""
    total = whole_reply(proxy, through)
    proxy.cuts_there = True
    for offset in (*range(1, total, 211), *range(total - 200, total, 29)):
        proxy.reply_bytes = offset
        with closing(SshCommand(read_target(through), timeout=20)) as asked:
            said = asked.run(OUTPUT, fresh=True)
        if isinstance(said, Said) and said.exit_status is not None:
            assert (said.output, said.exit_status) == (OUTPUT, 0)
        else:
            assert isinstance(said, Said) or said.silence is Silence.UNREACHABLE, (offset, said)


@pytest.mark.parametrize("begin", [b"", b"SSH-2.0-x\r\n" + (0x7FFFFFF4).to_bytes(4, "big")], ids=["banner", "packet"])
def test_a_host_that_floods_before_it_lets_us_in_is_cut_off(begin: bytes, web: Host, tmp_path: Path) -> None:
    """Anyone in the path could send what paramiko would keep: packets of 2 GiB, a banner without an end."""
    sent = 0

    def flood(listener: socket.socket) -> None:
        nonlocal sent
        with suppress(OSError), listener.accept()[0] as client:
            client.sendall(begin)
            while sent < 1 << 28:
                sent += client.send(b"x" * 65_536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood, args=(listener,))
        thread.start()
        host, port = listener.getsockname()
        known = tmp_path / "known_hosts"
        options = web.options(address=host, port=port, known_hosts=str(known))
        known.write_text(f"[{host}]:{port} {web.host_key}\n")
        with closing(SshCommand(read_target(HostOptions(**options)), timeout=10)) as asked:
            said = asked.run(b"", fresh=True)
        thread.join(20)
    assert isinstance(said, NoAnswer)
    assert sent < 64 << 20
