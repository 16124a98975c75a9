"""The operator's form of the rules is made from the rules, and holds each of them as it is."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alerts import build

from .shipped import ALERTS, ROOT, RULE_FILES


def test_the_file_that_is_shipped_is_the_one_that_is_made() -> None:
    """As `.ci/run` looks."""
    command = [sys.executable, "alerts/build.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_it_holds_every_group_of_every_subject() -> None:
    """Recording rules first, since the others rest on them."""
    resource = yaml.safe_load((ALERTS / "prometheusrule.yml").read_text())
    assert resource["kind"] == "PrometheusRule"
    groups = {group["name"]: group for group in resource["spec"]["groups"]}
    shipped = [group for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    assert groups == {group["name"]: group for group in shipped}
    assert len(groups) == len(RULE_FILES)
    assert next(iter(groups)) == "queuemedic-recording"


def test_a_file_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not written; what is written does not differ."""
    (tmp_path / "rules").mkdir()
    rules = tmp_path / "rules" / "jobs.yml"
    rules.write_text((ALERTS / "rules" / "jobs.yml").read_text())
    assert build.main(["--check"], folder=tmp_path) == 1
    assert build.main([], folder=tmp_path) == 0
    assert build.main(["--check"], folder=tmp_path) == 0
    rules.write_text(rules.read_text().replace("severity: info", "severity: warning"))
    assert build.main(["--check"], folder=tmp_path) == 1
    assert capsys.readouterr().out.count("differs from alerts/rules; run python alerts/build.py") == 2
