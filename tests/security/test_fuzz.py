"""Whatever a foreign text says: no error that nobody expects, no death out of nonsense, and an end in time."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
from hypothesis import HealthCheck, given, settings

from exporter.errors import ConfigurationError
from exporter.queues.matomo.config_ini import read_config
from exporter.queues.meltano.source import find_database
from healers.probes.answer import MOST_BYTES, read_answer
from healers.probes.protocol import NoAnswer, Request

from .parsers import NONCE, PARSERS

LONGEST_SECONDS = 2.0
DEAREST_SECONDS = 10.0
MOST_KILOBYTES = 200_000


def fuzz(name: str, *, examples: int) -> None:
    """Feed a parser so many texts; none takes a second of a processor."""
    parser = PARSERS[name]

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(parser.texts)
    def check(text: object) -> None:
        began = time.thread_time()
        parser.check(text)
        assert time.thread_time() - began < LONGEST_SECONDS

    check()


@pytest.mark.parametrize("name", PARSERS)
def test_nothing_comes_of_a_foreign_text_but_what_may(name: str) -> None:
    """A hundred texts each."""
    fuzz(name, examples=100)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PARSERS)
def test_nothing_comes_of_very_many_either(name: str) -> None:
    """Ten thousand texts each."""
    fuzz(name, examples=10_000)


def of_matomo(content: bytes) -> Callable[[Path], object]:
    """Read a configuration of Matomo."""

    def read(folder: Path) -> object:
        (folder / "config.ini.php").write_bytes(content)
        return read_config(folder / "config.ini.php")

    return read


def of_meltano(project: bytes, dotenv: bytes = b"") -> Callable[[Path], object]:
    """Read a project of Meltano."""

    def read(folder: Path) -> object:
        (folder / "meltano.yml").write_bytes(project)
        (folder / ".env").write_bytes(dotenv)
        return find_database(folder, {})

    return read


def of_a_host(lines: bytes) -> Callable[[Path], object]:
    """Read an answer of the greatest length there is."""
    body = b"".join([f"BEGIN {NONCE}\n".encode(), lines * (MOST_BYTES // len(lines) - 1), f"END {NONCE}\n".encode()])
    request = Request(pids={100: frozenset()})
    return lambda _: read_answer(body, exit_status=0, nonce=NONCE, request=request)


LETTERS = b"abcdefghij"
MANY = {
    "brackets that open": of_matomo(b"[database]\nx = " + b"(" * 200_000),
    "brackets that close": of_matomo(b"[database]\nx = " + b"(" * 50_000 + b"a" + b")" * 50_000),
    "not, not, not": of_matomo(b"[database]\nx = " + b"!" * 100_000 + b"a"),
    "quotes": of_matomo(b'[database]\nx = "' + b'\\"' * 200_000),
    "variables": of_matomo(b'[database]\nx = "' + b"${A}" * 50_000 + b'"'),
    "a long file": of_matomo(b"[database]\n" + b"a=1\n" * 1_000_000),
    "dates that are none": of_meltano(b"a: 2001-99-99"),
    "a pattern of nothing": of_meltano(b"include_paths: ."),
    "depth": of_meltano(b"[" * 3000),
    "aliases": of_meltano(
        b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10) if c > 97 else b"x") for c in LETTERS)
        + b"database_uri: *j\ndefault_environment: *j\ninclude_paths: *j\nenv: {MELTANO_DATABASE_URI: *j}\n"
    ),
    "merges": of_meltano(
        b"a: &a {" + b"".join(b"k%d: 1, " % n for n in range(6000)) + b"}\n<<: [" + b"*a," * 6000 + b"]\n"
    ),
    "variables of variables": of_meltano(
        b"a: 1", b"A0=" + b"x" * 20 + b"\n" + b"".join(b"A%d=${A%d}${A%d}\n" % (n + 1, n, n) for n in range(60))
    ),
    "a variable very often": of_meltano(b"database_uri: " + b"$A" * 20_000, b"A=" + b"x" * 100_000),
    "bytes in .env": of_meltano(b"a: 1", b"\xff\xfe"),
    "a long project": of_meltano(b"a: 1\n" * 1_000_000),
    "answers of one line": of_a_host(b"x" * 1000),
    "answers of empty lines": of_a_host(b"\n"),
    "answers of brackets": of_a_host(b"section processes\n/proc/100/stat:" + b")" * 4000 + b"\n"),
    "answers of processes": of_a_host(b"section marked\n" + b"/proc/7/cmdline:climulti:request\n" * 1000),
}


@pytest.mark.parametrize("name", MANY)
def test_what_is_made_to_be_dear_is_not(name: str, tmp_path: Path) -> None:
    """Neither in time nor in memory; each is refused in words that begin with a place, or read."""
    before = getrusage(RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    refusal = answer = None
    try:
        answer = MANY[name](tmp_path)
    except ConfigurationError as error:
        refusal = str(error)
    assert time.thread_time() - began < DEAREST_SECONDS
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    assert refusal is None or refusal.startswith((f"{tmp_path}/", "database_uri: "))
    assert isinstance(answer, NoAnswer) == name.startswith("answers")


@pytest.mark.parametrize("name", ["config.ini.php", "meltano.yml", ".env"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    """Whoever may write there could have it hang for ever."""
    os.mkfifo(tmp_path / name)
    if name == ".env":
        (tmp_path / "meltano.yml").touch()
    ended: list[bool] = []

    def read() -> None:
        try:
            read_config(tmp_path / name) if name == "config.ini.php" else find_database(tmp_path, {})
            ended.append(name == ".env")
        except ConfigurationError as refusal:
            ended.append("is no regular file" in str(refusal))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(10)
    assert ended == [True]
