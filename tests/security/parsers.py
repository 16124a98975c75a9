"""Each parser of foreign text: what it is fed, and what must hold of whatever it makes of that.

A check takes one text and raises nothing but AssertionError. `refused` are the errors that say no in words; anything
else that is raised is a fault. Texts are put together of pieces that mean something, and of noise.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from exporter.errors import ConfigurationError
from exporter.jobs import Attempt, QueueName, read_pid
from exporter.labels import LONGEST
from exporter.options import read_duration, show_duration
from exporter.queues.matomo.config_ini import read_config
from exporter.queues.matomo.ini import read_ini
from exporter.queues.matomo.names import KINDS, OTHER_KIND, SCOPES, read_kind, read_subject
from exporter.queues.meltano import rows as meltano
from exporter.queues.meltano.source import find_database
from exporter.queues.table import rows as table
from exporter.queues.table.ids import Ids
from exporter.web.negotiation import accepts_gzip, choose_format
from healers.probes.answer import read_answer
from healers.probes.known_hosts import KEY_TYPES, read_host_keys
from healers.probes.protocol import HostAnswer, NoAnswer, Presence, Silence
from healers.resets.meltano import _with_error
from healers.sightings import Sightings
from healers.verdicts import Liveness, judge
from healers.windows import read_window
from queuemedic.web_file import read_access
from tests.builders import MACHINE, a_round, an_attempt, hear


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """`texts` are what it is fed; `check` reads one."""

    texts: st.SearchStrategy[Any]
    check: Callable[[Any], None]


def pieces(*known: str, most: int = 30) -> st.SearchStrategy[str]:
    """Texts of pieces that mean something to a parser, and of any others."""
    return st.lists(st.sampled_from(known) | st.text(max_size=4), max_size=most).map("".join)


def noisy(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Bytes: such a text, half of them with some that are no text put in."""
    encoded = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    cut = st.tuples(encoded, st.binary(max_size=8), st.integers(0, 200))
    return encoded | cut.map(lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :])


def in_a_folder(read: Callable[[Path], object], **files: bytes) -> object:
    """Read what is in a folder of these files (`_` stands for a dot); None where it is refused in words."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name.replace("_", ".")).write_bytes(content)
        with suppress(ConfigurationError):
            return read(Path(folder))
    return None


INI = pieces(
    *("[database]\n", "[General]\n", "host = ", "port = ", "password = ", "dbname", "=", '"', "'", "\\", "${HOME}"),
    *("$", "\n", "\r\n", ";", "[]", "[", "]", "(", ")", "!", "&", "|", "~", "^", "true", "off ", "null", " ", "\0"),
)


def check_ini(content: bytes) -> None:
    """Entries, each on a line that is there; then the same as Matomo's whole configuration."""
    with suppress(ConfigurationError):
        sections = read_ini(content, name="f", environment={"HOME": "/root"})
        entries = [entry for section in sections.values() for entry in section.values()]
        assert all(entry.place.startswith("f:") for entry in entries)
    found = in_a_folder(lambda folder: read_config(folder / "config.ini.php"), config_ini_php=content)
    assert found is None or 0 < found.port < 65_536  # type: ignore[attr-defined]


MELTANO = pieces(
    *("database_uri", "default_environment", "env", "include_paths", "MELTANO_DATABASE_URI", ": ", "- ", "\n", "\n  "),
    *("[", "]", "{", "}", "*.yml", "**", "&a ", "*a", "<<: ", "sqlite:///", "mysql://a:b@c/d", "$MELTANO_ENVIRONMENT"),
    *("${", "2001-99-99", '"\\U00110000"', "!!binary ", "!!python/name:os.system", "0x", "1:1", "?", "|", ".."),
)
PROJECT_LINES = st.lists(
    st.tuples(
        st.sampled_from(["database_uri", "default_environment", "include_paths", "env", "&a a", "<<", "? [a]"]),
        st.sampled_from(
            ["2001-99-99", "[a, *a]", "{*a : b}", '"\\U00110000"', "9" * 5000, "!!binary x", "[/etc/*]", "*a"]
        )
        | st.text(max_size=8),
    ).map(": ".join),
    max_size=5,
).map("\n".join)
DOTENV = pieces(
    *("MELTANO_DATABASE_URI=", "A=", "${A}", "${A:-", "}", "\n", "export ", '"', "'", "#", "\\", "sqlite://", "\0"),
)


def check_meltano(texts: tuple[bytes, bytes]) -> None:
    """A URL that shows no password, of a database that is known."""
    project, dotenv = texts
    found = in_a_folder(lambda folder: find_database(folder, {}), meltano_yml=project, _env=dotenv)
    assert found is None or found.url.get_backend_name() in ("sqlite", "postgresql")  # type: ignore[attr-defined]


