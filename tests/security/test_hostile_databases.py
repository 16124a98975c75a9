"""A database server that is not what it seems: it takes no memory without an end, no file, no password, nobody's time.

Whoever owns the server, or sits between where TLS is not verified, can say anything.
"""

import socketserver
import threading
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.address import Address, normalise
from exporter.database import Reader
from exporter.errors import QueuemedicError, Refused
from exporter.secrets import read_url
from tests.lab import queuemedic
from tests.lab.sqlite_queue import FAST, make_queue
from tests.lab.waiting import wait_until

from . import impostors as as_server
from .impostors import Impostor

MOST_MEMORY_BYTES = 700 << 20
WAYS = (b"mysql_clear_password\0", b"dialog\0\x04Password: ")
HOSTILE_TEXT = b"\x1b[31m\x9bred\r\nqueuemedic_up 1\0" + b"very long " * 100_000

MYSQL: dict[str, as_server.Act] = {
    "rows": as_server.to_query(as_server.endless_rows),
    "field": as_server.to_query(as_server.endless_field),
    "columns": as_server.to_query(as_server.many_columns),
    "file": as_server.to_query(as_server.AsksForFile()),
    "error": as_server.says(b"\xff\x15\x04#28000" + HOSTILE_TEXT),
    "bytes": as_server.says_raw(bytes(range(256)) * 100),
    "no result": as_server.says(as_server.OK),
    "nothing": as_server.says(b""),
    "no number": as_server.says_raw(as_server.result(3) + as_server.packet(3, b"\x03abc")),
    "order": as_server.says_raw(as_server.packet(77, as_server.OK)),
    "greeting": as_server.greets(as_server.packet(0, b"\x0a\xff")),
    "lines": as_server.greets(b"\x0a" * 100_000),
    "password": as_server.AsksPlainly(WAYS[0]),
}
POSTGRESQL: dict[str, as_server.Act] = {
    "rows": as_server.to_statement(as_server.endless_data_rows),
    "value": as_server.to_statement(as_server.endless_value),
    "notices": as_server.to_statement(as_server.endless_notices),
    "parameters": as_server.endless_parameters,
    "bytes": as_server.to_statement(lambda link: link.sendall(bytes(range(256)) * 100)),
}
CASES = [("mysql", name, act) for name, act in MYSQL.items()] + [
    ("postgresql", name, act) for name, act in POSTGRESQL.items()
]


def section(kind: str, port: int) -> dict[str, Any]:
    """Return a queue of the configuration that is on such a server."""
    url = f"{kind}://reader:s3cret@127.0.0.1:{port}/jobs"
    if kind == "mysql":
        return {"system": "matomo", "url": url, **FAST}
    columns = {"id": "id", "enqueued_at": "a", "started_at": "b"}
    conditions = {"waiting_when": "b IS NULL", "started_when": "b IS NOT NULL"}
    return {"system": "table", "url": url, "from": "jobs", "columns": columns, **conditions, **FAST}


def failures(page: queuemedic.Page, queue: str) -> float:
    """Return how many polls have failed."""
    polls = page.values("polls_total", "outcome", queue=queue)
    return sum(number for outcome, number in polls.items() if outcome != "ok")


