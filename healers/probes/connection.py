"""One SSH connection to one host, and the one command that is run over it.

Of paramiko only the transport is used: its client resolves names without a limit and looks about for keys. paramiko 5.1
waits without a limit for the reply to an exec request and for an exit status (`channel.py`), and takes other limits
from the wall clock; so every wait here is either bounded by `until`, on the monotonic clock, or ended by `abort`, which
is called from another thread, blocks on nothing, and can be called again and again.
"""

import logging
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

import paramiko

from exporter import clock

from .answer import MOST_BYTES
from .protocol import NoAnswer, Silence

COMMAND = "queuemedic"
"""What is asked to be run; the forced command of the account ignores it."""

MAX_OUTPUT_BYTES = MOST_BYTES
MAX_COMPLAINT_BYTES = 300
CHUNK_BYTES = 1 << 16
LOGIN_BYTES = 1 << 20
"""The most that a host may send before it has let us in; paramiko 5.1 takes packets of 2 GiB (`packet.py`)."""
END_SECONDS = 2.0
CONNECTING_SHARE = 0.4
"""Of the time: a kernel that is there takes a connection at once, however busy its machine is. Of 9 s that is time for
three tries of TCP (tcp(7)), and a machine that is off holds up a thread for no longer."""

WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
}
"""What paramiko 5.1 still offers and nobody should take."""

SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

LOOK_UP = """
import socket, sys
for address in dict.fromkeys(found[4][0] for found in socket.getaddrinfo(sys.argv[1], None, type=socket.SOCK_STREAM)):
    print(address)
"""

SILENT = logging.getLogger("healers.probes.paramiko")
SILENT.disabled = True  # what went wrong is in the NoAnswer; paramiko would print it with a traceback


