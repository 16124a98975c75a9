"""A watched host is prepared and undone by the shipped script, on a machine with Debian's own sshd configuration."""

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from healers.options import HostOptions
from healers.probes.protocol import HostAnswer, NoAnswer, Request, Silence
from healers.probes.ssh import SshProbe
from tests.conftest import installed, lab_hosts
from tests.lab.deploy_tools import DEPLOY, tool
from tests.lab.hosts import PROBE_USER, Host, Hosts
from tests.lab.programs import program
from tests.lab.waiting import wait_until

SCRIPT = DEPLOY / "watched-host" / "prepare.sh"
PROBE = Path("healers/probes/probe.sh").resolve()
FILES = "find etc usr/local/lib -xdev -path etc/ssl -prune -o ! -name '*-' ! -name .pwd.lock"
LOOK = f"cd / && {FILES} -printf '%M %u %g %p %l\\n' | sort"
READ = f"cd / && {FILES} -type f -exec sha256sum {{}} + | sort"


class Prepared:
    """One machine, and the script run on it."""

    def __init__(self, host: Host, hosts: Hosts) -> None:
        self.host = host
        self.key = hosts.folder / "key.pub"
        self.key.write_text(hosts.public_key + " somebody@somewhere\n")

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Run the script as root; its exit code and all that it printed."""
        told = self.host.call(["sh", "-c", 'sh "$@" 2>&1; echo "code $?"', "-", str(SCRIPT), *map(str, arguments)])
        text, _, code = told.rstrip("\n").rpartition("code ")
        return int(code), text

    def install(self, *options: str) -> tuple[int, str]:
        """Prepare the host with the key of the lab."""
        return self.run("install", *options, self.key, PROBE)

    def found(self) -> str:
        """All files of /etc and /usr/local/lib: names, owners, modes and a digest of what is in them."""
        contents = self.host.call(["sh", "-c", READ])
        return hashlib.sha256(contents.encode()).hexdigest() + self.host.call(["sh", "-c", LOOK])

    def options(self) -> HostOptions:
        """The host's section, with the key that its sshd has."""
        key = self.host.call(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
        settings = self.host.options(timeout="20s")
        self.host.known_hosts.write_text(f"{self.host.address} {' '.join(key.split()[:2])}\n")
        return HostOptions(**settings)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Machines; skips where none can be made."""
    with lab_hosts() as made:
        yield made


@pytest.fixture
def prepared(hosts: Hosts) -> Iterator[Prepared]:
    """A machine as Debian installs one: nothing in it knows of Queuemedic."""
    host = hosts.add(f"web{len(hosts.by_name)}")
    host.stop_sshd()
    host.call(["userdel", PROBE_USER])
    host.call(["mount", "-t", "tmpfs", "tmpfs", "/usr/local/lib"])
    host.call(["ssh-keygen", "-A"])
    yield Prepared(host, hosts)
    host.close()


def start_sshd(host: Host) -> None:
    """Start it with the configuration of the distribution."""
    host.spawn([program("sshd", package="openssh-server"), "-D", "-e"])

    def answers() -> bool:
        with socket.create_connection((host.address, 22), timeout=1):
            return True

    wait_until(answers, within=20, what="sshd answers")


def test_a_host_is_prepared_asked_and_as_it_was_before(prepared: Prepared) -> None:
    """Twice each: once is enough, and once more does no harm; what sshd allows others stays the same throughout."""
    host = prepared.host
    # Without PAM sshd keeps out accounts that are locked, as they are when they are new.
    host.call(["sed", "-i", "s/^UsePAM yes/UsePAM no/", "/etc/ssh/sshd_config"])
    start_sshd(host)
    before, for_others = prepared.found(), host.call(["sshd", "-T"])
    code, told = prepared.install("--from", "198.18.0.0/15")
    assert (code, "sshd has read its configuration again" in told) == (0, True), told
    after = prepared.found()
    assert after != before
    code, told = prepared.install("--from", "198.18.0.0/15")
    assert (code, told.splitlines()[0], prepared.found()) == (0, "all was there already", after)
    assert f"machine_id: {host.machine_id}" in told
    assert host.call(["sshd", "-T"]) == for_others
    with closing(SshProbe(prepared.options())) as probe:
        answer = probe.ask(Request(pids={1: frozenset()}), fresh=True)
        assert isinstance(answer, HostAnswer), answer
        assert (answer.user, answer.machine_id) == (PROBE_USER, host.machine_id)
        assert run_ssh(prepared, "id") != 0
        code, told = prepared.run("undo")
        assert (code, told.splitlines()[-1]) == (0, "nothing of it is left")
        assert prepared.found() == before
        silent = probe.ask(Request(pids={1: frozenset()}), fresh=False)
        assert isinstance(silent, NoAnswer)
    assert prepared.run("undo") == (0, "nothing of it is left\n")
    assert prepared.found() == before
    with closing(SshProbe(prepared.options())) as probe:
        silent = probe.ask(Request(pids={1: frozenset()}), fresh=True)
        assert isinstance(silent, NoAnswer)
        assert silent.silence is Silence.REFUSED


def run_ssh(prepared: Prepared, command: str) -> int:
    """Try to run something else than the probe, with the probe's key; its exit code."""
    ssh = program("ssh", package="openssh-client")
    known = f"UserKnownHostsFile={prepared.host.known_hosts}"
    asked = [ssh, "-F", "none", "-i", str(prepared.host.key_file), "-o", known, f"{PROBE_USER}@{prepared.host.address}"]
    done = subprocess.run(
        [*asked, command], stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "refused: the request is cut\n")
    return done.returncode


DAMAGES = {
    "sed -i '/^Include/d' /etc/ssh/sshd_config": "put first into sshd_config: Include",
    "echo nonsense >>/etc/ssh/sshd_config": "sshd finds faults in its configuration: nothing was changed",
    f"useradd --system {PROBE_USER}": "is an account already, and was not made here",
    "rm -r /etc/ssh/sshd_config.d": "is not there, so sshd is too old",
}

TOUCHED = "/etc/ssh /etc/passwd /etc/group /etc/shadow /etc/gshadow"


def test_what_cannot_be_prepared_is_left_as_it_was(prepared: Prepared, tmp_path: Path) -> None:
    """It says why, and nothing of an attempt stays: on a host that is not fit, with no key, and with no probe."""
    optioned = tmp_path / "optioned.pub"
    optioned.write_text(f"no-pty {prepared.key.read_text()}")
    before = prepared.found()
    for arguments in (
        (prepared.host.key_file, PROBE),
        (optioned, PROBE),
        (tmp_path / "missing", PROBE),
        (prepared.key, SCRIPT),
        ("--from", '10.0.0.1",command="sh', prepared.key, PROBE),
        ("--account", "root", prepared.key, PROBE),
    ):
        assert prepared.run("install", *arguments)[0] == 1, arguments
    assert prepared.found() == before
    prepared.host.call(["sh", "-c", f"mkdir /run/as-it-was && cp -a {TOUCHED} /run/as-it-was"])
    for damage, fault in DAMAGES.items():
        prepared.host.call(["sh", "-c", damage])
        before = prepared.found()
        code, told = prepared.install()
        assert (code, fault in told) == (1, True), told
        assert prepared.found() == before
        prepared.host.call(["sh", "-c", f"rm -r {TOUCHED} && cp -a /run/as-it-was/. /etc"])


def test_shellcheck_has_nothing_to_say() -> None:
    """Of any script that is shipped here."""
    with installed():
        shellcheck = tool("shellcheck")
    checked = subprocess.run([shellcheck, *DEPLOY.rglob("*.sh")], check=False, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
