"""Every shell line of the runbooks is run as it is written, words in capitals filled in; on real programs and states.

What must not be run by a test, since it would restart something or needs a Matomo, is held to what its program says of
itself: systemctl's own help, and the options of Matomo's console. A line that no test knows what to do with fails.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from tests.conftest import installed, lab_hosts
from tests.contracts.benches import SELECT
from tests.contracts.reset_benches import MATOMO_GRANTS
from tests.lab import queuemedic, recordings, releases
from tests.lab.mariadb import MariaDb
from tests.lab.meltano import Project
from tests.lab.programs import program
from tests.lab.queuemedic import QUEUEMEDIC
from tests.lab.watchdog import HEALING

from .shell_lines import ShellLine, read_lines, type_in
from .shipped import ROOT, RUNBOOKS

LINES: Final = tuple(read_lines())
QUEUEMEDICS: Final = frozenset({"queuemedic"})
OF_HOSTS: Final = frozenset({"ssh"})
OF_MELTANO: Final = frozenset({"meltano", "pgrep", "find"})
HERE: Final = frozenset({"curl", "grep", "journalctl"})
ONLY_CHECKED: Final = frozenset({"systemctl", "./console"})

STATE: Final = "running-three-hung"
SERVICE: Final = ROOT / "deploy" / "systemd" / "queuemedic.service"
EVENTS: Final = ROOT / "docs" / "reference" / "events.md"
ARCHIVER: Final = ["sh", "-c", "sleep 600; true", "/srv/matomo/console", "core:archive"]
NO_SYSTEMD: Final = "System has not been booted with systemd"
NO_JOURNAL: Final = "No journal files were found."
KILLED: Final = """\
kernel: Out of memory: Killed process 4380 (php) total-vm:4019340kB, anon-rss:1923312kB
kernel: Memory cgroup out of memory: Killed process 4381 (php) total-vm:1019340kB
"""
# Matomo 5.3: plugins/CoreConsole/Commands/CoreArchiver.php and plugins/Diagnostics/Commands.
CONSOLE: Final = {
    "core:archive": {
        "--accept-invalid-ssl-certificate",
        *("--concurrent-archivers", "--concurrent-requests-per-website"),
        *("--disable-scheduled-tasks", "--force-all-websites", "--force-date-range", "--force-idsegments"),
        *("--force-idsites", "--force-periods", "--force-report"),
        *("--max-archives-to-process", "--max-websites-to-process", "--php-cli-options", "--skip-all-segments"),
        *("--skip-idsites", "--skip-segments-today", "--stop-processing-after", "--url", "-vvv"),
    },
    "diagnostics:archiving-metrics": {"--json"},
    "diagnostics:archiving-status": {"--with-stats", "--email"},
}
CODE: Final = re.compile(r"`([^`\n]+)`")
OPTION: Final = re.compile(r"(?<=\s)--?[a-z][\w-]*|^--[a-z][\w-]*")


def of(programs: frozenset[str]) -> pytest.MarkDecorator:
    """Run a test with each line that starts one of these programs."""
    lines = [line for line in LINES if line.program in programs]
    return pytest.mark.parametrize("line", lines, ids=lambda line: line.text)


def test_each_line_is_run_or_checked() -> None:
    """A program that nobody here knows is a line that nobody has tried."""
    known = QUEUEMEDICS | OF_HOSTS | OF_MELTANO | HERE | ONLY_CHECKED
    assert [line for line in LINES if line.program not in known] == []


@pytest.fixture(scope="module")
def desk(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], queuemedic.Ended]]:
    """Where Queuemedic runs: beside a recorded Matomo whose three archivers hang; `queuemedic` is what it is typed."""
    recordings.shared_or_skip()
    folder = tmp_path_factory.mktemp("desk")
    with mariadb.database() as database:
        recording = recordings.recording(STATE)
        recordings.load(mariadb, database, recording)
        mariadb.set_clock(recording.captured_at, database=database)
        [[job]] = mariadb.sql(
            "SELECT MIN(idinvalidation) FROM matomo_archive_invalidations WHERE status = 1", database=database
        )
        healing = {**HEALING, "write_url": mariadb.account(database, MATOMO_GRANTS)}
        queue = {"system": "matomo", "url": mariadb.account(database, [SELECT]), "healing": healing}
        hosts = {"vm": {"via": "local"}}
        ledger = f"sqlite:///{folder}/ledger.db"
        config = queuemedic.write_config(folder, {"analytics": queue}, hosts=hosts, ledger=ledger)

        def run(line: str) -> queuemedic.Ended:
            for word, value in (("QUEUE", "analytics"), ("HOST", "vm"), ("ID", str(job))):
                line = re.sub(rf"\b{word}\b", value, line)
            return type_in(line, folder=folder, path=QUEUEMEDIC.parent, environment={"QUEUEMEDIC_CONFIG": str(config)})

        yield run


@of(QUEUEMEDICS)
def test_queuemedics_commands_run(line: ShellLine, desk: Callable[[str], queuemedic.Ended]) -> None:
    """On the recorded state: what they find is another test's, but neither usage nor configuration is at fault."""
    ended = desk(line.typed)
    assert ended.code in (0, 1, 4), ended
    assert not re.search("Usage|Error|Traceback", ended.err), ended.err
    assert ended.out


