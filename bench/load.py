"""Scrape at a steady pace over one connection that is kept: `python -m bench.load PORT SECONDS`; JSON on its output.

A process of its own, held to one processor, that does no more with an answer than find its end: the client's share of
what it measures is small, and the same for all. A scrape that is due while the one before is still under way is left
out, so that a slow server has no queue to work off. One that closes the connection is connected to anew, which counts.
"""

import json
import os
import socket
import sys
import time

ASKS = {
    "text": b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n",
    "as Prometheus asks": (
        b"GET /metrics HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\nAccept: application/openmetrics-text;"
        b"version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\n\r\n"
    ),
}
EVERY_SECONDS = 0.010
LONGEST_SECONDS = 30.0
CHUNK = 1 << 18


class Client:
    """One connection to a server on this machine, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> bytearray:
        """Send a request and return the whole answer, its head too; raises ConnectionError where it is none."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), LONGEST_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        read = bytearray()
        while (end := read.find(b"\r\n\r\n")) < 0:
            self._receive(self._socket, read)
        head, begin = bytes(read[:end]).lower(), end + 4
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise ConnectionError(head.decode(errors="replace"))
        is_kept = head.startswith(b"http/1.1") and b"connection: close" not in head
        if b"content-length:" in head:
            whole = begin + int(head.partition(b"content-length:")[2].split()[0])
            while len(read) < whole:
                self._receive(self._socket, read)
        elif b"transfer-encoding: chunked" in head:
            while not read.endswith(b"\r\n0\r\n\r\n"):
                self._receive(self._socket, read)
        else:
            while more := self._socket.recv(CHUNK):
                read += more
        if not is_kept:
            self.close()
        return read

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self, link: socket.socket, read: bytearray) -> None:
        more = link.recv(CHUNK)
        if not more:
            raise ConnectionError("the connection was closed before the answer was whole")
        read += more


def main(port: int, seconds: float) -> None:
    """Ask in turn in each way, and print what each took in milliseconds, and how large the last answer was."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    client = Client(port)
    took: dict[str, list[float]] = {name: [] for name in ASKS}
    sizes = {name: len(client.ask(request)) for name, request in ASKS.items()}
    due = time.perf_counter()
    ends = due + seconds
    while due < ends:
        for name, request in ASKS.items():
            began = time.perf_counter()
            answer = client.ask(request)
            ended = time.perf_counter()
            took[name].append((ended - began) * 1000)
            sizes[name] = len(answer)
            due = max(due + EVERY_SECONDS, ended)
            time.sleep(max(0.0, due - time.perf_counter()))
    client.close()
    json.dump({"took": took, "sizes": sizes}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
