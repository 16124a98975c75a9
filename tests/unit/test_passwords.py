"""Passwords: who comes in, what it costs, and that nothing waits for somebody who guesses."""

import asyncio
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Coroutine
from datetime import timedelta

import bcrypt
import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse

from exporter.web import passwords as module
from exporter.web.access import Access
from exporter.web.guard import Guard
from exporter.web.passwords import MOST_REMEMBERED, MOST_WAITING, Busy, Passwords

LONG = b"x" * 200


def hashed(password: bytes, cost: int = 4) -> str:
    """Hash a password at little cost."""
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(cost)).decode()


USERS = {
    "alice": hashed(b"right"),
    "böb": hashed(b"a:b"),
    "long": hashed(LONG),
    "bytes": hashed(b"\xff\xfe"),
    "none": hashed(b""),
}


def basic(name: bytes, password: bytes) -> bytes:
    """Write the header."""
    return b"Basic " + b64encode(name + b":" + password)


def check(*headers: bytes) -> list[bool]:
    """Check headers one after the other."""

    async def run() -> list[bool]:
        passwords = Passwords()
        try:
            return [await passwords.is_right(header, USERS) for header in headers]
        finally:
            passwords.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "header",
    [
        basic(b"alice", b"right"),
        basic(b"alice", b"right").replace(b"Basic", b"bASIC"),
        basic("böb".encode(), b"a:b"),
        basic(b"long", LONG),
        basic(b"bytes", b"\xff\xfe"),
        basic(b"none", b""),
    ],
)
def test_the_right_password_is_right_also_when_remembered(header: bytes) -> None:
    """Colons, bytes that are no text, nothing at all, and more than bcrypt looks at."""
    assert check(header, header) == [True, True]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!",
        b"Bearer right",
        b"Basic " + b64encode(b"alice"),
        b"Basic " + b"A" * 60_000,
        basic(b"alice", b"wrong"),
        basic(b"alice", b""),
        basic(b"alice", b"right\0"),
        basic(b"alice", b"right "),
        basic(b"Alice", b"right"),
        basic(b"nobody", b"right"),
        basic(b"nobody", b"fakepassword"),
        basic(b"", b""),
        basic(b"\xff", b"right"),
        basic("böb".encode("latin-1"), b"a:b"),
        basic(b"long", LONG[:71]),
        basic(b"none", b"x"),
    ],
)
def test_anything_else_is_wrong(header: bytes) -> None:
    """Whatever a client sends is an answer, and never an error; also after somebody else was right."""
    assert check(basic(b"alice", b"right"), header, header) == [True, False, False]


def test_what_is_right_is_checked_once_and_what_is_wrong_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape pays once; a new hash for the same name is checked anew."""
    checks: list[str] = []

    def matches(password: bytes, found: str) -> bool:
        checks.append(found)
        return password == b"right"

    monkeypatch.setattr(module, "_matches", matches)

    async def run() -> None:
        passwords = Passwords()
        for password in (b"right", b"right", b"wrong", b"wrong", b"right"):
            await passwords.is_right(basic(b"alice", password), USERS)
        assert len(checks) == 3
        assert not await passwords.is_right(basic(b"alice", b"right"), {"bob": USERS["alice"]})
        assert await passwords.is_right(basic(b"alice", b"right"), {"alice": USERS["none"]})
        assert len(checks) == 5
        passwords.close()

    asyncio.run(run())


def test_what_is_remembered_is_bounded_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests with a key of this process: a look into its memory tells nothing."""
    monkeypatch.setattr(module, "_matches", lambda *_: True)

    async def run() -> None:
        passwords = Passwords()
        for number in range(MOST_REMEMBERED + 10):
            await passwords.is_right(basic(b"alice", b"s3cret%d" % number), USERS)
        assert len(passwords._remembered) == MOST_REMEMBERED
        assert all(len(digest) == 64 and b"s3cret" not in digest for digest in passwords._remembered)
        assert passwords._key != Passwords()._key
        passwords.close()

    asyncio.run(run())


