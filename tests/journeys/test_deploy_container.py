"""The container's parts: linted, pinned as tested, healthy when it should be; the example's database and rules run."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bcrypt
import pymysql
import pytest
import yaml

from tests.conftest import installed
from tests.lab import queuemedic
from tests.lab.certificates import Authority
from tests.lab.deploy_tools import DEPLOY, tool
from tests.lab.mariadb import MariaDb
from tests.lab.ports import free_port
from tests.lab.programs import program
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

CONTAINER = DEPLOY / "container"
ROOT = DEPLOY.parent
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(file: Path) -> dict[str, str]:
    """Return the versions that a lock file has."""
    return dict(PIN.findall(file.read_text()))


def names(requirements: list[str]) -> set[str]:
    """Return the normalised names of requirements."""
    return {re.split(r"[^A-Za-z0-9._-]", each)[0].lower().replace("_", "-") for each in requirements}


def test_hadolint_has_nothing_to_say() -> None:
    """Of the recipe of the image."""
    with installed():
        hadolint = tool("hadolint")
    linted = subprocess.run([hadolint, CONTAINER / "Containerfile"], check=False, capture_output=True, text=True)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_the_image_has_what_was_tested() -> None:
    """Everything that the project needs, in the versions of the tests, each with its hashes."""
    tested, shipped = pins(ROOT / "requirements-dev.txt"), pins(CONTAINER / "requirements.txt")
    assert shipped.items() <= tested.items()
    project = PROJECT["project"]
    needed = names(project["dependencies"]) | names(project["optional-dependencies"]["postgresql"])
    assert needed <= shipped.keys()
    build = pins(CONTAINER / "build-requirements.txt")
    assert names(PROJECT["build-system"]["requires"]) <= build.keys()
    assert build.items() <= tested.items()


def test_the_image_is_built_of_all_that_the_wheel_is() -> None:
    """What is left out of the context cannot be in the wheel."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "LICENSE", "pyproject.toml"}
    ignored = (CONTAINER / "Containerfile.dockerignore").read_text().splitlines()
    assert {part.partition("/")[0] for part in parts} <= {line[1:] for line in ignored if line.startswith("!")}


def test_the_image_has_no_build_tools_and_no_root() -> None:
    """The last stage gets the environment without pip, and no package that compiles."""
    _, *stages = (CONTAINER / "Containerfile").read_text().split("\nFROM ")
    assert "python3 -m venv --without-pip /opt/queuemedic" in stages[0]
    assert "apt-get install --yes --no-install-recommends ca-certificates python3;" in stages[1]
    assert "USER 65532:65532" in stages[1]


def is_healthy(url: str) -> bool:
    """Run what the image runs to see whether it is healthy."""
    asked = [sys.executable, str(CONTAINER / "healthy.py")]
    return subprocess.run(asked, env={"QUEUEMEDIC_HEALTH_URL": url}, check=False, capture_output=True).returncode == 0


def test_a_container_is_healthy_while_the_program_answers(tmp_path: Path) -> None:
    """However its door is locked; and not when nobody answers."""
    authority, clients = Authority(tmp_path), Authority(tmp_path, "Clients")
    server = authority.issue("server")
    tls = {"cert_file": str(server.cert_file), "key_file": str(server.key_file)}
    mutual = {**tls, "client_ca_file": str(clients.ca_file), "client_auth_type": "RequireAndVerifyClientCert"}
    users = {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}
    doors = {"http": {"basic_auth_users": users}, "https": {"tls_server_config": mutual}}
    door, queue = tmp_path / "web.yml", make_queue(tmp_path / "q.db")
    for scheme, settings in doors.items():
        door.write_text(yaml.safe_dump(settings))
        config = tmp_path / "queuemedic.yml"
        web = {"listen": f"127.0.0.1:{free_port()}", "config_file": "web.yml"}
        config.write_text(yaml.safe_dump({"web": web, "queues": {"q": queue}}))
        url = f"{scheme}://{web['listen']}/-/healthy"
        log = (tmp_path / "log").open("wb")
        with log, subprocess.Popen([queuemedic.QUEUEMEDIC, "--config", config, "serve"], stderr=log) as process:
            try:
                wait_until(partial(is_healthy, url), within=40, what=f"{url} is healthy")
            finally:
                process.kill()
        assert not is_healthy(url)


