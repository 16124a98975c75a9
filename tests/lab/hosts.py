"""Whole machines on one: a network, PIDs, a name, an /etc, a boot id and an uptime of their own, and a real sshd.

    with Hosts() as hosts:
        web = hosts.add("web03", command="sh /etc/probe.sh")
        web.write("/etc/probe.sh", script)
        worker = web.spawn(["sleep", "1000"], user="worker")
        probe = SshProbe(HostOptions(**web.options()))

Each machine hangs on a cable (a veth pair) whose near end is in this network namespace: 198.18.0.0/15 is set aside for
tests of networks (RFC 2544). The cable stays while the machine is off, so that nothing meant for it goes elsewhere.
The file system is shared, but for /etc and /run. Accounts exist inside only: `queuemedic` may log in, `worker` may not.
Pids are those inside. Nothing has a name outside that could stay behind: all ends with two processes per machine.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from . import run
from .programs import NotInstalled, program
from .waiting import wait_until

PROBE_USER = "queuemedic"
ACCOUNTS = {PROBE_USER: 61_001, "worker": 61_002}
SSH_PORT = 22
START_SECONDS = 20.0
INIT = Path(__file__).with_name("host_init.py")


class NotAllowed(Exception):
    """Machines of the lab cannot be made here."""


INPUT = "chain in { type filter hook input priority 0; %s; }\n"
OUTPUT = "chain out { type filter hook output priority 0; %s; }\n"


class Partition(Enum):
    """What becomes of the packets between this machine and a host: rules of nftables inside the host."""

    IN = INPUT % "drop"
    """What is sent to it is lost; what it sends arrives."""
    OUT = OUTPUT % "drop"
    """What is sent to it arrives; what it sends is lost."""
    BOTH = IN + OUTPUT % "drop"
    REJECT = INPUT % "tcp dport 22 reject with icmp type host-unreachable"
    RESET = INPUT % "tcp dport 22 reject with tcp reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A process inside a machine."""

    pid: int
    parent: int
    state: str
    name: str


