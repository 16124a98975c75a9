"""The door: handshakes, limits and deadlines of connections, in one event loop with the clients."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.web import server as module
from exporter.web.access import OPEN, Access
from exporter.web.guard import PIECE_BYTES, Guard
from exporter.web.passwords import Passwords
from exporter.web.server import _Server, listen
from queuemedic.web_file import read_access
from tests.lab.certificates import Authority

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = PlainTextResponse("x" * 50_000_000)


class Doorkeeper:
    """A server in this event loop, and what it asks of clients."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.access = access
        self.listener = listen("127.0.0.1", 0)
        self.address = self.listener.getsockname()
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self.server = _Server(
            config, get_access=lambda: self.access, on_started=lambda _: None, on_stopping=lambda: None
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection without a handshake."""
        return await asyncio.open_connection(*self.address)

    async def until(self, connections: int) -> None:
        """Wait until so many connections are left."""
        async with asyncio.timeout(5):
            while self.server.connections != connections:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: ASGIApp = LARGE, access: Access = OPEN) -> AsyncIterator[Doorkeeper]:
    """Serve beside the test."""
    keeper = Doorkeeper(app, access)
    task = asyncio.create_task(keeper.server._serve([keeper.listener]))
    while not keeper.server.started:
        await asyncio.sleep(0.01)
    try:
        yield keeper
    finally:
        keeper.server.should_exit = True
        await task


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Access, ssl.SSLContext]:
    """What a server asks of clients, and what a client trusts."""
    authority = Authority(tmp_path)
    issued = authority.issue("server")
    file = tmp_path / "web.yml"
    file.write_text(f"tls_server_config: {{cert_file: {issued.cert_file}, key_file: {issued.key_file}}}")
    return read_access(file), ssl.create_default_context(cafile=authority.ca_file)


def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer has so much time to be taken, and then its place is another's."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)

    async def run() -> None:
        async with serving() as keeper:
            with socket.create_connection(keeper.address) as deaf:
                deaf.sendall(ASK)
                await keeper.until(1)
                await keeper.until(0)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"\x16\x03\x01"])
@pytest.mark.parametrize("is_secure", [False, True])
def test_a_client_that_does_not_go_on_is_let_go(
    sent: bytes, is_secure: bool, tls: tuple[Access, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its handshake or in its request."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.3)

    async def run() -> None:
        async with serving(access=tls[0] if is_secure else OPEN) as keeper:
            reader, writer = await keeper.connect()
            writer.write(sent)
            with suppress(ConnectionError):
                async with asyncio.timeout(5):
                    await reader.read()
            await keeper.until(0)
            writer.close()

    asyncio.run(run())


def test_connections_in_a_handshake_count(tls: tuple[Access, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more than so many, whatever they are doing."""
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 3)

    async def run() -> None:
        async with serving(access=tls[0]) as keeper:
            writers = [(await keeper.connect())[1] for _ in range(3)]
            await keeper.until(3)
            reader, writer = await keeper.connect()
            with suppress(ConnectionError):
                assert await reader.read() == b""
            assert keeper.server.connections == 3
            for one in (*writers, writer):
                one.close()
            await keeper.until(0)

    asyncio.run(run())


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(tls: tuple[Access, ssl.SSLContext]) -> None:
    """In one packet, as quick clients send it."""

    async def run() -> bytes:
        async with serving(PlainTextResponse("answer"), tls[0]) as keeper:
            reader, writer = await keeper.connect()
            come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = tls[1].wrap_bio(come, go, server_hostname="localhost")
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(go.read())
                    come.write(await reader.read(65536))
            client.write(ASK)
            writer.write(go.read())
            answer = b""
            async with asyncio.timeout(5):
                while b"answer" not in answer:
                    come.write(await reader.read(65536))
                    with suppress(ssl.SSLWantReadError):
                        while True:
                            answer += client.read()
            writer.close()
            return answer

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 OK")


