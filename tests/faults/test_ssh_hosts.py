"""A real sshd that is out of reach, frozen, cut or not the one it was: never a wrong answer, never a late one."""

import base64
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import pytest

from exporter.errors import ConfigurationError
from healers.options import HostOptions
from healers.probes.command import SshCommand
from healers.probes.connection import Said
from healers.probes.protocol import HostAnswer, NoAnswer, Presence, Request, Silence
from healers.probes.ssh import SshProbe, read_target
from tests.lab.hosts import Host, Hosts, Partition, make_key
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

PROBE = Path("healers/probes/probe.sh")
SHORT_SECONDS = 4.0
PATIENT_SECONDS = 20.0
SLACK_SECONDS = 1.0


def command(host: Host, *, timeout: float = PATIENT_SECONDS, **changes: object) -> SshCommand:
    """Return what asks the host, with the key that it has now unless the test says otherwise."""
    return SshCommand(read_target(HostOptions(**host.options(**changes))), timeout=timeout)


def run_once(host: Host, *, timeout: float = PATIENT_SECONDS, **changes: object) -> Said | NoAnswer:
    """Ask once over a new connection."""
    with closing(command(host, timeout=timeout, **changes)) as asked:
        return asked.run(b"hello\n", fresh=True)


def silence_of(said: Said | NoAnswer) -> Silence:
    """Return why there is no answer."""
    assert isinstance(said, NoAnswer), said
    return said.silence


def detail_of(said: Said | NoAnswer) -> str:
    """Return what people are told."""
    assert isinstance(said, NoAnswer), said
    return said.detail


@pytest.fixture(autouse=True)
def put_right(web: Host) -> Iterator[None]:
    """Leave the host whole."""
    yield
    web.thaw_sshd()
    web.connect()
    web.set_command("cat")


def test_the_whole_probe_over_ssh(web: Host) -> None:
    """A live and an absent worker of another account are told apart, by the machine that the key is of."""
    web.write("/etc/probe.sh", PROBE.read_text())
    web.set_command("sh /etc/probe.sh")
    pid = web.spawn(["sleep", "1000"], user="worker")
    options = HostOptions(**web.options(timeout="20s"))
    request = Request(pids={pid: frozenset(), 4_000_000: frozenset()}, worker_marks=frozenset({"sleep"}))
    with closing(SshProbe(options)) as probe:
        for fresh in (False, True):
            answer = probe.ask(request, fresh=fresh)
            assert isinstance(answer, HostAnswer), answer
            assert answer.processes[pid].argv == ("sleep", "1000")
            assert answer.processes[4_000_000].presence is Presence.ABSENT
            assert (answer.hostname, answer.machine_id, answer.boot_id) == ("web03", web.machine_id, web.boot_id)
            assert answer.user == "queuemedic"
            key = paramiko.Ed25519Key(data=base64.b64decode(web.host_key.split()[1]))
            assert answer.host_key == key.fingerprint
        web.kill(pid)
        answer = probe.ask(request, fresh=False)
        assert isinstance(answer, HostAnswer), answer
        assert answer.processes[pid].presence is Presence.ABSENT


def test_a_broken_probe_says_what_it_complained_of(web: Host) -> None:
    """What a missing probe prints to standard error reaches the person who has to mend it."""
    web.set_command("sh /etc/no-such-probe.sh")
    with closing(SshProbe(HostOptions(**web.options()))) as probe:
        answer = probe.ask(Request(), fresh=False)
    assert isinstance(answer, NoAnswer), answer
    assert answer.silence is Silence.BAD_ANSWER
    assert "no-such-probe.sh" in answer.detail


def test_routine_asks_share_a_connection_and_fresh_ones_do_not(web: Host) -> None:
    """The host sees one login for three routine asks, and one more for a fresh one, which the next routine one uses."""
    before = web.logins()
    with closing(command(web)) as asked:
        for fresh, logins in ((False, 1), (False, 1), (False, 1), (True, 2), (False, 2)):
            said = asked.run(b"hello\n", fresh=fresh)
            assert isinstance(said, Said), said
            assert (said.output, said.exit_status) == (b"hello\n", 0)
            assert web.logins() - before == logins


@pytest.mark.parametrize("how", ["connections killed", "sshd restarted", "rebooted"])
def test_a_kept_connection_that_broke_is_replaced(web: Host, how: str) -> None:
    """An ask after the connection has died answers as if nothing had been."""
    with closing(command(web)) as asked:
        assert isinstance(asked.run(b"one", fresh=False), Said)
        if how == "connections killed":
            assert web.kill_connections() > 0
        elif how == "sshd restarted":
            web.stop_sshd()
            web.start_sshd()
        else:
            web.reboot()
        said = asked.run(b"two", fresh=False)
        assert isinstance(said, Said), said
        assert said.output == b"two"