class Hosts:
    """The machines of one test, and the key that they are asked with; made as root, else NotAllowed."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NotAllowed("hosts are network namespaces, which only root can make")
        for name, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")):
            program(name, package=package)
        program("sshd", package="openssh-server")
        spaces = ("--net", "--pid", "--fork", "--mount", "--uts", "--ipc", "--time")
        tried = subprocess.run(["unshare", *spaces, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise NotAllowed(f"hosts are namespaces, which cannot be made here: {tried.stderr.strip()}")
        self.folder = run.scratch("hosts")
        self.key_file = self.folder / "key"
        self.public_key = make_key(self.key_file)
        self.by_name: dict[str, Host] = {}
        self._undo = ExitStack()
        self._undo.callback(shutil.rmtree, self.folder)

    def add(self, name: str, **settings: Any) -> "Host":
        """Make a machine and boot it; takes what `Host` takes."""
        host = Host(self, name, **settings)
        self._undo.callback(host.close)
        host.start()
        self.by_name[name] = host
        return host

    def swap_addresses(self, one: "Host", other: "Host") -> None:
        """Let either machine answer where the other did."""
        one.subnet, other.subnet = other.subnet, one.subnet
        for host in (one, other):
            host.take_addresses_off()
        for host in (one, other):
            host.put_addresses_on()

    def close(self) -> None:
        """End all machines, many at a time, and remove cables and files."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(Host.close, self.by_name.values()))
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Host:
    """One machine. `hostname` defaults to its name; `command` is all that the account may run over SSH."""

    def __init__(
        self,
        hosts: Hosts,
        name: str,
        *,
        command: str = "cat",
        hostname: str | None = None,
        machine_id: str | None = None,
        up_for: timedelta = timedelta(days=3),
        sshd: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.hostname = hostname or name
        self.machine_id = machine_id or secrets.token_hex(16)
        self.boot_id = ""
        self.folder = hosts.folder / name
        self.key_file, self.known_hosts = hosts.key_file, self.folder / "known_hosts"
        self.cable = f"lab{secrets.token_hex(5)}"
        self.subnet = secrets.randbelow(1 << 15)
        self.sshd_pid = 0
        self.host_key = ""
        self._etc = self.folder / "etc"
        self._log = self.folder / "log"
        self._up_for = up_for
        self._sshd = dict(sshd or {})
        self._network: subprocess.Popen[bytes] | None = None
        self._machine: subprocess.Popen[str] | None = None
        self._make_files(hosts.public_key, command)

    @property
    def address(self) -> str:
        """Where it answers."""
        return _address(self.subnet, 2)

    @property
    def near_address(self) -> str:
        """Whence it is asked."""
        return _address(self.subnet, 1)

    @property
    def log(self) -> str:
        """What sshd and the started processes have printed."""
        return self._log.read_text(errors="replace")

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return its section of the configuration; the known_hosts file has the key it has now."""
        self.known_hosts.write_text(f"{self.address} {self.host_key}\n")
        settings = {
            "via": "ssh",
            "address": self.address,
            "user": PROBE_USER,
            "key_file": str(self.key_file),
            "known_hosts": str(self.known_hosts),
            "machine_id": self.machine_id,
        }
        return settings | changes

    # Power

    def start(self) -> None:
        """Boot: a new boot id, and sshd answers."""
        if self._network is None:
            self._lay_cable()
        self.boot_id = str(uuid.uuid4())
        (self.folder / "boot_id").write_text(self.boot_id + "\n")
        settings = {"hostname": self.hostname, "etc": str(self._etc), "boot_id": str(self.folder / "boot_id")}
        offset = int(self._up_for.total_seconds() - time.clock_gettime(time.CLOCK_BOOTTIME))
        command = [
            *self._in_network(),
            *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"),
            *("--time", "--boottime", str(offset)),
            *(getattr(sys, "_base_executable", sys.executable), "-I", "-S", str(INIT), json.dumps(settings)),
        ]
        with self._log.open("ab") as log:
            self._machine = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        self._answer()
        self.connect()
        self.start_sshd()

    def power_off(self) -> None:
        """End it as a loss of power does: it says nothing any more, to nobody, and nothing of it runs."""
        self.partition(Partition.BOTH)
        self._kill_machine()

    def reboot(self) -> None:
        """End it and boot it anew."""
        self.power_off()
        self._up_for = timedelta(seconds=1)
        self.start()

    def close(self) -> None:
        """End the machine and its network, and wait until the cable is gone."""
        self._kill_machine()
        if self._network is not None:
            self._network.kill()
            self._network.wait()
            self._network = None
            subprocess.run(["ip", "link", "delete", self.cable], capture_output=True, check=False)

    # Processes

    def spawn(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        pid: int | None = None,
        reap: bool = True,
        folder: str = "/",
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start a process, as root unless `user`, and return its pid, which may be asked for.

        What it prints goes to the log. One with `reap=False` stays as a zombie when it ends. Another process may be
        quicker to have the pid for a moment, so one that got another is killed and started anew.
        """
        order = {"argv": list(argv), "user": user, "pid": pid, "reap": reap, "folder": folder, "log": str(self._log)}

        def start() -> int | None:
            answer = self._order("spawn", **order, environment=dict(environment or {}))
            assert "fault" not in answer, f"{argv[0]} on {self.name}: {answer['fault']}"
            found = int(answer["pid"])
            if pid in (None, found):
                return found
            self.kill(found)
            return None

        return wait_until(start, within=START_SECONDS, what=f"{argv[0]} on {self.name} is started, with pid {pid}")

    def call(self, argv: Sequence[str], *, text: str = "") -> str:
        """Run a program to its end as root, and return what it printed; AssertionError if it failed."""
        answer = self._order("call", argv=list(argv), input=text)
        assert answer["status"] == 0, f"{argv} on {self.name}: {answer}"
        return str(answer["output"])

    def send(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal; return whether there was such a process."""
        return bool(self._order("send", pid=pid, signal=int(number))["found"])

    def kill(self, pid: int) -> None:
        """Kill a process and wait until it has ended; a zombie has."""
        self.send(pid, signal.SIGKILL)
        wait_until(lambda: self.state(pid) in {None, "Z"}, within=START_SECONDS, what=f"{pid} has ended")

    def processes(self) -> list[Inside]:
        """Return every process inside."""
        return [Inside(**each) for each in self._order("list")["processes"]]

    def state(self, pid: int) -> str | None:
        """Return the state letter of a process, None if there is none."""
        return next((each.state for each in self.processes() if each.pid == pid), None)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file below /etc, as the machine sees it; also while it is off."""
        assert path.startswith("/etc/"), f"{path}: only /etc is the machine's own"
        file = self._etc / path.removeprefix("/etc/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    # SSH

    def start_sshd(self) -> None:
        """Start sshd and wait until it listens."""
        self.sshd_pid = self.spawn([program("sshd", package="openssh-server"), "-D", "-e", "-f", "/etc/ssh/lab_config"])
        wait_until(self._listens, within=START_SECONDS, what=f"sshd on {self.name} listens")

    def stop_sshd(self) -> None:
        """End sshd and its connections: the port is closed."""
        for process in self._sshds():
            self.kill(process.pid)

    def freeze_sshd(self) -> None:
        """Stop sshd and its connections in mid-work: the kernel goes on accepting, and nobody answers."""
        self._send_all(self._sshds(), signal.SIGSTOP)

    def thaw_sshd(self) -> None:
        """Let them go on."""
        self._send_all(self._sshds(), signal.SIGCONT)

    def kill_connections(self) -> int:
        """Kill what serves the connections, and leave the listening sshd; return how many there were."""
        serving = [process for process in self._sshds() if process.pid != self.sshd_pid]
        self._send_all(serving, signal.SIGKILL)
        return len(serving)

    def logins(self) -> int:
        """Return how many connections have been let in since it was made."""
        return self.log.count("Accepted publickey for")

    def set_command(self, command: str) -> None:
        """Change what the account may run."""
        quoted = command.replace('"', '\\"')
        self.write(f"/etc/ssh/lab_keys/{PROBE_USER}", f'restrict,command="{quoted}" {self._public_key}\n')

    def replace_host_key(self) -> None:
        """Give it another host key; a running sshd has it when it is started again."""
        self.host_key = make_key(self._etc / "ssh/lab_key")

    def copy_host_key(self, other: "Host") -> None:
        """Give it the host key of another; a running sshd has it when it is started again."""
        shutil.copy2(other._etc / "ssh/lab_key", self._etc / "ssh/lab_key")
        self.host_key = other.host_key

    def lock_account(self) -> None:
        """Lock the account as `useradd` leaves one without a password."""
        shadow = self._etc / "shadow"
        shadow.write_text(shadow.read_text().replace(f"{PROBE_USER}:*:", f"{PROBE_USER}:!:"))

    # Network

    def partition(self, partition: Partition) -> None:
        """Disturb the network from now on, in place of an earlier disturbance."""
        self._nft(f"flush ruleset\ntable inet lab {{\n{partition.value}}}\n")

    def connect(self) -> None:
        """Let the network be as it should."""
        self._nft("flush ruleset")

    def put_addresses_on(self) -> None:
        """Give both ends of the cable their addresses."""
        _run("ip", "address", "add", f"{self.near_address}/30", "dev", self.cable)
        _run(*self._in_network(), "ip", "address", "add", f"{self.address}/30", "dev", "eth0")

    def take_addresses_off(self) -> None:
        """Take the addresses off both ends."""
        _run("ip", "address", "flush", "dev", self.cable)
        _run(*self._in_network(), "ip", "address", "flush", "dev", "eth0")

    def _lay_cable(self) -> None:
        self._network = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._await_namespace(self._network)
        _run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._network.pid))
        _run("ip", "link", "set", self.cable, "up")
        for device in ("lo", "eth0"):
            _run(*self._in_network(), "ip", "link", "set", device, "up")
        taken = _run("ip", "-oneline", "-4", "address")
        while f" {self.near_address}/" in taken:
            self.subnet = secrets.randbelow(1 << 15)
        self.put_addresses_on()

    def _await_namespace(self, holder: subprocess.Popen[bytes]) -> None:
        own, its = Path("/proc/self/ns/net"), Path(f"/proc/{holder.pid}/ns/net")
        wait_until(
            lambda: holder.poll() is not None or its.readlink() != own.readlink(),
            within=START_SECONDS,
            what="the network namespace is there",
        )
        if holder.poll() is not None:
            raise NotAllowed("no network namespace can be made here")

    def _make_files(self, public_key: str, command: str) -> None:
        self.folder.mkdir()
        self._log.touch()
        shutil.copytree("/etc", self._etc, symlinks=True, ignore_dangling_symlinks=True)
        (self._etc / "machine-id").unlink(missing_ok=True)
        self.write("/etc/machine-id", self.machine_id + "\n")
        self.write("/etc/hostname", self.hostname + "\n")
        for name, uid in ACCOUNTS.items():
            for file, line in (
                ("passwd", f"{name}:x:{uid}:{uid}::/:/bin/sh\n"),
                ("group", f"{name}:x:{uid}:\n"),
                ("shadow", f"{name}:*:20000:0:99999:7:::\n"),
            ):
                with (self._etc / file).open("a") as accounts:
                    accounts.write(line)
        self._public_key = public_key
        self.set_command(command)
        self.replace_host_key()
        config = {
            "Port": str(SSH_PORT),
            "HostKey": "/etc/ssh/lab_key",
            "AuthorizedKeysFile": "/etc/ssh/lab_keys/%u",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PidFile": "none",
            "LogLevel": "VERBOSE",
            "Subsystem": "sftp internal-sftp",
            "MaxStartups": "100",
        }
        self.write("/etc/ssh/lab_config", "".join(f"{key} {value}\n" for key, value in (config | self._sshd).items()))

    def _kill_machine(self) -> None:
        if self._machine is None:
            return
        self._machine.kill()
        self._machine.wait()
        for end in (self._machine.stdin, self._machine.stdout):
            if end is not None:
                end.close()
        self._machine = None

    def _order(self, order: str, **details: object) -> dict[str, Any]:
        assert self._machine is not None, f"{self.name} is off"
        assert self._machine.stdin is not None
        self._machine.stdin.write(json.dumps({"order": order, **details}) + "\n")
        self._machine.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._machine is not None
        assert self._machine.stdout is not None
        line = self._machine.stdout.readline()
        if not line:
            raise NotAllowed(f"{self.name} has ended: {self.log[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _sshds(self) -> list[Inside]:
        return [process for process in self.processes() if process.name == "sshd" and process.state != "Z"]

    def _listens(self) -> bool:
        assert self.state(self.sshd_pid) not in {None, "Z"} or "fatal" not in self.log, self.log
        sockets = self._order("call", argv=["cat", "/proc/net/tcp"], input="")["output"]
        return any(f":{SSH_PORT:04X} " in line and " 0A " in line for line in sockets.splitlines())

    def _send_all(self, processes: Iterable[Inside], number: signal.Signals) -> None:
        for process in processes:
            self.send(process.pid, number)

    def _nft(self, rules: str) -> None:
        _run(*self._in_network(), program("nft", package="nftables"), "--file", "-", text=rules)

    def _in_network(self) -> tuple[str, ...]:
        assert self._network is not None, f"{self.name} has no network"
        return ("nsenter", f"--net=/proc/{self._network.pid}/ns/net", "--")


def make_key(file: Path) -> str:
    """Write a private key as OpenSSH reads it, and return the public one in a line."""
    key = Ed25519PrivateKey.generate()
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def _address(subnet: int, number: int) -> str:
    value = (198 << 24) + (18 << 16) + 4 * subnet + number
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


__all__ = ["ACCOUNTS", "PROBE_USER", "Host", "Hosts", "Inside", "NotAllowed", "NotInstalled", "Partition", "make_key"]
