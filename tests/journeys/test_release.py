"""What is released works where nothing else of the project is: wheel and sdist, built as `make release` builds them."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import pytest
import yaml

from tests.lab.deploy_tools import DEPLOY
from tests.lab.queuemedic import Ended
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

ROOT = DEPLOY.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGES = (ROOT / "CHANGELOG.md").read_text()
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
SORTS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The wheel in an environment of its own, and a folder that is far from the checkout."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        command = [str(self.python.with_name("queuemedic")), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=clean(), check=False, capture_output=True, text=True, timeout=60
        )
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def clean() -> dict[str, str]:
    """Return an environment without anything that leads to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is released; the wheel is made of the sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "BUILDER": sys.executable}
    subprocess.run(["sh", DEPLOY / "release.sh", folder], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel with what it depends on, in the versions that the image has, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    python = folder / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet", "--system-certs"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder / "venv"], check=True)
    locked = ["--require-hashes", "--requirement", str(DEPLOY / "container" / "requirements.txt")]
    fetched = subprocess.run(
        [*uv, "pip", "install", "--python", str(python), *locked], check=False, capture_output=True
    )
    if fetched.returncode and not os.environ.get("CI"):
        pytest.skip(f"what the wheel depends on could not be installed: {fetched.stderr.decode()[-200:]}")
    assert fetched.returncode == 0, fetched.stderr
    [wheel] = released.glob("*.whl")
    subprocess.run([*uv, "pip", "install", "--python", python, "--no-deps", "--no-index", wheel], check=True)
    # Everything that the wheel says it needs is there.
    subprocess.run([*uv, "pip", "check", "--python", python], check=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Installed(python=python, folder=elsewhere)


def test_all_that_is_released_has_one_version(released: Path) -> None:
    """That of pyproject.toml; and a checksum each."""
    names = {file.name for file in released.iterdir()}
    wanted = {f"queuemedic-{VERSION}.tar.gz", f"queuemedic-{VERSION}-py3-none-any.whl", "SHA256SUMS"}
    assert wanted <= names <= wanted | {f"queuemedic-chart-{VERSION}.tgz"}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=released, check=True, capture_output=True)
    assert (released / "SHA256SUMS").read_text().count("\n") == len(names) - 1
    chart = yaml.safe_load((DEPLOY / "kubernetes" / "queuemedic" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_wheel_works_alone(installed: Installed) -> None:
    """What it shows, what it copies, what it asks hosts with, a look, and a ledger made by its migrations."""
    assert installed.run("--version").out == f"queuemedic, version {VERSION}\n"
    assert '"queues"' in installed.run("config", "schema").out
    assert installed.run("hosts", "script").out == (ROOT / "healers" / "probes" / "probe.sh").read_text()
    for sort, file in (
        ("alerts", "rules/jobs.yml"),
        ("dashboards", "fleet.json"),
        ("deploy", "systemd/queuemedic.service"),
    ):
        copied = installed.run("bundle", sort, sort)
        assert copied.code == 0, copied.err
        assert (installed.folder / sort / file).read_text() == (ROOT / sort / file).read_text()
    settings = {"ledger": "sqlite:///ledger.db", "queues": {"q": make_queue(installed.folder / "q.db")}}
    (installed.folder / "queuemedic.yml").write_text(yaml.safe_dump(settings))
    looked = installed.run("check")
    assert (looked.code, "1 waiting" in looked.out) == (0, True), looked.err
    assert installed.run("pause", "--why", "a test").code == 0
    assert installed.run("history", "--verify").out.strip() == "the journal is whole"
    where = "import exporter, healers, queuemedic; print(exporter.__file__, healers.__file__, queuemedic.__file__)"
    found = subprocess.run(
        [installed.python, "-c", where], check=True, cwd=installed.folder, env=clean(), capture_output=True, text=True
    )
    assert all(path.startswith(str(installed.python.parents[1])) for path in found.stdout.split())


def test_the_demo_of_the_wheel_lives(installed: Installed) -> None:
    """It publishes, and ends when it is asked to."""
    log = installed.folder / "demo.log"
    command = [str(installed.python.with_name("queuemedic")), "demo", "--listen", "127.0.0.1:0"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=installed.folder, env=clean(), stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            [address] = wait_until(
                lambda: re.findall(r"(http://\S+/metrics)", log.read_text()), within=40, what="it says where it is"
            )
            wait_until(
                lambda: 'queuemedic_jobs{kind="mail",queue="demo",state="started"}' in httpx.get(address).text,
                within=40,
                what="jobs are seen",
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, log.read_text()
        finally:
            with suppress(ProcessLookupError):  # its workers, too
                os.killpg(process.pid, signal.SIGKILL)


def test_the_changes_are_told_in_their_form() -> None:
    """The newest heading is this version or what is not released; versions fall, days are days, sorts are known."""
    headings = HEADING.findall(CHANGES)
    newest, *older = headings
    assert newest == "[Unreleased]" or newest.startswith(f"[{VERSION}] - ")
    released = [
        re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", each)
        for each in headings
        if each != "[Unreleased]"
    ]
    assert None not in released, headings
    versions = [tuple(map(int, found.groups()[:3])) for found in released if found]
    assert versions == sorted(set(versions), reverse=True)
    days = [date.fromisoformat(found[4]) for found in released if found]
    assert days == sorted(days, reverse=True)
    assert "[Unreleased]" not in older
    assert set(re.findall(r"^### (.*)$", CHANGES, re.MULTILINE)) <= SORTS


@pytest.mark.parametrize(
    ("heading", "code"), [("[Unreleased]", 0), (f"[{VERSION}] - 2026-11-26", 0), ("[0.0.9] - 2026-01-01", 1)]
)
def test_a_release_of_another_version_than_the_newest_is_refused(heading: str, code: int, tmp_path: Path) -> None:
    """Before anything is built."""
    (tmp_path / "deploy").mkdir()
    script = (DEPLOY / "release.sh").read_text().partition('mkdir -p "$folder"')[0]
    (tmp_path / "deploy" / "release.sh").write_text(script)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n## [0.0.1] - 2025-01-01\n")
    environment = {**os.environ, "BUILDER": sys.executable}
    asked = ["sh", str(tmp_path / "deploy" / "release.sh")]
    assert subprocess.run(asked, env=environment, check=False, capture_output=True).returncode == code
