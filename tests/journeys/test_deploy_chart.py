"""The chart renders what Kubernetes and the operator take, with no right too many, and refuses what would not work."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.conftest import installed
from tests.lab.deploy_tools import DEPLOY, NoGo
from tests.lab.kubernetes import CHART, VERSIONS, conform, helm, parse, render, schemas

ROOT = DEPLOY.parent
EXAMPLES = sorted((DEPLOY / "kubernetes" / "examples").glob("*.yaml"))
HEAL = DEPLOY / "kubernetes" / "examples" / "heal.yaml"
WATCH = DEPLOY / "kubernetes" / "examples" / "watch.yaml"
FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Skip without them; in CI, only where Go is missing, which builds them."""
    with installed():
        try:
            schemas()
            helm("version")
        except NoGo as reason:
            pytest.skip(str(reason))


def of_kind(objects: dict[tuple[str, str], dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one object of a kind."""
    [found] = [each for (its_kind, _), each in objects.items() if its_kind == kind]
    return found


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda file: file.stem)
def test_the_chart_is_linted_and_conforms(values: Path) -> None:
    """To the oldest and to the newest Kubernetes, field by field."""
    linted = helm("lint", "--strict", CHART, "--values", values)
    assert linted.returncode == 0, linted.stdout
    for version in VERSIONS:
        checked = conform(render(values, version=version), version=version)
        assert checked.returncode == 0, checked.stdout
        assert "Invalid: 0, Errors: 0, Skipped: 0" in checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("replicas:", "replicass:"), ("- port: metrics", "- prot: metrics"), ("minAvailable", "minimum")],
)
def test_a_field_that_is_not_known_is_found(right: str, wrong: str) -> None:
    """By the schemas; else they would prove nothing."""
    text = render(HEAL)
    assert right in text
    checked = conform(text.replace(right, wrong), version=VERSIONS[-1])
    assert checked.returncode == 1, checked.stdout


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda file: file.stem)
def test_pods_have_no_right_too_many(values: Path) -> None:
    """What Kubernetes' standard `restricted` asks for, no token, and a root that nobody writes to."""
    objects = parse(render(values))
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert of_kind(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {key for volume in pod["volumes"] for key in volume} <= {"name", "configMap", "secret", "emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert {kind for kind, _ in objects}.isdisjoint({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda file: file.stem)
def test_the_configuration_in_the_pod_can_be_loaded(values: Path, tmp_path: Path) -> None:
    """As the program reads it; it listens on the port that is scraped and asked."""
    objects = parse(render(values))
    settings = of_kind({key: each for key, each in objects.items() if key[1] == "qm-queuemedic"}, "ConfigMap")
    file = tmp_path / "queuemedic.yml"
    text = settings["data"]["queuemedic.yml"].replace("/etc/queuemedic/known_hosts", str(tmp_path / "known_hosts"))
    file.write_text(re.sub(r"^web:\n  config_file: .*\n", "web:\n", text))
    (tmp_path / "known_hosts").write_text(settings["data"].get("known_hosts", ""))
    config = load(file, {}, OPTIONS)
    assert config.queues
    assert ":9847" in text
    [port] = of_kind(objects, "Service")["spec"]["ports"]
    assert port["port"] == 9847


def test_rules_and_dashboards_are_those_that_are_shipped() -> None:
    """Word for word, but for where runbooks and Grafana are."""
    objects = parse(render(HEAL))
    rules = (ROOT / "alerts" / "prometheusrule.yml").read_text()
    rules = rules.replace("docs/runbooks/", "https://git.example.org/queuemedic/docs/runbooks/")
    rules = rules.replace("/d/queuemedic-", "https://grafana.example.org/d/queuemedic-")
    assert of_kind(objects, "PrometheusRule")["spec"] == yaml.safe_load(rules)["spec"]
    shipped = {file.stem: json.loads(file.read_text()) for file in (ROOT / "dashboards").glob("*.json")}
    assert len(shipped) >= 3
    for name, board in shipped.items():
        settings = objects["ConfigMap", f"qm-queuemedic-{name}"]
        assert settings["metadata"]["labels"]["grafana_dashboard"] == "1"
        found = json.loads(
            settings["data"][f"queuemedic-{name}.json"].replace("https://git.example.org/queuemedic/", "")
        )
        assert found == board


def test_several_instances_share_what_one_has() -> None:
    """One ledger, spread over nodes, one of them kept while nodes are drained."""
    objects = parse(render(HEAL))
    assert of_kind(objects, "Deployment")["spec"]["replicas"] == 3
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert ("PodDisruptionBudget", "qm-queuemedic") not in parse(render(WATCH))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (("config.queues.analytics.healing.mode=reset",), "config.ledger: a queue heals, so name a ledger"),
        (("config.ledger=sqlite:////var/lib/queuemedic/ledger.db",), "config.ledger: a pod keeps no file"),
        (("config.web.listen=:1",), "/config/web"),
        (("replica=2",), "replica"),
        (("networkPolicy.egressPorts={mysql}",), "egressPorts"),
        (("scheme=gopher",), "scheme"),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, tuple) else None,
)
def test_what_would_not_work_is_refused(settings: tuple[str, ...], fault: str) -> None:
    """Before anything is installed."""
    options = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", "qm", CHART, "--kube-version", VERSIONS[-1], "--values", WATCH, *options)
    assert done.returncode == 1
    assert fault in done.stderr


def test_values_that_are_shown_are_taken(tmp_path: Path) -> None:
    """Each block of values in the how-to."""
    blocks = FENCE.findall((ROOT / "docs" / "howto" / "run-on-kubernetes.md").read_text())
    assert blocks
    for block in blocks:
        file = tmp_path / "values.yaml"
        file.write_text(block)
        assert helm("lint", "--strict", CHART, "--values", WATCH, "--values", file).returncode == 0, block
