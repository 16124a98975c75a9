"""What a person sees on a terminal, and what a program gets from a pipe: widths, colours, progress, completion."""

import html
import os
import re
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from healers.probes.protocol import Silence
from queuemedic.cli import main as program
from queuemedic.commands.hosts import TO_DO
from tests.conftest import installed
from tests.lab import picture, programs, sqlite_queue
from tests.lab.queuemedic import QUEUEMEDIC, run, write_config
from tests.lab.terminal import COLOUR, Terminal, plain

from .test_heal import Site, Worker, hire
from .test_hosts import HOST, make_queue, start_job

__all__ = ["hire"]

LONG = "a-host-whose-name-is-quite-long.with-a-domain.example.org"
# Lines that are there to be pasted are never broken.
TO_PASTE = ("ps -o", "{via: ssh")


@contextmanager
def silent_host() -> Iterator[int]:
    """Give the port of a host that takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def ask_by_ssh(folder: Path, port: int, **options: Any) -> dict[str, Any]:
    """Return the section of a host behind a port, with a key pair of its own."""
    key, known = folder / "key", folder / "known_hosts"
    if not key.exists():
        with installed():
            keygen = programs.program("ssh-keygen", package="openssh-client")
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    kind, text, *_ = key.with_suffix(".pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{port} {kind} {text}\n")
    files = {"key_file": str(key), "known_hosts": str(known)}
    return {"via": "ssh", "address": "127.0.0.1", "port": port, "user": "q", **files, **options}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration with one queue: jobs stuck on three hosts, this one is asked, and one that refuses."""
    file = tmp_path / "jobs.db"
    queue = {**make_queue(file), "stuck_after": "1h", "healing": {"reset": {"b": None, "host": None, "pid": None}}}
    for host, pid in ((HOST, 4_000_000), ("web02", 20894), (LONG, 4711)):
        start_job(file, pid, host=host)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE jobs SET b = datetime('now', '-3 hours')")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    hosts = {HOST: {"via": "local", "pid_namespace": "own"}, "web02": ask_by_ssh(tmp_path, port)}
    return write_config(tmp_path, {"jobs": queue}, hosts=hosts, ledger=f"sqlite:///{tmp_path}/ledger.db")


def shown(config: Path, *arguments: str, **options: Any) -> str:
    """Return what a command draws."""
    with Terminal([QUEUEMEDIC, "--config", config, *arguments], **options) as terminal:
        return terminal.read_all()[1]


@pytest.mark.parametrize(("command", "columns"), [("check", 80), ("check", 200), ("heal", 80), ("hosts check", 80)])
def test_what_is_shown_fits_the_terminal(site: Path, command: str, columns: int) -> None:
    """Whatever its width; and what is wrong is in colour."""
    drawn = shown(site, *command.split(), columns=columns)
    lines = [line for line in plain(drawn).splitlines() if not any(part in line for part in TO_PASTE)]
    assert max(map(len, lines)) <= columns
    assert COLOUR.search(drawn)
    if columns == 200:
        [row] = [line for line in lines if "20894" in line]
        assert "unreachable" in row


def test_without_colour_there_is_none(site: Path) -> None:
    """NO_COLOR leaves bold, as its authors allow; a dumb terminal gets not one escape sequence."""
    drawn = shown(site, "check", environment={"NO_COLOR": "1"})
    assert "jobs (table): 3 of 3 started jobs stuck" in plain(drawn)
    assert not COLOUR.search(drawn)
    drawn = shown(site, "check", term="dumb")
    assert "jobs (table): 3 of 3 started jobs stuck" in drawn
    assert "\x1b" not in drawn


def test_into_a_pipe_each_row_is_a_line(site: Path) -> None:
    """However long: grep finds a job with all that is said of it; nothing is in colour, and nothing shows progress."""
    ended = run("--config", site, "check", environment={"COLUMNS": ""})
    assert "\x1b" not in ended.out
    assert ended.err == ""
    [row] = [line for line in ended.out.splitlines() if "4711" in line and "ps -o" not in line]
    assert row.split()[:5] == ["3", "job", LONG, "4711", "3h"]
    assert row.rstrip().endswith("longer than 1h")


def test_of_many_queues_those_that_are_well_take_a_line_each(tmp_path: Path) -> None:
    """What is wrong is shown whole, and named once more at the end, where a person looks."""
    queues = {f"q{number:02d}": sqlite_queue.make_queue(tmp_path / f"{number}.db") for number in range(11)}
    config = write_config(tmp_path, {**queues, "worst": {**queues["q00"], "from": "nothing"}})
    ended = run("--config", config, "check")
    lines = ended.out.splitlines()
    assert ended.code == 3
    assert lines[:11] == [f"✓ {name} (table): nothing stuck; 0 started, 1 waiting" for name in queues]
    assert lines[11] == "✗ worst (table): could not be read"
    assert lines[-1] == "✗ 1 of 12 queues: worst"


def test_who_waits_sees_for_what(tmp_path: Path) -> None:
    """While a host is silent; then the line is gone, and there is what to do about it. Into a pipe nothing is told."""
    with silent_host() as port:
        queue = make_queue(tmp_path / "jobs.db")
        hosts = {"web02": ask_by_ssh(tmp_path, port, timeout="2s")}
        config = write_config(tmp_path, {"jobs": queue}, hosts=hosts)
        with Terminal([QUEUEMEDIC, "--config", config, "hosts", "check"]) as terminal:
            terminal.read_until("queues 1 of 1, hosts 0 of 1")
            code, drawn = terminal.read_all()
        assert code == 3
        assert plain(drawn).splitlines()[-2].startswith("✗ web02: timeout")
        assert TO_DO["timeout"] in plain(drawn).splitlines()[-1]
        ended = run("--config", config, "hosts", "check")
        assert (ended.code, ended.err) == (3, "")


