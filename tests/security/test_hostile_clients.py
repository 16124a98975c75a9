"""Who reaches the port: requests that could be two, paths that lead elsewhere, floods; scrapes go on, nothing grows."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.lab import queuemedic
from tests.lab.queuemedic import Serving
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

HEALTHY = b"Queuemedic is healthy."
SECOND = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
MOST_GROWTH_BYTES = 60 << 20
SLOWEST_SCRAPE_SECONDS = 2.0

# The first request of each is refused, or answered alone: whatever a proxy in front takes for its body stays one.
SMUGGLED = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    % (5 + len(SECOND)),
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SECOND),
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, %d\r\n\r\n" % len(SECOND),
    "a signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length in hexadecimal": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x0\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding with a tab in front": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : %d\r\n\r\n" % len(SECOND),
    "a folded header": b"POST / HTTP/1.1\r\nHost: x\r\nX: y\r\n Content-Length: 0\r\n\r\n",
    "a header without a name": b"POST / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a NUL in a header": b"POST / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "a bare CR": b"POST / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 0\r\n\r\n",
    "a chunk beyond all numbers": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"f" * 17
    + b"\r\n",
    "a chunk that is no number": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a version of its own": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bytes": bytes(range(256)),
}
PATHS = (
    "//evil.example/",
    "//evil.example/%2f..",
    "/\\evil.example",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e%2fapp.py",
    "/docs/../../pyproject.toml",
    "/docs/%2e%2e/%2e%2e/README.md",
    "/docs/howto/..%5c..%5cREADME.md",
    "/docs//etc/passwd",
    "/docs/%00",
    "/docs/howto/heal.md%00.png",
    "/metrics/",
    "/metrics%00",
    "/metrics%2f",
    "/%6detrics%20",
    "/METRICS",
    "/queues/%0d%0aSet-Cookie:%20a=b",
    "/queues/" + "x" * 60_000,
    "/" + "../" * 20_000,
    "/api/v1/queues/" + "%f0%9f%92%a9" * 5_000 + "/attempts",
    "/api/v1/queues/%ff%fe/attempts",
    "/%",
    "/%zz",
    "http://evil.example/metrics2",
    "*",
    "/-/../-/healthy/",
)

QUERIES = (
    "hostile=1",
    "queue=hostile&limit=1e999&limit=-1&limit[]=hostile",
    "%00hostile",
    "%ff%fe=hostile",
    "<script>hostile</script>",
    "%0d%0aSet-Cookie:%20hostile=1",
    "hostile&" * 5000,
    "__proto__[x]=hostile&$where=hostile&';DROP TABLE hostile--",
    "?#hostile?",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A program with one queue."""
    folder = tmp_path_factory.mktemp("clients")
    config = queuemedic.write_config(folder, {"q": make_queue(folder / "q.db", waiting=5)})
    with queuemedic.serving(config, folder) as running:
        running.scrape_until("up", 1, queue="q")
        yield running
        assert "Traceback" not in running.log
        assert "page.failed" not in running.log


def connect(served: Serving) -> socket.socket:
    """Open a connection."""
    host, port = served.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=15)


def ask(served: Serving, request: bytes) -> bytes:
    """Send, and return all that comes until the server hangs up or says nothing for a second."""
    answer = bytearray()
    with connect(served) as link:
        link.settimeout(1)
        with suppress(OSError):
            link.sendall(request)
            while piece := link.recv(65_536):
                answer += piece
    return bytes(answer)