def highest_memory_bytes(pid: int) -> int:
    """Return the most that a process had resident so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024


def test_a_queue_beside_every_hostile_server_goes_on(tmp_path: Path) -> None:
    """One program polls them all: the sound queue is up at each scrape, and the others are down and say so in a line.

    What they may say is bounded in bytes and in time, so memory is; no thread and no connection is left of it.
    """
    with ExitStack() as servers:
        hostile = [(servers.enter_context(Impostor(act)), kind) for kind, _, act in CASES]
        queues = {f"h{number}": section(kind, server.port) for number, (server, kind) in enumerate(hostile)}
        queues["sound"] = make_queue(tmp_path / "jobs.db", waiting=3)
        config = queuemedic.write_config(tmp_path, queues)
        with queuemedic.serving(config, tmp_path) as served:
            served.scrape_until("up", 1, queue="sound")
            up: list[float | None] = []

            def have_failed() -> bool:
                page = served.scrape()
                up.append(page.value("up", queue="sound"))
                return all(failures(page, name) >= 1 for name in queues if name != "sound")

            wait_until(have_failed, within=60, what="each of the others has failed", every_seconds=0.2)
            assert set(up) == {1}
            page = served.scrape()
            assert {page.value("up", queue=name) for name in queues if name != "sound"} == {0}
            assert highest_memory_bytes(served.process.pid) < MOST_MEMORY_BYTES
            assert all(line.isprintable() and len(line) < 5000 for line in served.log.splitlines())
            assert "s3cret" not in served.log + served.get("/").text + served.get("/api/v1/queues").text
            assert served.stop() == 0


def read_from(place: str, *, seconds: float = 5) -> None:
    """Connect and read."""
    address = Address(url=normalise(read_url(place)))
    reader = Reader(lambda: address, limit=timedelta(seconds=seconds))
    with closing(reader), reader.transaction() as transaction:
        transaction.connection.exec_driver_sql("SELECT 1").all()


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("mysql", as_server.to_query(as_server.endless_field)),
        ("postgresql", as_server.to_statement(as_server.endless_data_rows)),
        ("postgresql", as_server.endless_parameters),
    ],
    ids=["mysql", "postgresql", "greeting"],
)
def test_more_than_was_asked_for_is_cut_off(kind: str, act: as_server.Act) -> None:
    """By what has come in, long before time is up."""
    with Impostor(act) as server, pytest.raises(QueuemedicError) as caught:
        read_from(f"{kind}://reader:x@127.0.0.1:{server.port}/jobs", seconds=60)
    assert str(caught.value) == "the database sends more than 64 MiB in one poll"


def test_no_file_is_sent_to_a_server_that_asks_for_one() -> None:
    """LOAD DATA LOCAL turns a query into a request for any file of the client's."""
    asking = as_server.AsksForFile()
    with Impostor(as_server.to_query(asking)) as server:
        with pytest.raises(RuntimeError, match="LOAD_LOCAL"):
            read_from(f"mysql://reader:x@127.0.0.1:{server.port}/jobs")
        wait_until(lambda: asking.got, within=5, what="an answer has come")
    assert all(len(got) <= 5 and b"root" not in got for got in asking.got)


@pytest.mark.parametrize("way", WAYS, ids=["clear", "dialog"])
def test_no_password_is_told_in_clear_text(way: bytes) -> None:
    """Where nothing encrypts it, whoever asks: it is refused, with what would help."""
    asking = as_server.AsksPlainly(way)
    with Impostor(asking) as server, pytest.raises(Refused, match="clear text without TLS; write tls:"):
        read_from(f"mysql://reader:s3cret@127.0.0.1:{server.port}/jobs")
    assert not any(b"s3cret" in got for got in asking.got)


@pytest.mark.parametrize("way", WAYS, ids=["clear", "dialog"])
def test_a_server_on_this_machine_may_ask_for_it(way: bytes, tmp_path: Path) -> None:
    """Through a socket of the file system nobody listens."""
    asking = as_server.AsksPlainly(way)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asking(self.request)

    with socketserver.UnixStreamServer(str(tmp_path / "s"), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(QueuemedicError):
            read_from(f"mysql://reader:s3cret@localhost/jobs?unix_socket={tmp_path}/s")
        thread.join()
    assert asking.got == [b"s3cret\0"]


def test_what_a_server_says_is_cut_and_fit_for_a_line() -> None:
    """An error of a megabyte that would steer a terminal, in time: a log and a page hold only its beginning."""
    with Impostor(MYSQL["error"]) as server, pytest.raises(Refused) as caught:
        read_from(f"mysql://r:x@127.0.0.1:{server.port}/jobs")
    assert len(str(caught.value)) < 5000
    assert str(caught.value).isprintable()