def check_web_file(content: bytes) -> None:
    """What is asked of whoever connects."""
    in_a_folder(lambda folder: read_access(folder / "web.yml"), web_yml=content)


WEB = pieces(
    *("tls_server_config", "basic_auth_users", "http_server_config", "headers", "rate_limit", "cert_file", ": ", "\n"),
    *("\n  ", "{", "}", "[", "]", "- ", "$2y$10$", "$2b$99$", "&a ", "*a", "'", '"', "#", "!", "1e9", "~", "null"),
    '"\\U00110000"',
)


def known_hosts_lines() -> st.SearchStrategy[bytes]:
    """Lines with keys that are of a kind by their name, and noise behind it."""
    kinds = st.sampled_from([*KEY_TYPES, "ssh-dss", "sk-ssh-ed25519@openssh.com"])
    named = kinds.map(lambda kind: len(kind).to_bytes(4, "big") + kind.encode())
    blobs = st.tuples(named, st.binary(max_size=80)).map(lambda parts: b64encode(parts[0] + parts[1]).decode())
    words = st.sampled_from(["web1", "[web1]:22", "[web1]:²", "*", "|1|a=|b=", "@revoked", "#", "web1,10.0.0.1", "["])
    lines = st.tuples(words, kinds, blobs | st.text(max_size=8)).map(" ".join)
    return noisy(st.lists(lines, max_size=3).map("\n".join))


def check_known_hosts(content: bytes) -> None:
    """Keys of a kind that is taken."""
    keys = in_a_folder(lambda folder: read_host_keys(folder / "known.hosts", address="web1"), known_hosts=content)
    assert keys is None or all(key.get_name() in KEY_TYPES for key in keys)  # type: ignore[attr-defined]


def check_pid(text: str | None) -> None:
    """Nothing, or exactly the number that stands there."""
    pid = read_pid(text)
    assert pid is None or (str(pid) == text and 0 < pid <= 4_194_304)


def check_names(row: tuple[object, str | None, str | None]) -> None:
    """A kind and a scope that Matomo has, and parts of what stands there."""
    period, name, report = row
    subject = read_subject(name, report)
    assert read_kind(period) in (*KINDS, OTHER_KIND)
    assert subject.scope in SCOPES
    assert subject.plugin in (name or "")
    assert subject.segment in (name or "")
    assert subject.report in (report or "")


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8)


def check_other_rows(value: object) -> None:
    """Kinds, texts and run ids of bounded length and of one type, whatever a column holds."""
    assert len(meltano.read_kind(value)) <= LONGEST
    assert 0 < len(table.read_kind(value)) <= LONGEST
    assert isinstance(table.read_text(value), str | None)
    assert isinstance(meltano._run_id(value), str | None)
    for dialect in ("mysql", "postgresql", "sqlite"):
        ids = Ids(dialect=dialect, column="id", is_rising=False, is_binary=isinstance(value, bytes))
        bound = ids.bind([ids.read(value)])
        assert all(isinstance(one, str | int | bytes) for one in bound)
        if isinstance(value, str | bytes) and value and dialect != "postgresql":
            assert value in bound


def check_payload(payload: str | bytes | None) -> None:
    """JSON with the error in it, or nothing where it was no JSON object."""
    written = _with_error(payload)
    assert written is None or _with_error(written) == written


def check_header(text: str) -> None:
    """A format and whether to compress."""
    assert choose_format(text)[1].startswith(("text/plain", "application/openmetrics-text"))
    assert accepts_gzip(text) in (True, False)


VERSIONS = st.text("0123456789.a ²", max_size=4).map("application/openmetrics-text; version={}".format)
ACCEPT = pieces(
    *("application/openmetrics-text", "text/plain", "*/*", ";", ",", "q=", "version=", "1.0.0", "0.0.4", "1e999"),
    *(
        "openmetrics-text;version=a",
        "nan",
        "gzip",
        "identity",
        " ",
        "-1",
        "escaping=allow-utf-8",
        "=",
        '"',
        "²",
        "1..2",
    ),
)


def check_span(text: str) -> None:
    """A duration that is written as it is read; or a window; or a refusal in words."""
    with suppress(ValueError):
        span = read_duration(text)
        assert read_duration(show_duration(span)) == span
    with suppress(ValueError):
        assert str(read_window(text)) == text