@pytest.fixture(scope="module")
def somewhere() -> Iterator[Callable[[str], queuemedic.Ended]]:
    """A host on which an archiver runs, with an sshd that lets a person in."""
    with lab_hosts() as hosts, installed():
        for name, package in (("ssh", "openssh-client"), ("ps", "procps"), ("systemctl", "systemd")):
            program(name, package=package)
        host = hosts.add("web1", command="sh /etc/login.sh")
        host.write("/etc/login.sh", 'eval "$SSH_ORIGINAL_COMMAND"\n')
        settings = host.options()
        config = hosts.folder / "ssh_config"
        config.write_text(
            f"Host web1\nHostName {host.address}\nUser {settings['user']}\nIdentityFile {settings['key_file']}\n"
            f"UserKnownHostsFile {settings['known_hosts']}\nBatchMode yes\n"
        )
        pid = host.spawn(ARCHIVER, user="worker")

        def run(line: str) -> queuemedic.Ended:
            line = re.sub(r"\b(?:OTHER-)?HOST\b", f"-F {config} web1", line)
            return type_in(re.sub(r"\bPID\b", str(pid), line), folder=hosts.folder)

        yield run


@of(OF_HOSTS)
def test_what_is_asked_of_a_host_is_answered(line: ShellLine, somewhere: Callable[[str], queuemedic.Ended]) -> None:
    """An archiver that is there is seen; the kernel's log is asked, where there is one."""
    ended = somewhere(line.typed)
    complaints = [one for one in ended.err.splitlines() if NO_JOURNAL not in one and not _is_of_no_systemd(one)]
    assert complaints == [], ended
    if "ps -" in line.text:
        assert ended.code == 0, ended
        assert "/srv/matomo/console core:archive" in ended.out


def _is_of_no_systemd(line: str) -> bool:
    return NO_SYSTEMD in line or "Failed to connect to" in line


@pytest.mark.parametrize("line", [line for line in LINES if "journalctl -k" in line.text], ids=lambda line: line.text)
def test_what_the_kernel_killed_is_found(line: ShellLine, tmp_path: Path) -> None:
    """As kernels write it, of a machine and of a container."""
    (tmp_path / "journal").write_text(KILLED)
    assert type_in(f"cat journal | {line.text.partition('|')[2]}", folder=tmp_path).out == KILLED


@pytest.mark.parametrize("line", [line for line in LINES if line.program == "journalctl"], ids=lambda line: line.text)
def test_the_journal_is_asked_for_what_is_in_it(line: ShellLine, tmp_path: Path) -> None:
    """As written, on whatever journal is here; and each event that is looked for is one of the program's."""
    with installed():
        program("journalctl", package="systemd")
    ended = type_in(line.typed, folder=tmp_path)
    assert ended.err.strip() in ("", NO_JOURNAL), ended
    assert ended.code in (0, 1), ended
    _, _, pattern = line.text.partition("grep ")
    for event in re.findall(r"[a-z]+\.[a-z_]+", pattern):
        assert f"| `{event}` |" in EVENTS.read_text()


