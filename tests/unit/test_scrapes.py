"""A scrape gets a page that is there at once, and waits for one that is not without keeping anybody else waiting."""

import asyncio
import threading
from collections.abc import Callable

import httpx
import pytest
from starlette.types import ASGIApp

from exporter.page import Format
from exporter.web.app import make_app
from exporter.web.metrics import LONGEST_REMEMBERED, REMEMBERED
from exporter.web.papers import Papers
from tests.lab.scenes import make_scene

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def name(page_format: Format, is_compressed: bool) -> bytes:
    """Make a page that says what was asked for."""
    return f"{page_format} {is_compressed}".encode()


def an_app(find_page: Callable[[Format, bool], bytes | None], get_page: Callable[[Format, bool], bytes]) -> ASGIApp:
    """Make the program's application over a page."""
    source = make_scene()
    return make_app(
        get_page, find_page=find_page, version="1", source=source, papers=Papers({}), find_unready=lambda: ()
    )


def client(app: ASGIApp) -> httpx.AsyncClient:
    """Ask without a network, and with no header of its own."""
    asking = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")
    asking.headers.clear()
    return asking


def never(page_format: Format, is_compressed: bool) -> bytes:
    """Be a page that nobody may make."""
    raise AssertionError(page_format, is_compressed)


@pytest.mark.parametrize(
    ("headers", "body", "content_type"),
    [
        ({}, b"text False", TEXT),
        ({"Accept": OPENMETRICS}, b"openmetrics False", OPENMETRICS),
        (
            {"Accept": f"{OPENMETRICS};q=0.5,*/*;q=0.1", "Accept-Encoding": "identity"},
            b"openmetrics False",
            OPENMETRICS,
        ),
        ({"Accept": f"{'x' * LONGEST_REMEMBERED},{OPENMETRICS}"}, b"openmetrics False", OPENMETRICS),
    ],
)
def test_a_page_that_is_kept_is_served_as_it_is(headers: dict[str, str], body: bytes, content_type: str) -> None:
    """With what says how it is to be read and that it is not to be kept; a second time as the first."""

    async def run() -> None:
        async with client(an_app(name, never)) as asking:
            for _ in range(2):
                answer = await asking.get("/metrics", headers=headers)
                assert (answer.status_code, answer.content) == (200, body)
                assert answer.headers == httpx.Headers(
                    {
                        "cache-control": "no-store",
                        "x-content-type-options": "nosniff",
                        "content-type": content_type,
                        "vary": "Accept, Accept-Encoding",
                        "content-length": str(len(body)),
                    }
                )

    asyncio.run(run())


def test_compressed_only_for_who_takes_it_whoever_asked_before() -> None:
    """What was understood of one request holds for its own headers only, however many differ."""

    async def run() -> None:
        async with client(an_app(lambda *_: b"", never)) as asking:
            for number in range(2 * REMEMBERED):
                for encoding, said in ((f"gzip, x{number}", "gzip"), (f"x{number}", None)):
                    answer = await asking.send(
                        asking.build_request("HEAD", "/metrics", headers={"Accept-Encoding": encoding})
                    )
                    assert answer.headers.get("content-encoding") == said

    asyncio.run(run())


def test_a_page_that_has_to_be_made_delays_no_other_answer() -> None:
    """A thread makes it, and the others are answered meanwhile; whoever asked for it gets it."""
    has_begun, may_end = threading.Event(), threading.Event()

    def make(page_format: Format, is_compressed: bool) -> bytes:
        has_begun.set()
        assert may_end.wait(10)
        return name(page_format, is_compressed)

    async def run() -> None:
        async with client(an_app(lambda *_: None, make)) as asking:
            scrape = asyncio.create_task(asking.get("/metrics"))
            assert await asyncio.to_thread(has_begun.wait, 10)
            assert (await asking.get("/-/healthy")).status_code == 200
            assert not scrape.done()
            may_end.set()
            assert (await scrape).content == b"text False"

    asyncio.run(run())
