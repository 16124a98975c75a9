"""The units as systemd takes them: nothing to say of them, little exposed, and a local probe still sees."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import installed
from tests.lab.deploy_tools import DEPLOY
from tests.lab.programs import program

UNITS = DEPLOY / "systemd"
PROGRAM = "/opt/queuemedic/bin/queuemedic"
BLINDING = {"ProtectProc", "ProcSubset", "PrivatePIDs", "PrivateUsers", "ProtectHostname"}
MOST_EXPOSED = 3.0
SERVICES = ("queuemedic.service", "queuemedic-check.service")


def settings(name: str) -> dict[str, str]:
    """Return the [Service] section of a unit; of a key that is there twice, both."""
    found: dict[str, str] = {}
    section = (UNITS / name).read_text().split("[Service]\n")[1].split("\n[")[0]
    for key, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with a program that is here."""
    folder = tmp_path_factory.mktemp("units")
    for file in UNITS.glob("queuemedic*.*"):
        if file.suffix in {".service", ".timer"}:
            (folder / file.name).write_text(file.read_text().replace(PROGRAM, sys.executable))
    return folder


def run(name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program of systemd."""
    with installed():
        path = program(name, package="systemd")
    return subprocess.run([path, *arguments], check=False, capture_output=True, text=True)


def test_systemd_has_nothing_to_say_of_the_units(units: Path) -> None:
    """All of them at once, as they refer to each other."""
    checked = run("systemd-analyze", "verify", *sorted(units.iterdir()))
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_little_exposed(name: str, units: Path) -> None:
    """On systemd's own scale from 0 to 10."""
    checked = run("systemd-analyze", "security", "--offline=true", "--no-pager", units / name)
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", checked.stdout)
    assert float(exposure) <= MOST_EXPOSED


@pytest.mark.parametrize("name", SERVICES)
def test_a_local_probe_is_not_blinded(name: str) -> None:
    """What hides processes, or renames this machine, is left out."""
    assert settings(name).keys() & BLINDING == set()


def test_the_look_is_as_confined_as_the_service() -> None:
    """The two differ in what they run and how they are watched, and in nothing else."""
    service, look = (settings(name) for name in SERVICES)
    differing = {key for key in service.keys() | look.keys() if service.get(key) != look.get(key)}
    assert differing == {
        "Type",
        "ExecStart",
        "ExecReload",
        "Restart",
        "RestartSec",
        "WatchdogSec",
        "TimeoutStopSec",
        "TimeoutStartSec",
    }
    assert service["Type"] == "notify"


def test_the_account_and_its_folder_are_made(tmp_path: Path) -> None:
    """By what systemd itself would do at a boot, in a folder of its own."""
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "group"):
        (tmp_path / "etc" / file).write_text("root:x:0:0:root:/root:/bin/sh\n" if file == "passwd" else "root:x:0:\n")
    made = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "queuemedic-sysusers.conf")
    assert made.returncode == 0, made.stderr
    [account] = re.findall(r"^queuemedic:.*$", (tmp_path / "etc" / "passwd").read_text(), re.MULTILINE)
    assert account.split(":")[4:] == ["Queuemedic", "/var/lib/queuemedic", "/usr/sbin/nologin"]
    made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", UNITS / "queuemedic-tmpfiles.conf")
    if "Operation not permitted" in made.stderr:
        pytest.skip("only root can give a folder to a group that it is not in")
    assert made.returncode == 0, made.stderr
    folder, group = (tmp_path / "etc" / "queuemedic").stat(), account.split(":")[3]
    assert (oct(folder.st_mode & 0o7777), folder.st_uid, str(folder.st_gid)) == ("0o750", 0, group)


def test_the_timer_looks_every_quarter_of_an_hour() -> None:
    """As systemd reads its calendar."""
    [calendar] = re.findall(r"^OnCalendar=(.*)$", (UNITS / "queuemedic-check.timer").read_text(), re.MULTILINE)
    since = "--base-time=2026-11-26 12:01:00"
    read = run("systemd-analyze", "calendar", "--iterations=2", since, calendar)
    assert re.findall(r"2026-11-26 (\S+)", read.stdout) == ["12:15:00", "12:30:00"]
