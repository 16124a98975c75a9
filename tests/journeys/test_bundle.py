"""The shipped rules and dashboards, copied as a user takes them; from a checkout and from the wheel alone."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

from tests.lab.queuemedic import run

ROOT = Path(__file__).parents[2]


def test_alerts_are_copied_with_links_that_lead_somewhere(tmp_path: Path) -> None:
    """Every rule file as it is shipped, but for where runbooks and dashboards are."""
    done = run(
        "bundle", "alerts", tmp_path, "--runbooks", "https://docs.example.org/r", "--grafana", "https://g.example.org/"
    )
    assert (done.code, done.err) == (0, "")
    files = [Path(line) for line in done.out.splitlines()]
    shipped = sorted((ROOT / "alerts" / "rules").glob("*.yml"))
    assert {file.name for file in files} == {*(file.name for file in shipped), "prometheusrule.yml", "alertmanager.yml"}
    for file in shipped:
        rules = [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
        copied = yaml.safe_load((tmp_path / "rules" / file.name).read_text())
        found = [rule for group in copied["groups"] for rule in group["rules"]]
        assert [rule["expr"] for rule in found] == [rule["expr"] for rule in rules]
        for rule in found:
            if "alert" in rule:
                notes = rule["annotations"]
                assert notes["runbook_url"] == f"https://docs.example.org/r/{rule['alert']}.md"
                assert notes.get("dashboard_url", "https://g.example.org/d/").startswith("https://g.example.org/d/")


def test_dashboards_are_copied_as_they_are(tmp_path: Path) -> None:
    """They can be imported, and provisioned."""
    assert run("bundle", "dashboards", tmp_path).code == 0
    uids = {json.loads(file.read_text())["uid"] for file in tmp_path.glob("*.json")}
    assert uids == {"queuemedic-fleet", "queuemedic-queue", "queuemedic-healing"}
    assert (tmp_path / "provisioning" / "dashboards.yml").is_file()


def test_units_and_scripts_are_copied_as_they_are(tmp_path: Path) -> None:
    """For who has no checkout."""
    assert run("bundle", "deploy", tmp_path).code == 0
    copied = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    folders = [ROOT / "deploy" / name for name in ("systemd", "watched-host")]
    assert copied == {file.relative_to(ROOT / "deploy") for folder in folders for file in folder.iterdir()}
    for name in copied:
        assert (tmp_path / name).read_text() == (ROOT / "deploy" / name).read_text()


def test_what_somebody_has_changed_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    """All or nothing; files of other names stay, and the same again is no change."""
    assert run("bundle", "alerts", tmp_path).code == 0
    changed, other = tmp_path / "rules" / "jobs.yml", tmp_path / "rules" / "mine.yml"
    shipped = changed.read_text()
    other.write_text("groups: []\n")
    assert run("bundle", "alerts", tmp_path).code == 0
    changed.write_text("groups: []\n")
    refused = run("bundle", "alerts", tmp_path)
    assert refused.code == 2
    assert f"{changed}: there already, and different; add --force to replace" in refused.err
    assert changed.read_text() == "groups: []\n"
    assert run("bundle", "alerts", tmp_path, "--force").code == 0
    assert (changed.read_text(), other.read_text()) == (shipped, "groups: []\n")


@pytest.mark.timeout(300)
def test_the_wheel_alone_has_them_too(tmp_path: Path) -> None:
    """Installed elsewhere, with no checkout beside it."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", system_site_packages=False, with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, site], check=True)
    sorts = "('alerts', 'dashboards', 'deploy', 'docs')"
    found = f"from queuemedic.bundled import find_bundled as f; print(*(name for sort in {sorts} for name in f(sort)))"
    code = "import sys, types; sys.modules['queuemedic'] = package = types.ModuleType('queuemedic')"
    code += f"; package.__path__ = ['{site}/queuemedic']; {found}"
    listed = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    expected = {"rules/jobs.yml", "alertmanager.yml", "fleet.json", "provisioning/dashboards.yml"}
    expected |= {"systemd/queuemedic.service", "watched-host/prepare.sh", "howto/heal.md", "quickstart/matomo.md"}
    assert expected <= set(listed.split())
