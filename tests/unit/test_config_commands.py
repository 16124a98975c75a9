"""`queuemedic config`: what is printed where, with which exit code; and the schema for editors."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from queuemedic.cli import main
from queuemedic.config import load
from queuemedic.editor_schema import editor_schema
from queuemedic.systems import OPTIONS
from tests.unit.config_files import SYSTEMS

GOOD = """
queues:
  analytics: {system: matomo, url: 'mysql://reader:${PASSWORD}@db1/matomo'}
"""


def run(*arguments: str) -> Result:
    """Run `queuemedic config` in this process."""
    return CliRunner(env={"PASSWORD": "s3cret", "QUEUEMEDIC_CONFIG": None}).invoke(main, list(arguments))


def closed(schema: Any) -> Iterator[Any]:
    """Find every schema of an object."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema and "allOf" not in schema:
            yield schema
        for part in schema.values():
            yield from closed(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from closed(part)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that can be used."""
    path = tmp_path / "queuemedic.yml"
    path.write_text(GOOD)
    return path


def test_check_says_how_many_queues_there_are(file: Path) -> None:
    """One line on standard output, and nothing else."""
    result = run("--config", str(file), "config", "check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{file}: ok, 1 queue\n", "")
    file.write_text(
        GOOD + "  second: {system: matomo, url: 'mysql://db1/a'}\n  third: {system: matomo, url: 'mysql://db1/b'}\n"
    )
    assert run("--config", str(file), "config", "check").stdout == f"{file}: ok, 3 queues\n"


@pytest.mark.parametrize("command", ["check", "show"])
def test_faults_are_on_standard_error_with_exit_code_2(command: str, file: Path) -> None:
    """All of them, and nothing on standard output."""
    file.write_text(GOOD.replace("system: matomo", "systm: matomo") + "web: {listen: 9847}\n")
    result = run("--config", str(file), "config", command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"{file}:3: queues.analytics.system: is missing; write matomo, meltano or table\n"
        f"{file}:4: web.listen: 9847 is not an address;"
        " write host:port, such as 127.0.0.1:9847, [::1]:9847 or :9847\n"
    )


def test_show_prints_defaults_and_no_secrets(file: Path) -> None:
    """What it prints is a configuration again."""
    result = run("--config", str(file), "config", "show")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "    url: mysql://reader:***@db1/matomo\n" in result.stdout
    assert "    stuck_after: 2h\n" in result.stdout
    assert "s3cret" not in result.stdout
    shown = file.with_name("shown.yml")
    shown.write_text(result.stdout)
    assert load(shown, {}, OPTIONS).queues.keys() == {"analytics"}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is not passed over for another."""
    missing = tmp_path / "missing.yml"
    result = run("--config", str(missing), "config", "check")
    message = f"--config: {missing} does not exist; write the path of a configuration file\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


def test_the_schema_is_closed_and_complete() -> None:
    """Every reference leads somewhere, and no object takes a key that is not known."""
    result = run("config", "schema")
    schema = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema == editor_schema(OPTIONS)
    definitions = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert {line.split('"')[3] for line in result.stdout.splitlines() if '"$ref"' in line} == definitions
    assert [
        one
        for one in closed(schema)
        if one.get("additionalProperties") is not False and "system" not in one["properties"]
    ] == []


def test_the_schema_has_the_keys_of_the_chosen_system() -> None:
    """`system` decides; what is common to all queues is in each."""
    schema = editor_schema(SYSTEMS)
    definitions = schema["$defs"]
    assert definitions["queue"]["properties"]["system"]["enum"] == ["database", "memory", "table"]
    assert [part["then"]["$ref"] for part in definitions["queue"]["allOf"]] == [
        "#/$defs/queue.database",
        "#/$defs/queue.memory",
        "#/$defs/queue.table",
    ]
    for name, system in SYSTEMS.items():
        keys = {field.alias or key for key, field in system.queue.model_fields.items()}
        assert definitions[f"queue.{name}"]["properties"].keys() == keys | {"system", "healing"}
        assert definitions[f"queue.{name}"]["properties"]["system"] == {"const": name}
        assert definitions[f"queue.{name}"]["additionalProperties"] is False
    assert definitions["queue.database"]["required"] == ["system", "url"]


def test_the_schema_shows_defaults_as_they_are_written_and_allows_variables() -> None:
    """An editor that fills a default in writes what `load` reads; a variable may stand for a number."""
    properties = editor_schema(SYSTEMS)["$defs"]["queue.database"]["properties"]
    assert properties["poll_every"]["default"] == "15s"
    assert editor_schema(SYSTEMS)["$defs"]["WebOptions"]["properties"]["listen"]["default"] == "127.0.0.1:9847"
    variable = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
    for key in ("max_hosts", "max_duty", "strict", "poll_every", "clock"):
        assert properties[key]["anyOf"][1] == variable


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers at once."""
    code = "import sys, queuemedic.commands.config; print({'pydantic', 'sqlalchemy', 'yaml'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
