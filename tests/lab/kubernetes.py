"""Render the chart with helm, and check what comes out by the schemas of Kubernetes and of Prometheus' operator.

The schemas of Kubernetes are those of the package kubernetes-validate, which refer to each other, so each is written
anew with all definitions in it; the operator's are made of the types in the package
cloudcoil-models-prometheus-operator. Both refuse fields that they do not know. Nothing is asked of any network.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .deploy_tools import DEPLOY, folder, package_folder, tool

CHART = DEPLOY / "kubernetes" / "queuemedic"
VERSIONS = ("1.25.0", "1.37.0")
"""The oldest and the newest Kubernetes whose schemas are there."""
KINDS = {
    "ConfigMap": "configmap-v1",
    "Deployment": "deployment-apps-v1",
    "NetworkPolicy": "networkpolicy-networking-v1",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1",
    "Service": "service-v1",
    "ServiceAccount": "serviceaccount-v1",
}
OPERATOR_KINDS = {"ServiceMonitor": "servicemonitor-monitoring-v1", "PrometheusRule": "prometheusrule-monitoring-v1"}
DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
MODELS = """
import json
from cloudcoil.models.prometheus_operator import v1
print(json.dumps({kind: getattr(v1, kind).model_json_schema() for kind in %r}))
"""


def helm(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run helm; what it says of the chart's links is left out."""
    done = subprocess.run([tool("helm"), *arguments], check=False, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines(keepends=True) if "found symbolic link" not in line]
    done.stderr = "".join(lines)
    return done


def render(*values: Path | str, version: str = VERSIONS[-1]) -> str:
    """Render the chart as release `qm` with files of values, or with settings such as `replicas=2`."""
    options = [
        word for value in values for word in (("--set", value) if isinstance(value, str) else ("--values", value))
    ]
    done = helm("template", "qm", CHART, "--namespace", "monitoring", "--kube-version", version, *options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def parse(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text) if each}


def schemas() -> Path:
    """Return the folder of the schemas, which are made at the first time."""
    made = folder() / f"schemas-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]}"
    if not made.exists():
        package_folder("kubernetes_validate")
        new = Path(tempfile.mkdtemp(dir=folder()))
        _write_schemas(new)
        try:
            new.rename(made)
        except OSError:  # somebody else was quicker
            shutil.rmtree(new)
    return made


def _write_schemas(target_folder: Path) -> None:
    """Write a schema for each kind of object that the chart makes, for each version of Kubernetes."""
    published = package_folder("kubernetes_validate") / "kubernetes-json-schema"
    made = subprocess.run(
        [tool("python"), "-c", MODELS % [*OPERATOR_KINDS]], check=True, capture_output=True, text=True
    )
    operators = json.loads(made.stdout)
    for version in VERSIONS:
        source, target = published / f"v{version}-local-strict", target_folder / f"v{version}"
        target.mkdir()
        definitions = json.loads(_with_own_references(source / "_definitions.json"))["$defs"]
        for name in KINDS.values():
            schema = json.loads(_with_own_references(source / f"{name}.json"))
            del schema["$id"]
            schema["$defs"] = {each: definitions[each] for each in _referred(schema, definitions)}
            (target / f"{name}.json").write_text(json.dumps(schema))
        for kind, name in OPERATOR_KINDS.items():
            (target / f"{name}.json").write_text(json.dumps({**_closed(operators[kind]), **DRAFT}))


def _with_own_references(file: Path) -> str:
    return re.sub(r'"[^"#]*_definitions\.json#', '"#', file.read_text())


def _referred(schema: object, definitions: Mapping[str, object]) -> set[str]:
    """Return the definitions that a schema rests on, those of definitions too."""
    found: set[str] = set()
    left = [schema]
    while left:
        named = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(left.pop()))) - found
        found |= named
        left += [definitions[each] for each in named]
    return found


def _closed(schema: Any) -> Any:
    """Refuse fields that a type does not name."""
    if isinstance(schema, Mapping):
        closed = {key: _closed(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if "properties" in schema and "type" in schema else closed
    return [_closed(each) for each in schema] if isinstance(schema, list) else schema


def conform(text: str, *, version: str) -> "subprocess.CompletedProcess[str]":
    """Check rendered objects."""
    location = f"{schemas()}/v{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    asked = [
        tool("kubeconform"),
        "-strict",
        "-summary",
        "-kubernetes-version",
        version,
        "-schema-location",
        location,
    ]
    return subprocess.run([*asked, "-"], input=text, check=False, capture_output=True, text=True)
