"""Servers that only pretend: they greet as MySQL or PostgreSQL does, let anybody in, and then do as they please.

An act is what one does with a connection once it is there; it gets the socket and ends with it. The acts of MySQL that
begin with a query have read it before they answer; which one it was is no matter to them.
"""

import socket
import socketserver
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tests.lab.listener import Listener

Act = Callable[[socket.socket], None]

SALT: Final = b"12345678", b"901234567890"
CAPABILITIES: Final = 0x0008_A20D  # 4.1, secure connection, plugin authentication, with a database; no TLS
GREETING: Final = (
    b"\x0a5.5.5-10.11.0-MariaDB\0"
    + struct.pack("<I", 1)
    + SALT[0]
    + b"\0"
    + struct.pack("<HBHH", CAPABILITIES & 0xFFFF, 45, 2, CAPABILITIES >> 16)
    + bytes([21])
    + bytes(10)
    + SALT[1]
    + b"\0mysql_native_password\0"
)
OK: Final = b"\0\0\0\2\0\0\0"
END_OF_FIELDS: Final = b"\xfe\0\0\2\0"
MOST_SENT: Final = 4 << 30


class Impostor(Listener):
    """Acts on each connection; `connections` counts them."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.connections = 0

    def _make_server(self, address: tuple[str, int]) -> socketserver.TCPServer:
        impostor = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                impostor.connections += 1
                self.request.settimeout(30)
                with suppress(OSError, EOFError):
                    impostor.act(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        return Server(address, Handler)


def packet(number: int, payload: bytes) -> bytes:
    """Return a packet of MySQL's."""
    return struct.pack("<I", len(payload))[:3] + bytes([number % 256]) + payload


def receive_packet(link: socket.socket) -> bytes:
    """Receive a packet of MySQL's; raises EOFError where the client has gone."""
    head = _receive(link, 4)
    return _receive(link, head[0] | head[1] << 8 | head[2] << 16)


