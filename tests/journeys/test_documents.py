"""Every command that a document shows is run by a test, or is said here why not; and every `queuemedic …` is one.

In: README.md and the pages under docs/, alerts/, dashboards/ and deploy/; runbooks are `tests/rules/`'s, quickstarts
are followed by `test_quickstarts`. A line of Queuemedic's own is run here, in this process, on a queue of its own; a
line that a shell can run anywhere, in bash. `RUN_BY` names the test that runs one of the others, and `ELSEWHERE` the
programs that no test can run here, and what is checked instead.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import promql_parser
import pytest
from click.testing import CliRunner

from exporter.catalogue import METRICS, Type
from queuemedic.cli import main as program
from tests.conftest import installed
from tests.lab import programs
from tests.lab.pages import ROOT, read_blocks
from tests.lab.queuemedic import QUEUEMEDIC, write_config
from tests.unit.test_guarantees_page import names_in

from .test_hosts import HOST, make_queue, start_job

RUNBOOKS, QUICKSTARTS = ROOT / "docs" / "runbooks", ROOT / "docs" / "quickstart"
PAGES: Final = (
    ROOT / "README.md",
    *sorted(page for folder in ("alerts", "dashboards", "deploy", "docs") for page in (ROOT / folder).rglob("*.md")),
)
OWN: Final = re.compile(r"(?:sudo -u queuemedic )?((?:/opt/queuemedic/bin/)?queuemedic(?: .*)?)")
INLINE: Final = re.compile(r"`(queuemedic (?!…)[^`]+)`")
HELP_EXAMPLE: Final = re.compile(r"^ +(?:Example: |cd \S+ && )?(queuemedic .+)$", re.MULTILINE)
SHELL_SIGN: Final = re.compile(r"[|<>;&$]")
ENDLESS: Final = frozenset({"serve", "demo"})
PLACEHOLDERS: Final = {"…": "x", " N": " 1"}

RUN_BY: Final = {
    "make demo": "tests/journeys/test_demo.py::test_the_demo_shows_a_stuck_job_and_leaves_nothing_behind",
    "curl -X POST http://127.0.0.1:9847/-/reload": "tests/journeys/test_reload.py::test_a_reload_has_to_be_allowed",
    'eval "$(_QUEUEMEDIC_COMPLETE=bash_source queuemedic)"': (
        "tests/journeys/test_terminal.py::test_bash_completes_commands_and_names"
    ),
    'eval "$(_QUEUEMEDIC_COMPLETE=zsh_source queuemedic)"': (
        "tests/journeys/test_terminal.py::test_zsh_completes_a_command"
    ),
    "sh prepare.sh install --from 10.0.0.9 probe_key.pub probe.sh": (
        "tests/journeys/test_deploy_watched_host.py::test_a_host_is_prepared_asked_and_as_it_was_before"
    ),
}
"""Lines that another test runs, with the addresses and files that it has."""

ANYWHERE: Final = frozenset({"ssh-keygen", "python3", "/opt/queuemedic/bin/python"})
"""Programs whose lines are run here as they stand, in an empty folder."""

ELSEWHERE: Final = {
    "make test": "runs this",
    "make bench": "takes minutes to an hour, so it is run by hand; its figures are on the page",
    "make soak": "takes an hour, so it is run by hand; its figures are on the page",
    "make chaos": "tests/chaos/test_chaos.py makes a short spell of it",
    ".venv/bin/python -m tests.chaos": "tests/chaos/test_chaos.py makes a short spell of it",
    "pytest -m long": "`make long` runs it",
    "export": "sets the environment of what follows",
    "set": "sets the environment of what follows",
    "sudo -u queuemedic -s": "begins a shell of an account that a test does not have",
    "install": "puts files where only root of a machine may; tests/journeys/test_deploy_systemd.py reads those files",
    "systemctl": "no systemd runs here; its units are verified by tests/journeys/test_deploy_systemd.py",
    "systemd-sysusers": "tests/journeys/test_deploy_systemd.py lets it make the account in a folder of its own",
    "systemd-tmpfiles": "tests/journeys/test_deploy_systemd.py lets it make the folder in a folder of its own",
    "curl --silent http://localhost:9847/api": "tests/journeys/test_status_page.py asks for the pages of the API",
    "ssh": "a host of the reader's",
    ".venv/bin/python -m bench": "takes minutes to an hour, so it is run by hand; its figures are on the page",
    "sh deploy/container/make-secrets.sh": "tests/journeys/test_deploy_container.py runs it in a folder of its own",
    "helm": "no cluster is here; the chart is linted and rendered by tests/journeys/test_deploy_chart.py",
}
"""What no test can run here, by how a line begins, and what is checked instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One command, and the page that shows it."""

    page: Path
    text: str

    @property
    def own(self) -> str | None:
        """What it is without an account before it, if it is Queuemedic's."""
        found = OWN.fullmatch(self.text)
        return found[1].removeprefix("/opt/queuemedic/bin/") if found else None