def test_nobody_takes_as_long_as_the_dearest_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time of an answer would tell which names there are."""
    costs: list[str] = []
    monkeypatch.setattr(module, "_matches", lambda _, found: bool(costs.append(found[:7])))  # type: ignore[func-returns-value]

    async def run() -> None:
        passwords = Passwords()
        await passwords.is_right(basic(b"nobody", b"x"), {"a": hashed(b"", 4), "b": hashed(b"", 5)})
        passwords.close()

    asyncio.run(run())
    assert costs == ["$2b$05$"]
    assert bcrypt.checkpw(b"fakepassword", f"$2b$10${module.NOBODYS_HASH}".encode())


def test_the_password_of_nobodys_hash_lets_nobody_in() -> None:
    """It is known to everybody, and of the cost that users mostly have."""

    async def run() -> None:
        passwords = Passwords()
        users = {"alice": hashed(b"right", 10)}
        for _ in range(2):
            assert not await passwords.is_right(basic(b"nobody", b"fakepassword"), users)
        passwords.close()

    asyncio.run(run())


def blocked(monkeypatch: pytest.MonkeyPatch, check: Callable[[Passwords], Coroutine[None, None, None]]) -> None:
    """Let `check` run while every thread checks something that takes for ever, and as many more wait as may."""
    go_on = threading.Event()
    monkeypatch.setattr(module, "_matches", lambda password, _: password == b"right" or (go_on.wait(20) and False))

    async def run() -> None:
        passwords = Passwords()
        assert await passwords.is_right(basic(b"alice", b"right"), USERS)
        guesses = [asyncio.create_task(passwords.is_right(basic(b"x", b"x"), USERS)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        try:
            await check(passwords)
        finally:
            go_on.set()
        assert await asyncio.gather(*guesses) == [False] * MOST_WAITING
        passwords.close()

    asyncio.run(run())


def test_who_guesses_keeps_nobody_out_who_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and those who wait for one are bounded; the next is turned away, and a scrape is let in at once."""

    before = set(threading.enumerate())

    async def check(passwords: Passwords) -> None:
        began = time.monotonic()
        assert await passwords.is_right(basic(b"alice", b"right"), USERS)
        with pytest.raises(Busy):
            await passwords.is_right(basic(b"y", b"y"), USERS)
        assert time.monotonic() - began < 1
        new = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("password")]
        assert len(new) == module.THREADS

    blocked(monkeypatch, check)


async def ask(guard: Guard, path: str = "/metrics", **headers: str) -> httpx.Response:
    """Ask a guarded application."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url="http://test") as client:
        return await client.get(path, headers=headers)


def test_every_path_is_guarded_and_says_how_to_ask() -> None:
    """Also health, and also what is not there, as in Prometheus."""

    async def run() -> None:
        passwords = Passwords()
        access = Access(users=USERS, headers={"X-Frame-Options": "deny"})
        guard = Guard(PlainTextResponse("inside"), lambda: access, passwords)
        for path in ("/metrics", "/-/healthy", "/-/ready", "/-/reload", "/", "/nothing"):
            answer = await ask(guard, path)
            assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert answer.headers["x-frame-options"] == "deny"
        answer = await ask(guard, Authorization=basic(b"alice", b"right").decode())
        assert (answer.status_code, answer.text) == (200, "inside")
        access = Access(users={"bob": USERS["alice"]})
        assert (await ask(guard, Authorization=basic(b"alice", b"right").decode())).status_code == 401
        access = Access()
        assert (await ask(guard)).text == "inside"
        passwords.close()

    asyncio.run(run())


def test_too_many_who_guess_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and nothing of why."""

    async def check(passwords: Passwords) -> None:
        guard = Guard(PlainTextResponse("inside"), lambda: Access(users=USERS), passwords)
        answer = await ask(guard, Authorization=basic(b"y", b"y").decode())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    blocked(monkeypatch, check)


def test_a_page_that_fails_is_an_event() -> None:
    """With its traceback; the client learns nothing of it."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    async def run() -> None:
        passwords = Passwords()
        with structlog.testing.capture_logs() as events, pytest.raises(ZeroDivisionError):
            await ask(Guard(fail, Access, passwords))
        assert [(event["event"], event["path"]) for event in events] == [("page.failed", "/metrics")]
        passwords.close()

    asyncio.run(run())


def test_requests_come_no_faster_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst at once, one more after each interval, and no more saved up than the burst."""
    now = [1000.0]
    monkeypatch.setattr("exporter.clock.monotonic_seconds", lambda: now[0])

    async def run() -> None:
        passwords = Passwords()
        access = Access(request_interval=timedelta(seconds=2), burst=2)
        guard = Guard(PlainTextResponse("inside"), lambda: access, passwords)

        async def codes(requests: int, *, after: float) -> list[int]:
            now[0] += after
            return [(await ask(guard)).status_code for _ in range(requests)]

        assert await codes(3, after=0) == [200, 200, 429]
        assert await codes(1, after=1) == [429]
        assert await codes(2, after=1) == [200, 429]
        assert await codes(3, after=100) == [200, 200, 429]
        access = Access()
        assert await codes(3, after=0) == [200, 200, 200]
        passwords.close()

    asyncio.run(run())