def test_ctrl_c_ends_at_once_what_hangs(tmp_path: Path) -> None:
    """The host would keep it for a minute."""
    with silent_host() as port:
        hosts = {"web02": ask_by_ssh(tmp_path, port, timeout="60s")}
        config = write_config(tmp_path, {"jobs": make_queue(tmp_path / "jobs.db")}, hosts=hosts)
        for command in ("check", "heal"):
            with Terminal([QUEUEMEDIC, "--config", config, *command.split()]) as terminal:
                terminal.read_until("hosts 0 of 1")
                began = time.monotonic()
                terminal.interrupt()
                code, drawn = terminal.read_all()
            assert (code, plain(drawn).splitlines()[-1]) == (130, "Aborted!"), command
            assert time.monotonic() - began < 20


def test_a_person_is_asked_and_sees_the_second_proof_come(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """The line that counts down is gone when the result is there; `history` tells it again, on one line of 80."""
    site = Site(tmp_path, mode="dry_run", confirm_after="3s")
    site.lose(hire(), hire())
    with Terminal([QUEUEMEDIC, "--config", site.config, "heal", "--apply"]) as terminal:
        terminal.read_until("Put 1 job back?")
        assert "q: 1 to put back" in plain(terminal.drawn)
        terminal.type("y\n")
        terminal.read_until("the second proof comes")
        code, drawn = terminal.read_all()
    assert code == 0
    assert plain(drawn).count("q: 1 put back") == 1
    assert site.started() == [1]
    history = plain(shown(site.config, "history"))
    [row] = [line for line in history.splitlines() if "reset" in line]
    assert max(map(len, history.splitlines())) <= 80
    assert row.split()[2:4] == ["q", "2"]


def words_of(text: str) -> list[str]:
    """Return the lines of what was shown, without what differs from run to run: numbers, ages, lines that are drawn."""
    text = re.sub(r"\d+[dhms](?: \d+[dhms])?|\d+", "0", text.replace("\xa0", " ").replace(HOST, "web02"))
    lines = (re.sub(r"[─\s]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def test_the_picture_is_what_is_shown() -> None:
    """But for numbers: docs/images/check.svg is drawn of a real run, by `python -m tests.lab.picture`."""
    drawn = picture.PICTURE.read_text("utf-8")
    lines: dict[int, str] = {}
    for number, text in re.findall(r'clip-path="url\(#check-line-(\d+)\)">([^<]*)</text>', drawn):
        lines[int(number)] = lines.get(int(number), "") + " " + html.unescape(text)
    assert words_of("\n".join(lines[number] for number in sorted(lines))) == words_of(plain(picture.take()))
    assert re.findall(r"https?://[^\s\"']+", drawn) == ["http://www.w3.org/2000/svg", "https://www.textualize.io"]


def options_of(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """Walk through every command."""
    yield context.command_path, context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from options_of(command.make_context(name, [], parent=context, resilient_parsing=True))


def test_every_help_has_an_example_and_fits() -> None:
    """On 80 columns; every option says what it is for."""
    root = program.make_context("queuemedic", [], resilient_parsing=True, terminal_width=78)
    for path, context in options_of(root):
        text = context.get_help()
        assert max(map(len, text.splitlines())) <= 80, path
        assert re.search(r"Examples?:", text), path
        for option in context.command.params:
            assert not isinstance(option, click.Option) or option.help, f"{path} {option.name}"


def test_every_silence_of_a_host_has_something_to_do() -> None:
    """One that is not configured is told by a line to paste."""
    assert TO_DO.keys() == set(Silence) - {Silence.NOT_CONFIGURED}


def test_bash_completes_commands_and_names(site: Path) -> None:
    """As the line in the help sets it up."""
    assert complete_in_bash("queuemedic", "che") == ["check"]
    assert complete_in_bash("queuemedic", "--config", str(site), "check", "--queue", "j") == ["jobs"]
    assert complete_in_bash("queuemedic", "--config", str(site), "hosts", "retire", "we") == ["web02"]
    site.write_text("queues: [")
    assert complete_in_bash("queuemedic", "--config", str(site), "check", "--queue", "j") == []


def complete_in_bash(*words: str) -> list[str]:
    """Return what bash offers for the last word."""
    with installed():
        bash = programs.program("bash", package="bash")
    script = f"""
        eval "$(_QUEUEMEDIC_COMPLETE=bash_source queuemedic)"
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
        _queuemedic_completion queuemedic; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{QUEUEMEDIC.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_zsh_completes_a_command(tmp_path: Path) -> None:
    """As the how-to sets it up; a person presses Tab."""
    with installed():
        zsh = programs.program("zsh", package="zsh")
    path = f"{QUEUEMEDIC.parent}:{os.environ['PATH']}"
    with Terminal([zsh, "-f", "-i"], folder=tmp_path, environment={"PATH": path, "HOME": str(tmp_path)}) as terminal:
        terminal.type('autoload -Uz compinit; compinit -u; eval "$(_QUEUEMEDIC_COMPLETE=zsh_source queuemedic)"\n')
        terminal.type("echo re''ady\n")
        terminal.read_until("\nready")
        terminal.type("queuemedic hist\t")
        terminal.read_until("queuemedic history")