def read_commands(*, inside: Path | None = None) -> list[Shown]:
    """Return the commands of every page but runbooks, or only of the pages in a folder."""
    return [
        Shown(page=page, text=command)
        for page in PAGES
        if RUNBOOKS not in page.parents and (inside is None or inside in page.parents)
        for block in read_blocks(page)
        if block.is_shell
        for command in block.commands
    ]


FOLLOWED: Final = frozenset(shown.text for shown in read_commands(inside=QUICKSTARTS))
OTHERS: Final = [shown for shown in read_commands() if shown.text not in FOLLOWED]


def named(shown: Shown) -> str:
    """Name a test after a command and its page."""
    return f"{shown.page.name}: {shown.text[:60]}"


def read_own() -> Iterator[tuple[str, str]]:
    """Yield every command line of Queuemedic's that is shown anywhere, with where: blocks, text, help."""
    for shown in read_commands():
        for part in re.split(r"\|\|?|&&|[;<>]", shown.text):
            if own := OWN.fullmatch(re.sub(r"^\w+=\S+ ", "", part.strip())):
                yield shown.page.name, own[1].removeprefix("/opt/queuemedic/bin/")
    for page in PAGES:
        for text in INLINE.findall(page.read_text("utf-8")):
            yield page.name, text
    for text in HELP_EXAMPLE.findall((ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")):
        yield "commands.md", text.partition(" > ")[0]


def parse(line: str) -> None:
    """Let click read a command line as it would, without running it; raises click.UsageError."""
    for placeholder, value in PLACEHOLDERS.items():
        line = line.replace(placeholder, value)
    arguments = shlex.split(line)[1:]
    context = program.make_context("queuemedic", arguments)
    while isinstance(context.command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        assert name
        assert command
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(("page", "line"), sorted(set(read_own())))
def test_every_command_line_of_queuemedic_is_one(page: str, line: str) -> None:
    """With commands and options that there are; in prose, a command may be named without what it needs."""
    try:
        parse(line)
    except (click.exceptions.Exit, click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        pass  # --version and --help end by the first
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The configuration of a queue `analytics` with jobs that are started, and a ledger that has been begun."""
    file = tmp_path / "jobs.db"
    healing = {"mode": "dry_run", "reset": {"b": None, "host": None, "pid": None}}
    hosts = {HOST: {"via": "local", "pid_namespace": "own"}}
    queues = {"analytics": {**make_queue(file), "healing": healing}}
    start_job(file, 4_000_000, host="web02")
    config = write_config(tmp_path, queues, hosts=hosts, ledger=f"sqlite:///{tmp_path}/ledger.db")
    assert run_own("queuemedic pause --why test", config) == 0
    return config


def run_own(line: str, config: Path) -> int:
    """Run a command line in this process, on a configuration, saying no to whatever it asks; its exit code."""
    arguments = shlex.split(line)[1:]
    if arguments[:1] == ["--config"]:
        del arguments[:2]
    arguments = [str(config.parent / "copied") if one.startswith("/etc/prometheus") else one for one in arguments]
    ended = CliRunner(env={"QUEUEMEDIC_CONFIG": str(config)}).invoke(program, arguments, input="n\n")
    assert ended.exception is None or isinstance(ended.exception, SystemExit), f"{line}: {ended.exception!r}"
    assert ended.exit_code in (0, 1, 3, 4), f"{line}: {ended.exit_code}\n{ended.output}"
    return ended.exit_code


def test_every_command_line_of_queuemedic_is_run(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None ends with a usage error or a traceback; those that run for ever have journeys of their own."""
    monkeypatch.chdir(site.parent)
    lines = {shown.own for shown in OTHERS if shown.own and not SHELL_SIGN.search(shown.text)}
    endless = {line for line in lines if ENDLESS & set(line.split())}
    assert len(lines - endless) >= 10
    for line in sorted(lines - endless):
        run_own(line, site)


def is_of_bash(shown: Shown) -> bool:
    """Whether bash can run it here: what it begins with, and all that it is made of, is there."""
    if shown.own is not None:
        return SHELL_SIGN.search(shown.text) is not None
    return shown.text.startswith("NO_COLOR=") or (shown.text.split()[0] in ANYWHERE and " -m venv" not in shown.text)


@pytest.mark.parametrize("shown", [shown for shown in OTHERS if is_of_bash(shown)], ids=named)
def test_what_a_shell_can_run_anywhere_is_run(shown: Shown, site: Path) -> None:
    """In bash, as it stands; whoever asks for a password is given one."""
    with installed():
        programs.program("bash", package="bash")
        if shown.text.startswith("ssh-keygen "):
            programs.program("ssh-keygen", package="openssh-client")
    line = shown.text.replace("/opt/queuemedic/bin/python", sys.executable)
    line = line.replace("/etc/queuemedic/queuemedic.yml", str(site))
    environment = {
        **os.environ,
        "PATH": f"{QUEUEMEDIC.parent}:{os.environ['PATH']}",
        "QUEUEMEDIC_CONFIG": str(site),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        ["setsid", "bash", "-o", "pipefail", "-c", line],
        cwd=site.parent,
        env=environment,
        input="password\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, 1, 4), f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr


def why_not(text: str) -> str | None:
    """Return what begins the line of `ELSEWHERE` that says why no test runs a line, or None."""
    return next((start for start in ELSEWHERE if f"{text} ".startswith((f"{start} ", f"{start}/"))), None)


def is_run_here(shown: Shown) -> bool:
    """Whether a test above runs it, or one that `RUN_BY` names."""
    is_own = shown.own is not None and not SHELL_SIGN.search(shown.text)
    return is_own or is_of_bash(shown) or shown.text in RUN_BY


@pytest.mark.parametrize("shown", OTHERS, ids=named)
def test_every_other_command_is_run_or_said_why_not(shown: Shown) -> None:
    """A new line in a document needs a test that runs it, or a reason."""
    if not is_run_here(shown):
        assert why_not(shown.text), f"{shown.page.relative_to(ROOT)}: no test runs {shown.text!r}"


def test_no_reason_is_left_over() -> None:
    """Each is of a line that is shown, and the tests that it names are there."""
    assert {why_not(shown.text) for shown in OTHERS if not is_run_here(shown)} == set(ELSEWHERE)
    files = {file for reason in ELSEWHERE.values() for file in re.findall(r"tests/[\w/]+\.py", reason)}
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_every_test_that_is_named_is_there() -> None:
    """And no line is kept here that no page shows any more."""
    for line, test in RUN_BY.items():
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not name or name in names_in(ROOT / file), test
        assert line in {shown.text for shown in OTHERS}, line


def test_every_query_that_is_shown_is_one() -> None:
    """Of metrics that there are."""
    known = {metric.full_name for metric in METRICS.values()}
    known |= {f"{metric.full_name}_bucket" for metric in METRICS.values() if metric.type is Type.HISTOGRAM}
    queries = [
        line
        for page in PAGES
        for block in read_blocks(page)
        if block.language == "promql"
        for line in block.text.splitlines()
    ]
    assert queries
    for query in queries:
        promql_parser.parse(query)
        assert set(re.findall(r"queuemedic_\w+", query)) <= known, query


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Built strictly, as `make check` does; a link may lead elsewhere, a picture, script, style or font not."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = {page.relative_to(tmp_path): page.read_text("utf-8") for page in tmp_path.rglob("*.html")}
    assert len(pages) >= len([page for page in PAGES if "deploy" not in page.parts])
    elsewhere = re.compile(r"<(?:img|script|iframe|source)[^>]*src=.?https?:|<link[^>]*href=.?https?:|url[(].?https?:")
    assert [str(name) for name, text in pages.items() if elsewhere.search(text)] == []