@pytest.mark.parametrize(
    ("disturb", "expected"),
    [
        pytest.param(lambda web: web.partition(Partition.IN), Silence.TIMEOUT, id="what is sent is lost"),
        pytest.param(lambda web: web.partition(Partition.OUT), Silence.TIMEOUT, id="replies are lost"),
        pytest.param(lambda web: web.partition(Partition.BOTH), Silence.TIMEOUT, id="lost both ways"),
        pytest.param(lambda web: web.partition(Partition.REJECT), Silence.UNREACHABLE, id="host unreachable"),
        pytest.param(lambda web: web.partition(Partition.RESET), Silence.UNREACHABLE, id="reset"),
        pytest.param(lambda web: web.freeze_sshd(), Silence.TIMEOUT, id="frozen"),
    ],
)
def test_a_host_out_of_reach(web: Host, disturb: Callable[[Host], None], expected: Silence) -> None:
    """Whether nothing comes back or a refusal does, the ask says so in time; afterwards the host answers again."""
    disturb(web)
    started = time.monotonic()
    assert silence_of(run_once(web, timeout=SHORT_SECONDS)) is expected
    assert time.monotonic() - started < SHORT_SECONDS + SLACK_SECONDS
    web.thaw_sshd()
    web.connect()
    assert isinstance(run_once(web), Said)


@pytest.mark.parametrize("disturb", [lambda web: web.partition(Partition.BOTH), lambda web: web.freeze_sshd()])
def test_a_host_that_goes_silent_on_a_kept_connection(web: Host, disturb: Callable[[Host], None]) -> None:
    """A kept connection to a host that has gone silent is given up in time, and the next ask takes a new one."""
    with closing(command(web, timeout=SHORT_SECONDS)) as asked:
        assert isinstance(asked.run(b"one", fresh=False), Said)
        disturb(web)
        assert silence_of(asked.run(b"two", fresh=False)) is Silence.TIMEOUT
        web.thaw_sshd()
        web.connect()
        assert isinstance(asked.run(b"three", fresh=False), Said)


def test_a_closed_port(web: Host) -> None:
    """A host without sshd is unreachable at once."""
    web.stop_sshd()
    try:
        assert silence_of(run_once(web)) is Silence.UNREACHABLE
    finally:
        web.start_sshd()


def test_a_changed_key_and_a_swapped_host_are_refused(web: Host, hosts: Hosts) -> None:
    """A key that is not the known one is refused before the account shows itself, with both fingerprints."""
    options = web.options()
    other = hosts.add("web04")
    hosts.swap_addresses(web, other)
    try:
        logins = other.logins()
        with closing(SshCommand(read_target(HostOptions(**options)), timeout=PATIENT_SECONDS)) as asked:
            said = asked.run(b"", fresh=True)
        assert silence_of(said) is Silence.HOST_KEY
        assert detail_of(said).count("SHA256:") == 2
        assert other.logins() == logins
    finally:
        hosts.swap_addresses(web, other)
        other.close()
    assert isinstance(run_once(web), Said)


def test_a_host_without_a_key_in_the_file(web: Host, tmp_path: Path) -> None:
    """An unknown host is a fault of the configuration, which names the file and the command that finds the key."""
    known = tmp_path / "known_hosts"
    known.write_text(f"10.0.0.3 {web.host_key}\n")
    with pytest.raises(ConfigurationError, match=rf"{known}: has no key of {web.address}; .*ssh-keyscan"):
        read_target(HostOptions(**web.options(known_hosts=str(known))))


def test_refused_logins_are_not_repeated_at_once(web: Host, tmp_path: Path) -> None:
    """A wrong key, user or a locked account is refused, and the host then left alone for a while."""
    key = tmp_path / "key"
    make_key(key)
    before = web.log.count("Connection from")
    with closing(command(web, key_file=str(key))) as asked:
        assert silence_of(asked.run(b"", fresh=True)) is Silence.REFUSED
        again = asked.run(b"", fresh=True)
        assert silence_of(again) is Silence.REFUSED
        assert "not tried again for" in detail_of(again)
    assert web.log.count("Connection from") - before == 1
    assert silence_of(run_once(web, user="nobody-here")) is Silence.REFUSED