def test_what_is_open_without_tls_is_closed_once_there_is(tls: tuple[Access, ssl.SSLContext]) -> None:
    """The demand holds for those who are there already."""

    async def run() -> None:
        async with serving(PlainTextResponse("answer")) as keeper:
            reader, writer = await keeper.connect()
            writer.write(ASK)
            await reader.readuntil(b"answer")
            keeper.access = tls[0]
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(run())


def test_an_answer_waits_for_nothing() -> None:
    """On a connection that stays open, its second part would wait 40 ms for the client to confirm the first."""

    async def run() -> float:
        async with serving(PlainTextResponse("answer")) as keeper:
            reader, writer = await keeper.connect()
            took = []
            for _ in range(20):
                began = time.monotonic()
                writer.write(ASK)
                await reader.readuntil(b"answer")
                took.append(time.monotonic() - began)
            writer.close()
            return sorted(took)[10]

    assert asyncio.run(run()) < 0.03


async def repeat(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was sent."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


def test_a_head_without_an_end_is_not_kept() -> None:
    """Not even as long as a client that is silent may take."""

    async def run() -> None:
        async with serving() as keeper:
            reader, writer = await keeper.connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
            with suppress(ConnectionError):
                async with asyncio.timeout(5):
                    for _ in range(100):
                        writer.write(b"X: y\r\n" * 1000)
                        await writer.drain()
                    await reader.read()
            await keeper.until(0)
            writer.close()

    asyncio.run(run())


@pytest.mark.parametrize(("requests", "is_answered"), [(20, True), (module.MOST_PIPELINED + 2, False)])
def test_a_few_requests_may_come_at_once(requests: int, is_answered: bool) -> None:
    """They are answered in turn; of a client that sends more than that nothing is kept."""

    async def run() -> bytes:
        async with serving(PlainTextResponse("answer")) as keeper:
            reader, writer = await keeper.connect()
            writer.write(ASK * (requests - 1) + ASK.replace(b"Host", b"Connection: close\r\nHost"))
            found = b""
            with suppress(ConnectionError):
                async with asyncio.timeout(5):
                    found = await reader.read()
            writer.close()
            return found

    assert asyncio.run(run()).count(b"answer") == (requests if is_answered else 0)


def test_an_answer_leaves_in_one_piece() -> None:
    """So a client wakes once; one without a body leaves too, and so does the leave to send one."""

    def ask(address: tuple[str, int]) -> list[bytes]:
        found = []
        with socket.create_connection(address, timeout=5) as client:
            for sent in (
                ASK,
                ASK.replace(b"GET", b"HEAD"),
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
                b"abc",
                ASK.replace(b"Host", b"Connection: close\r\nHost"),
            ):
                client.sendall(sent)
                found.append(client.recv(65536))
        return found

    async def run() -> list[bytes]:
        async with serving(repeat) as keeper:
            return await asyncio.to_thread(ask, keeper.address)

    heads, bodies = zip(*(answer.split(b"\r\n\r\n", 1) for answer in asyncio.run(run())), strict=True)
    assert bodies == (b"", b"", b"", b"abc", b"")
    assert [head.split()[1] for head in heads] == [b"200", b"200", b"100", b"200", b"200"]


def test_a_client_that_does_not_read_has_a_piece_kept_for_it() -> None:
    """Not the whole page, which may be 20 MB, but a piece and the rest of one; and who reads gets the whole."""

    async def run() -> int:
        passwords = Passwords()
        async with serving(Guard(LARGE, lambda: OPEN, passwords)) as keeper:
            reader, writer = await keeper.connect()
            deaf = socket.create_connection(keeper.address)
            deaf.sendall(ASK)
            writer.write(ASK)
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(LARGE.body)) == LARGE.body
            (kept,) = [
                one.transport.get_write_buffer_size()
                for one in keeper.server.server_state.connections
                if one.transport.get_write_buffer_size()
            ]
            deaf.close()
            writer.close()
            await keeper.until(0)
        passwords.close()
        return kept

    assert 0 < asyncio.run(run()) < 2 * PIECE_BYTES < len(LARGE.body)