def memory_bytes(served: Serving, name: str = "VmRSS") -> int:
    """Return how much memory it has now."""
    lines = Path(f"/proc/{served.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_that_could_be_two_is_one(name: str, served: Serving) -> None:
    """What comes behind it is never answered as a request of its own."""
    answer = ask(served, SMUGGLED[name] + SECOND)
    assert HEALTHY not in answer, answer
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert not answer or re.match(rb"HTTP/1\.1 (4\d\d|200) " if name == "no version" else rb"HTTP/1\.1 4\d\d ", answer)


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_no_path_leads_elsewhere(path: str, served: Serving) -> None:
    """Neither to a file, nor to another site, nor to a fault; what is said is short and holds no header of its own."""
    answer = ask(served, f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode("latin-1"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (400|404|405|414|431) ", head), answer[:200]
    assert not re.search(rb"^(location|set-cookie|refresh):", head.lower(), re.MULTILINE)
    assert not re.search(rb"root:|\[project\]|import ", body)
    assert len(answer) < 8192 + 3 * len(path)
    if not head.startswith(b"HTTP/1.1 400"):
        assert b"x-content-type-options: nosniff" in head.lower()


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_what_is_asked_for_has_no_parameters(query: str, served: Serving) -> None:
    """Whatever follows a question mark changes nothing, and is no page of its own to be made and kept."""
    for path in ("/-/healthy", "/metrics", "/api/v1/queues", "/api/v1/queues/q/attempts", "/queues/q", "/"):
        request = f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        head, _, body = ask(served, request.encode("latin-1")).partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 (200|400) ", head), head
        assert not re.search(rb"^(location|set-cookie):", head.lower(), re.MULTILINE)
        assert b"hostile" not in body


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", b"x" * 65_536),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 10_000),
        (b"GET /", b"x" * 65_536),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n", b"x" * 65_536),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
        (b"", b"\r\n" * 30_000),
        (b"", b"x" * 65_536),
    ],
    ids=["header", "headers", "path", "body", "chunks", "lines", "letters"],
)
def test_a_request_without_an_end_takes_no_memory(begin: bytes, piece: bytes, served: Serving) -> None:
    """Thirty clients that send what they can, for two seconds, or until they are cut off; scrapes go on."""
    before = memory_bytes(served)

    def flood(_: int) -> int:
        sent = 0
        with suppress(OSError), connect(served) as link:
            link.settimeout(0.5)
            link.sendall(begin)
            ends = time.monotonic() + 2
            while time.monotonic() < ends:
                sent += link.send(piece)
        return sent

    with ThreadPoolExecutor(30) as clients:
        flooding = [clients.submit(flood, number) for number in range(30)]
        took: list[float] = []
        most = before
        while not all(one.done() for one in flooding):
            began = time.monotonic()
            assert served.get("/metrics").status_code == 200
            took.append(time.monotonic() - began)
            most = max(most, memory_bytes(served))
    assert max(took, default=0) < SLOWEST_SCRAPE_SECONDS
    assert most - before < MOST_GROWTH_BYTES


@pytest.mark.parametrize("requests", [50, 5000])
def test_a_flood_of_requests_is_bounded(requests: int, served: Serving) -> None:
    """Of pages that there are and of ever new ones, in one go and never read: threads, descriptors and memory stay."""
    served.get("/")
    before, threads, descriptors = memory_bytes(served), served.threads(), served.descriptors()
    sent = 0
    with ExitStack() as open_ones:
        for client in range(100):
            link = open_ones.enter_context(connect(served))
            link.setblocking(False)
            known = ["/", "/metrics", "/api/v1/queues"]
            pages = [f"/queues/{client}-{n}" if n % 2 else known[n % 3] for n in range(requests)]
            with suppress(OSError):
                sent += link.send(b"".join(f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for page in pages))
        assert sent > 100 * 20 * requests
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert served.scrape().value("up", queue="q") == 1
            took.append(time.monotonic() - began)
        assert sorted(took)[-2] < SLOWEST_SCRAPE_SECONDS
        assert served.threads() <= threads + 4
        assert memory_bytes(served) - before < MOST_GROWTH_BYTES
    wait_until(lambda: served.descriptors() <= descriptors + 2, within=20, what="all of them are closed")
    assert served.get("/").status_code == 200