def test_the_example_is_one_that_compose_takes(tmp_path: Path) -> None:
    """By Docker Compose's own check; and every file that it mounts is there."""
    with installed():
        compose = tool("docker-compose")
    file = CONTAINER / "compose.yml"
    checked = subprocess.run(
        [compose, "--file", file, "config", "--quiet"], check=False, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    make_secrets(tmp_path)
    example = yaml.safe_load(file.read_text())
    mounted = {
        volume.split(":")[0] for service in example["services"].values() for volume in service.get("volumes", ())
    }
    mounted |= {secret["file"] for secret in example["secrets"].values()}
    for path in mounted - example["volumes"].keys():
        assert (CONTAINER / path).exists() or (tmp_path / Path(path).name).exists(), path


def make_secrets(folder: Path) -> None:
    """Make the example's secrets elsewhere; the second time nothing changes."""
    script = ["sh", str(CONTAINER / "make-secrets.sh"), str(folder)]
    subprocess.run(script, check=True)
    made = {file.name: file.read_text() for file in folder.iterdir()}
    subprocess.run(script, check=True)
    assert {file.name: file.read_text() for file in folder.iterdir()} == made


def test_the_examples_database_lives_and_is_read(tmp_path: Path, private_mariadb: Callable[..., MariaDb]) -> None:
    """Jobs come and go; the account that watches sees them, cannot write, and finds the one that is stuck."""
    secrets = tmp_path / "secrets"
    make_secrets(secrets)
    server = private_mariadb(options=["--event-scheduler=ON"])
    server.sql("CREATE DATABASE mails")
    client = [program("mariadb", package="mariadb-client"), f"--socket={server.socket}", "--user=root", "mails"]
    for file in (CONTAINER / "jobs.sql", secrets / "accounts.sql"):
        subprocess.run(client, input=file.read_text(), check=True, text=True)
    url = (secrets / "mails_url").read_text().replace("@database/", f"@127.0.0.1:{server.port}/")
    (secrets / "mails_url").write_text(url)
    config = tmp_path / "queuemedic.yml"
    config.write_text((CONTAINER / "queuemedic.yml").read_text().replace("/run/secrets", str(secrets)))

    def looked() -> queuemedic.Ended:
        return queuemedic.run("--config", config, "check", "--json")

    wait_until(
        lambda: server.sql("SELECT 1 FROM mails.jobs WHERE locked_host = 'app01'"), within=30, what="one is started"
    )
    found = looked()
    assert found.code == 1, found.err
    [view] = found.json["queues"]
    assert {host["host"]: host["stuck"] for host in view["hosts"]} == {"app01": 0, "app02": 1, "none": 0}
    password = (secrets / "watch_password").read_text()
    with (
        pymysql.connect(host="127.0.0.1", port=server.port, user="queuemedic", password=password) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.OperationalError, match="denied"),
    ):
        cursor.execute("DELETE FROM mails.jobs")


def test_prometheus_takes_the_examples_configuration(tmp_path: Path) -> None:
    """With the rules that are shipped."""
    with installed():
        promtool = program("promtool", package="prometheus")
    file = tmp_path / "prometheus.yml"
    file.write_text(
        (CONTAINER / "prometheus.yml").read_text().replace("/etc/prometheus/rules", str(ROOT / "alerts/rules"))
    )
    checked = subprocess.run([promtool, "check", "config", file], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "rule files found" in checked.stdout
    assert "0 rule files found" not in checked.stdout


def test_grafanas_data_source_is_the_shipped_one_elsewhere() -> None:
    """Only the address of Prometheus differs."""
    example, shipped = (
        yaml.safe_load(file.read_text())
        for file in (CONTAINER / "grafana-datasources.yml", ROOT / "dashboards" / "provisioning" / "datasources.yml")
    )
    assert example["datasources"][0].pop("url") == "http://prometheus:9090"
    del shipped["datasources"][0]["url"]
    assert example == shipped