def _receive(link: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = link.recv(size - len(received))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def let_in(link: socket.socket) -> None:
    """Greet as MariaDB, and let whoever it is in."""
    link.sendall(packet(0, GREETING))
    receive_packet(link)
    link.sendall(packet(2, OK))


def to_query(answer: Callable[[socket.socket], None]) -> Act:
    """Let the client in, and answer its first query so; before it there are settings, which are taken."""

    def act(link: socket.socket) -> None:
        let_in(link)
        while True:
            if receive_packet(link)[1:].lstrip()[:6].upper() == b"SELECT":
                break
            link.sendall(packet(1, OK))
        answer(link)
        with suppress(OSError, EOFError):
            while link.recv(65_536):
                pass

    return act


def field(name: bytes, kind: int) -> bytes:
    """Return the description of a column; 3 is a whole number, 12 a time, 253 a text."""
    texts = b"".join(bytes([len(text)]) + text for text in (b"def", b"", b"", b"", name, name))
    return texts + struct.pack("<BHIBHBH", 12, 45, 1 << 30, kind, 0, 0, 0)


def result(kind: int, *, columns: int = 1) -> bytes:
    """Return the beginning of a result, up to its first row."""
    described = [packet(2 + number, field(b"x", kind)) for number in range(columns)]
    return packet(1, bytes([columns])) + b"".join(described) + packet(2 + columns, END_OF_FIELDS)


def flood(link: socket.socket, begin: bytes, pieces: Callable[[int], bytes]) -> None:
    """Send without an end, or nearly so."""
    link.sendall(begin)
    sent, number = 0, 0
    while sent < MOST_SENT:
        piece = pieces(number)
        link.sendall(piece)
        sent, number = sent + len(piece), number + 1


def endless_rows(link: socket.socket) -> None:
    """Rows of a few bytes, whatever LIMIT was asked for."""
    rows = [packet(number, b"\x011") for number in range(256)]
    ring = b"".join(rows[4:] + rows[:4])
    flood(link, result(3), lambda _: ring * 100)


def endless_field(link: socket.socket) -> None:
    """One value in packets of the full size, none of which is the last."""
    filling = bytes(0xFFFFFF)
    flood(link, result(253), lambda number: packet(4 + number, filling))


def many_columns(link: socket.socket) -> None:
    """A result that says it has 2^60 columns."""
    described = field(b"x", 253)
    flood(
        link,
        packet(1, b"\xfe" + struct.pack("<Q", 1 << 60)),
        lambda number: b"".join(packet(2 + 100 * number + n, described) for n in range(100)),
    )


class AsksForFile:
    """Asks for a file of the client's (LOAD DATA LOCAL), and keeps what comes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def __call__(self, link: socket.socket) -> None:
        link.sendall(packet(1, b"\xfb/etc/passwd"))
        self.got.append(link.recv(65_536))


def says(payload: bytes) -> Act:
    """Answer the first query with one packet."""
    return to_query(lambda link: link.sendall(packet(1, payload)))


def says_raw(content: bytes) -> Act:
    """Answer the first query with bytes."""
    return to_query(lambda link: link.sendall(content))


def greets(content: bytes) -> Act:
    """Greet with bytes, and hang up once the client has."""

    def act(link: socket.socket) -> None:
        link.sendall(content)
        while link.recv(65_536):
            pass

    return act


class AsksPlainly:
    """Asks for the password as it is, by one of the ways that MySQL and MariaDB have for it, and keeps what comes."""

    def __init__(self, way: bytes) -> None:
        self._way = way
        self.got: list[bytes] = []

    def __call__(self, link: socket.socket) -> None:
        link.sendall(packet(0, GREETING))
        receive_packet(link)
        link.sendall(packet(2, b"\xfe" + self._way))
        self.got.append(receive_packet(link))
        link.sendall(packet(4, OK))


READY: Final = b"Z" + struct.pack(">IB", 5, ord("I"))


def message(kind: bytes, payload: bytes) -> bytes:
    """Return a message of PostgreSQL's."""
    return kind + struct.pack(">I", len(payload) + 4) + payload


def greet_postgresql(link: socket.socket) -> None:
    """Refuse TLS, and let whoever it is in."""
    while True:
        (size,) = struct.unpack(">I", _receive(link, 4))
        body = _receive(link, size - 4)
        if body[:4] == struct.pack(">I", 196_608):
            break
        link.sendall(b"N")
    parameters = [b"server_version\x0016.0\0", b"client_encoding\0UTF8\0", b"standard_conforming_strings\0on\0"]
    greeting = message(b"R", bytes(4)) + b"".join(message(b"S", parameter) for parameter in parameters)
    link.sendall(greeting + READY)


def to_statement(answer: Callable[[socket.socket], None]) -> Act:
    """Let the client in, take BEGIN and settings, and answer whatever it asks first so."""

    def act(link: socket.socket) -> None:
        greet_postgresql(link)
        link.recv(65_536)
        answer(link)
        with suppress(OSError, EOFError):
            while link.recv(65_536):
                pass

    return act


ROW_OF_TEXT: Final = message(b"T", struct.pack(">H", 1) + b"x\0" + struct.pack(">IHIhIH", 0, 0, 25, -1, 0, 0))


def endless_data_rows(link: socket.socket) -> None:
    """Rows of a few bytes."""
    row = message(b"D", struct.pack(">HI", 1, 1) + b"1")
    flood(link, ROW_OF_TEXT, lambda _: row * 20_000)


def endless_value(link: socket.socket) -> None:
    """A value of a gigabyte."""
    head = b"D" + struct.pack(">IHI", (1 << 30) + 10, 1, 1 << 30)
    flood(link, ROW_OF_TEXT + head, lambda _: bytes(1 << 20))


def endless_notices(link: socket.socket) -> None:
    """Notices, before anything was asked."""
    notice = message(b"N", b"SWARNING\0C01000\0M" + b"x" * 10_000 + b"\0\0")
    flood(link, b"", lambda _: notice * 10)


def endless_parameters(link: socket.socket) -> None:
    """Settings under ever new names, as part of the greeting."""
    (size,) = struct.unpack(">I", _receive(link, 4))
    _receive(link, size - 4)
    link.sendall(b"N")
    (size,) = struct.unpack(">I", _receive(link, 4))
    _receive(link, size - 4)
    flood(link, message(b"R", bytes(4)), lambda number: message(b"S", b"p%d\0" % number + b"x" * 20_000 + b"\0"))