@pytest.mark.parametrize("line", [line for line in LINES if line.program == "grep"], ids=lambda line: line.text)
def test_cron_and_its_log_are_searched(line: ShellLine, tmp_path: Path) -> None:
    """As written; the log is one with Matomo's own last line of a run that failed."""
    said = "Matomo\\CronArchive: 3 total errors during this script execution, please investigate"
    (tmp_path / "log").write_text(f"{said}\n")
    ended = type_in(line.typed.replace("/var/log/matomo-archive.log", "log"), folder=tmp_path)
    assert ended.err == ""
    if "total errors" in line.text:
        assert ended.out == f"{said}\n"


@pytest.mark.parametrize("line", [line for line in LINES if line.program == "curl"], ids=lambda line: line.text)
def test_a_healthy_program_says_so(line: ShellLine, tmp_path: Path) -> None:
    """Of a real `serve`, on another port."""
    queue = {"system": "table", "url": f"sqlite:///{tmp_path}/jobs.db", "from": "jobs"}
    columns = {"id": "id", "enqueued_at": "a", "started_at": "b"}
    states = {"waiting_when": "b IS NULL", "started_when": "b IS NOT NULL"}
    config = queuemedic.write_config(tmp_path, {"mails": {**queue, "columns": columns, **states}})
    with installed():
        program("curl", package="curl")
    with queuemedic.serving(config, tmp_path) as served:
        [port] = re.findall(r"listen: 127\.0\.0\.1:([0-9]+)", config.read_text())
        ended = type_in(line.typed.replace("9847", port), folder=tmp_path)
        assert (ended.code, ended.out) == (0, served.get("/-/healthy").text)
    assert ended.out


def test_what_is_asked_of_meltano_is_answered(meltano_project: Callable[..., Project]) -> None:
    """A run that works is found by its processes and its log; once it is dead, `schedule list` fails it."""
    lines = {line.program: line for line in LINES if line.program in OF_MELTANO}
    project, path = meltano_project(), releases.meltano(releases.NEWEST).parent
    with project.run() as running:
        run_id = UUID(hex=project.begun().run_id)
        found = type_in(lines["pgrep"].typed, folder=project.folder)
        assert re.search(rf"^{running.pid} .*meltano run", found.out, re.MULTILINE), found
        found = type_in(lines["find"].typed.replace("RUN_ID", str(run_id)), folder=project.folder)
        assert f"/proc/{running.pid}/fd/" in found.out, found
    project.sql("UPDATE runs SET last_heartbeat_at = strftime('%Y-%m-%d %H:%M:%f000', 'now', '-6 minutes')")
    assert [row.state for row in project.runs()] == ["RUNNING"]
    for line in (line for line in LINES if line.program == "meltano"):
        assert type_in(line.typed, folder=project.folder, path=path).code == 0, line
    assert [row.state for row in project.runs()] == ["FAIL"]


@of(frozenset({"systemctl"}))
def test_systemctl_knows_what_it_is_told(line: ShellLine) -> None:
    """Not run, since it would restart what is here; the unit is the one that is shipped, or cron's."""
    with installed():
        systemctl = program("systemctl", package="systemd")
    shown = subprocess.run([systemctl, "--help"], check=True, capture_output=True, text=True).stdout
    _, verb, unit = line.typed.split()
    assert re.search(rf"^ +{verb} ", shown, re.MULTILINE)
    assert unit in ("cron", SERVICE.stem)
    if verb == "reload":
        assert "ExecReload=" in SERVICE.read_text()


@of(frozenset({"./console"}))
def test_matomos_console_knows_what_it_is_told(line: ShellLine) -> None:
    """Not run, since that needs a Matomo; as the account of the web server, since root's files lock that out."""
    assert line.text.startswith("sudo -u www-data ./console ")
    assert _unknown_options(line.typed) == set()


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_what_the_text_says_of_matomos_console_exists(page: Path) -> None:
    """Also what stands within sentences: whole commands, and options alone for the cron line."""
    for code in CODE.findall(page.read_text()):
        if "./console" in code and code != "./console":
            assert code.startswith("sudo -u www-data ./console ")
            assert _unknown_options(code.removeprefix("sudo -u www-data ")) == set()
        elif code.startswith("--") and code != "--force":  # Meltano's
            assert {code.split("=")[0]} <= CONSOLE["core:archive"]


def _unknown_options(command: str) -> set[str]:
    _, name, *_ = command.split()
    return set(OPTION.findall(re.sub(r"\"[^\"]*\"", "", command))) - CONSOLE[name]