class Failed(Exception):
    """Why a host was not asked, or gave nothing to be read."""

    def __init__(self, silence: Silence, detail: str) -> None:
        super().__init__(detail)
        self.answer = NoAnswer(silence=silence, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, as whom, and by which keys either side proves itself."""

    address: str
    port: int
    user: str
    key: paramiko.PKey
    host_keys: tuple[paramiko.PKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the command said: its output, the beginning of its complaints, and its exit status if that was told."""

    output: bytes
    complaint: str
    exit_status: int | None
    host_key: str


class Wire(socket.socket):
    """A socket that ends once more has come in than is allowed."""

    __slots__ = ("_allowed",)

    def allow(self, size: int) -> None:
        """Let this many bytes come in from now on."""
        self._allowed = size

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive; raise EOFError once too much has come."""
        piece = super().recv(size, flags)
        self._allowed -= len(piece)
        if self._allowed < 0:
            raise EOFError("the host sends far more than was asked for")
        return piece


class Connection:
    """A connection that is opened once, used for one command at a time, and closed.

    `doing` says in words what it is at, for the message when it is ended there.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.doing = "connecting"
        self._socket: Wire | None = None
        self._transport: paramiko.Transport | None = None
        self._channel: paramiko.Channel | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be used; a host that went away silently is not noticed."""
        return self._transport is not None and self._transport.is_active()

    def open(self, *, until: float) -> None:
        """Connect, verify the host and log in; raise whatever went wrong. To be closed also then."""
        self._socket = self._connect(until)
        self._transport = transport = paramiko.Transport(self._socket, disabled_algorithms=WEAK)
        transport.set_log_channel(SILENT.name)
        kinds = dict.fromkeys(key.get_name() for key in self.target.host_keys)
        transport.get_security_options().key_types = [name for kind in kinds for name in SIGNATURES.get(kind, (kind,))]
        self._negotiate(transport, until)
        self._authenticate(transport, until)

    def run(self, request: bytes, *, until: float) -> Said:
        """Run the forced command with `request` as all of its input; raise whatever went wrong."""
        self.doing = "opening a session"
        transport, wire = self._transport, self._socket
        if transport is None or wire is None:
            raise Failed(Silence.UNREACHABLE, "the connection was never opened")
        wire.allow(2 * MAX_OUTPUT_BYTES)
        channel = self._channel = self._session(transport, until)
        try:
            self.doing = "starting the command"
            self._start(channel)
            self.doing = "reading the answer"
            with suppress(OSError):  # a command that ends without reading has still said something
                channel.sendall(request)
                channel.shutdown_write()
            output = _read(channel)
            self.doing = "waiting for the exit status"
            status = channel.recv_exit_status()
            return Said(
                output=output,
                complaint=_complaint(channel),
                exit_status=status if status >= 0 else None,
                host_key=transport.get_remote_server_key().fingerprint,
            )
        finally:
            self._channel = None
            channel.close()

    def abort(self) -> None:
        """Wake whoever waits for something of this connection. From any thread; blocks on nothing."""
        channel, end = self._channel, self._socket
        if end is not None:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if channel is not None:
            # paramiko clears the event after it looked whether the channel is open: the end of the transport alone
            # can be overlooked.
            channel.event.set()
            channel.status_event.set()

    def close(self) -> None:
        """End it, its thread and its socket, whatever state it is in."""
        if self._socket is None:
            return
        self.abort()
        if self._transport is not None:
            self._transport.close()
            if self._transport.is_alive() and self._transport is not threading.current_thread():
                self._transport.join(END_SECONDS)
            self._transport.packetizer.complete_handshake()  # ends a timer's thread that a failed one leaves for 15 s
        self._socket.close()

    def _connect(self, until: float) -> Wire:
        self.doing = "looking up the name"
        addresses = look_up(self.target.address, within=_left(until))
        self.doing = "connecting"
        ends = clock.monotonic_seconds() + CONNECTING_SHARE * _left(until)
        for rest in range(len(addresses), 0, -1):
            try:
                return _reach(addresses[-rest], self.target.port, within=_left(ends) / rest)
            except OSError:
                if rest == 1:
                    raise
        raise Failed(Silence.UNREACHABLE, f"{self.target.address} has no address")

    def _negotiate(self, transport: paramiko.Transport, until: float) -> None:
        self.doing = "negotiating"
        done = threading.Event()
        transport.start_client(event=done)
        _await(done, transport, until)
        key = transport.get_remote_server_key()
        if key not in self.target.host_keys:
            known = ", ".join(f"{known.get_name()} {known.fingerprint}" for known in self.target.host_keys)
            raise Failed(
                Silence.HOST_KEY, f"the host shows the key {key.get_name()} {key.fingerprint}; known_hosts has {known}"
            )

    def _authenticate(self, transport: paramiko.Transport, until: float) -> None:
        self.doing = "logging in"
        done = threading.Event()
        transport.auth_publickey(self.target.user, self.target.key, event=done)
        if not done.wait(_left(until)):
            raise TimeoutError("the time is over")
        if transport.is_authenticated():
            return
        fault = transport.get_exception()
        # Without any fault the host has said good-bye: with MaxAuthTries 1 that is how it refuses.
        if fault is None or isinstance(fault, paramiko.AuthenticationException):
            raise Failed(
                Silence.REFUSED,
                f"the host does not let {self.target.user} in with the key {self.target.key.fingerprint}",
            )
        raise fault

    def _session(self, transport: paramiko.Transport, until: float) -> paramiko.Channel:
        """Open a session in half of the time: a kept connection may have gone silent, and the rest is for another."""
        try:
            return transport.open_session(timeout=_left(until) / 2)
        except paramiko.ChannelException:
            raise
        except paramiko.SSHException as cause:
            if not self.is_open:
                raise
            raise TimeoutError("the host opens no session") from cause

    def _start(self, channel: paramiko.Channel) -> None:
        try:
            channel.exec_command(COMMAND)
        except paramiko.SSHException as cause:
            if not self.is_open:
                raise
            raise Failed(Silence.REFUSED, "the host does not run the command") from cause


def _reach(number: str, port: int, *, within: float) -> Wire:
    """Connect to a literal address."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    family, kind, _, _, where = socket.getaddrinfo(number, port, type=socket.SOCK_STREAM, flags=flags)[0]
    wire = Wire(family, kind)
    try:
        wire.allow(LOGIN_BYTES)
        wire.settimeout(within)
        wire.connect(where)
    except BaseException:
        wire.close()
        raise
    return wire


def look_up(address: str, *, within: float) -> list[str]:
    """Return the addresses of a name, in a process of its own: nothing else ends a look-up that hangs.

    A literal address is itself. Raises Failed, or TimeoutError.
    """
    with suppress(ValueError):
        ip_address(address)
        return [address]
    try:
        done = subprocess.run(  # noqa: S603 - this Python, a constant, and a name of a checked form
            [sys.executable, "-I", "-S", "-c", LOOK_UP, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise TimeoutError(f"the name {address} was not resolved") from cause
    if done.returncode != 0:
        raise Failed(Silence.UNREACHABLE, f"the name {address} cannot be resolved")
    return done.stdout.decode("ascii").split()


def explain(error: Exception) -> NoAnswer:
    """Say why there is no answer."""
    text = shown(str(error)) or type(error).__name__
    match error:
        case Failed():
            return error.answer
        case paramiko.ssh_exception.IncompatiblePeer() if "host key" in text:
            return NoAnswer(silence=Silence.HOST_KEY, detail=f"the host has no key of a kind in known_hosts: {text}")
        case paramiko.ChannelException():
            return NoAnswer(silence=Silence.REFUSED, detail=f"the host opens no session: {text}")
        case EOFError():
            return NoAnswer(silence=Silence.UNREACHABLE, detail="the host ended the connection")
        case OSError(strerror=str(words)) if words:
            return NoAnswer(silence=Silence.UNREACHABLE, detail=shown(words))
        case _:
            return NoAnswer(silence=Silence.UNREACHABLE, detail=text)


def shown(text: str) -> str:
    """Return foreign text as one printable line, cut."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_COMPLAINT_BYTES].strip()


def _left(until: float) -> float:
    """Return the seconds that are left; raise TimeoutError when there are none."""
    left = until - clock.monotonic_seconds()
    if left <= 0:
        raise TimeoutError("the time is over")
    return left


def _await(done: threading.Event, transport: paramiko.Transport, until: float) -> None:
    """Wait until a step is done; raise what ended the transport, if that was it."""
    if not done.wait(_left(until)):
        raise TimeoutError("the time is over")
    if not transport.is_active():
        raise transport.get_exception() or EOFError()


def _read(channel: paramiko.Channel) -> bytes:
    output = bytearray()
    while chunk := channel.recv(CHUNK_BYTES):
        output += chunk
        if len(output) > MAX_OUTPUT_BYTES:
            raise Failed(Silence.BAD_ANSWER, f"the answer is longer than {MAX_OUTPUT_BYTES} bytes")
    return bytes(output)


def _complaint(channel: paramiko.Channel) -> str:
    if not channel.recv_stderr_ready():
        return ""
    return shown(channel.recv_stderr(MAX_COMPLAINT_BYTES).decode("utf-8", "replace"))