NONCE = "0123456789abcdef" * 2
STAT = "/proc/100/stat:100 (php) S 1 100 100 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1000 250 0"
LIVING = f"""BEGIN {NONCE}
hostname web1
machine_id {MACHINE}
boot_id a1b46d92-c0ca-4c8f-b037-5c3afbc2b462
uptime 90000.25
load 0.50
pid_max 4194304
clock_ticks 100
page_bytes 4096
processors 4
pid_namespace pid:[4026531836]
proc_options rw
canary 1
uid 998
user queuemedic
section processes
{STAT.format(ticks=900_000)}
/proc/100/cmdline:php
/proc/100/cmdline:/srv/matomo/console
/proc/100/cmdline:core:archive
section relatives
section namespaces
section marked
looked_through 1
END {NONCE}
""".splitlines(keepends=True)
PROCESS = [place for place, line in enumerate(LIVING) if "100" in line]
STRANGE = (
    *("\n", "signal 100 \n", "signal 100 exists\n", "signal 100 absent \n", "signal 1 absent\n", "section states\n"),
    *("/proc/100/stat:\n", "/proc/100/stat:100 (php) Z\n", "/proc/100/task/100/stat:100 (php) Z 1\n", "\0\n", "\r\n"),
    *("/proc/100/stat:100 (php)) Z 1 2\n", "canary 0\n", "looked_through 1\n", "END x\n", f"END {NONCE}\n"),
)
ATTEMPT: Attempt = an_attempt(pid="100")
PROVEN = Sightings(proven=frozenset({(QueueName("q"), MACHINE)}))


@st.composite
def garbled_answers(draw: st.DrawFn) -> bytes:
    """Draw the answer about a worker that lives, with lines gone, moved, doubled or strange, and bytes put in."""
    lines = [*LIVING]
    for _ in range(draw(st.integers(1, 4))):
        anywhere = st.integers(0, len(lines) - 1)
        place, other = draw(st.sampled_from(PROCESS).filter(len(lines).__gt__) | anywhere), draw(anywhere)
        match draw(st.sampled_from(["gone", "moved", "doubled", "strange"])):
            case "gone" if len(lines) > 2:
                del lines[place]
            case "moved":
                lines.insert(other % len(lines), lines.pop(place))
            case "doubled":
                lines.insert(other, lines[place])
            case _:
                lines.insert(place, draw(st.sampled_from(STRANGE) | st.text(max_size=20).map(lambda text: f"{text}\n")))
    answer = "".join(lines).encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, len(answer)))
    return draw(st.sampled_from([answer, answer[:place] + draw(st.binary(max_size=6)) + answer[place:]]))


def check_answer(output: bytes) -> None:
    """Never a death: nobody has said that the process is gone, and it was never seen before."""
    asked = a_round(ATTEMPT, sightings=PROVEN)
    answer = read_answer(output, exit_status=0, nonce=NONCE, request=asked.request)
    if isinstance(answer, HostAnswer):
        assert set(answer.processes) == {100}
        assert answer.processes[100].presence is not Presence.ABSENT
    else:
        assert isinstance(answer, NoAnswer)
        assert answer.silence is Silence.BAD_ANSWER
        assert answer.detail.isprintable()
        assert len(answer.detail) < 600
    [verdict] = judge(hear(asked, answer), PROVEN).verdicts
    assert verdict.value is not Liveness.DEAD


PARSERS: Mapping[str, Parser] = MappingProxyType(
    {
        "Matomo's configuration": Parser(texts=noisy(INI), check=check_ini),
        "Meltano's project": Parser(
            texts=st.tuples(noisy(MELTANO | PROJECT_LINES), noisy(DOTENV)), check=check_meltano
        ),
        "web configuration": Parser(texts=noisy(WEB), check=check_web_file),
        "known_hosts": Parser(texts=known_hosts_lines(), check=check_known_hosts),
        "process id": Parser(
            texts=st.none() | st.text(max_size=9) | st.integers().map(str) | st.from_regex(r"\A\d{1,8}\Z"),
            check=check_pid,
        ),
        "Matomo's names": Parser(
            texts=st.tuples(ODD, st.none() | pieces("done", ".", "a" * 32, "Goals"), st.none() | pieces(" ", "\0")),
            check=check_names,
        ),
        "rows of other tables": Parser(texts=ODD, check=check_other_rows),
        "Meltano's payload": Parser(
            texts=st.none() | noisy(pieces("{", "}", "[", "]", '"error"', ":", ",", "1e999", "NaN", '"', "\\ud800")),
            check=check_payload,
        ),
        "HTTP headers": Parser(texts=ACCEPT | VERSIONS, check=check_header),
        "durations and windows": Parser(
            texts=st.from_regex(r"\A([0-9]{1,5}[smhd]){1,3}\Z")
            | pieces("1", "99999999999", "s", "h", "Mon-Fri", "Sun,Mon", " ", "22:00-06:00", "UTC", "../x"),
            check=check_span,
        ),
        "a host's answer": Parser(texts=garbled_answers() | st.binary(max_size=300), check=check_answer),
    }
)