def test_a_locked_account(hosts: Hosts) -> None:
    """An account as `useradd` leaves it is refused by sshd without PAM."""
    host = hosts.add("web05")
    host.lock_account()
    assert silence_of(run_once(host)) is Silence.REFUSED
    host.close()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param("sleep 1000", Silence.TIMEOUT, id="says nothing"),
        pytest.param("while :; do echo x; sleep 1; done", Silence.TIMEOUT, id="a line a second"),
        pytest.param("cat /dev/zero", Silence.BAD_ANSWER, id="endless"),
        pytest.param("head -c 20000000 /dev/zero", Silence.BAD_ANSWER, id="huge"),
        pytest.param("cat /dev/zero >&2", Silence.TIMEOUT, id="endless complaints"),
    ],
)
def test_commands_that_never_answer_well(web: Host, script: str, expected: Silence) -> None:
    """Silence, dribble and floods end in time and without an answer."""
    web.set_command(script)
    with closing(command(web, timeout=PATIENT_SECONDS if expected is Silence.BAD_ANSWER else SHORT_SECONDS)) as asked:
        # A flood can keep a busy machine from even letting us in.
        assert silence_of(asked.run(b"hello\n", fresh=True)) in (expected, Silence.UNREACHABLE)


def test_an_ask_that_took_too_long_has_ended(web: Host) -> None:
    """After a command that never answers the same probe can ask again at once: nothing of the last ask goes on."""
    web.set_command("sleep 1000")
    with closing(command(web, timeout=SHORT_SECONDS)) as asked:
        assert silence_of(asked.run(b"one", fresh=False)) is Silence.TIMEOUT
        web.set_command("cat")
        assert isinstance(asked.run(b"two", fresh=False), Said)


def test_a_connection_killed_in_the_middle_of_an_answer(web: Host) -> None:
    """What came before the connection ended is no answer."""
    before = web.logins()
    web.set_command("echo part; sleep 1000")
    crash = threading.Thread(target=_kill_next_connection, args=(web, before))
    crash.start()
    try:
        assert silence_of(run_once(web)) is Silence.UNREACHABLE
    finally:
        crash.join()


def _kill_next_connection(web: Host, logins: int) -> None:
    wait_until(
        lambda: web.logins() > logins and any(process.name == "sleep" for process in web.processes()),
        within=PATIENT_SECONDS,
        what="the command runs",
    )
    web.kill_connections()


@pytest.mark.parametrize(
    ("script", "output", "status"),
    [
        pytest.param("printf '\\000\\377\\n'", b"\x00\xff\n", 0, id="binary"),
        pytest.param("echo some; exit 7", b"some\n", 7, id="exit status"),
        pytest.param("echo some; kill -9 $$", b"some\n", None, id="killed by a signal"),
        pytest.param("exec 0<&-; echo some", b"some\n", 0, id="does not read"),
    ],
)
def test_what_a_command_says_comes_as_it_is(web: Host, script: str, output: bytes, status: int | None) -> None:
    """Output is bytes, and a missing exit status is missing."""
    web.set_command(script)
    said = run_once(web)
    assert isinstance(said, Said), said
    assert (said.output, said.exit_status) == (output, status)


def test_the_account_can_do_nothing_else(web: Host) -> None:
    """The forced command replaces any other; there is no terminal, no forwarding, and sftp is the command too."""
    web.set_command("echo forced")
    target = read_target(HostOptions(**web.options()))
    with closing(paramiko.Transport((target.address, target.port))) as transport:
        transport.connect(username=target.user, pkey=target.key)
        with closing(transport.open_session()) as channel:
            channel.settimeout(PATIENT_SECONDS)
            channel.exec_command("id")
            assert channel.recv(100) == b"forced\n"
        with closing(transport.open_session()) as channel, pytest.raises(paramiko.SSHException):
            channel.get_pty()
        with closing(transport.open_session()) as channel:
            channel.settimeout(PATIENT_SECONDS)
            channel.invoke_subsystem("sftp")
            assert channel.recv(100) == b"forced\n"
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1), timeout=PATIENT_SECONDS)
    transport.join(5)


def test_a_worker_of_the_lab_is_what_it_should_be(web: Host) -> None:
    """Processes have the pid that was asked for, stop, end, and stay as zombies only on demand."""
    pid = web.spawn(["sleep", "1000"], user="worker", pid=3000)
    assert pid == 3000
    assert web.state(pid) in {"R", "S"}
    web.send(pid, signal.SIGSTOP)
    wait_until(lambda: web.state(pid) == "T", within=PATIENT_SECONDS, what="it is stopped")
    web.kill(pid)
    assert web.state(pid) is None
    assert web.spawn(["sleep", "1000"], pid=3000) == 3000
    web.kill(3000)
    zombie = web.spawn(["sleep", "1000"], reap=False)
    web.kill(zombie)
    assert web.state(zombie) == "Z"
