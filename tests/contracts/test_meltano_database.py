"""The system database is where the real Meltano says that it is."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from exporter.address import normalise
from exporter.queues.meltano.source import find_database
from tests.conftest import installed
from tests.lab import releases

pytestmark = pytest.mark.timeout(300)  # the first test to need a release of Meltano installs it

# What `meltano` itself does first (cli/cli.py), for many projects in one process: a start takes a second.
ASK = """
import json, os, sys
from meltano.cli.cli import detect_selected_environment
from meltano.core.project import Project

environment = dict(os.environ)
for folder, variables in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(environment | variables)
    os.chdir(folder)
    project = Project.find(activate=False)
    name, _ = detect_selected_environment(cli_environment=None, cli_no_environment=False, project=project)
    if name:
        project.activate_environment(name)
    print("says", json.dumps(project.settings.get("database_uri")))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A project's files and the environment of the process; `answer` is what both releases say (`_place`)."""

    yml: str = ""
    dotenv: str = ""
    included: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    answer: str


TOP = "database_uri: sqlite:////top.db\n"
ENV = "env: {MELTANO_DATABASE_URI: 'sqlite:////yml.db', WORD: yml, NUMBER: 5}\n"
DOTENV = "WORD=dotenv\nMELTANO_DATABASE_URI=sqlite:////dotenv.db\n"
SHELL = {"MELTANO_DATABASE_URI": "sqlite:////shell.db"}
NAMED = "database_uri: sqlite:////sys-${MELTANO_ENVIRONMENT}.db\n"
INCLUDED = "database_uri: sqlite:////x-$WORD.db\nenv: {WORD: included}\n"
CASES = {
    "default": Case(answer="~/.meltano/meltano.db"),
    "null": Case(yml="database_uri: null", answer="~/.meltano/meltano.db"),
    "meltano.yml": Case(yml=TOP, answer="/top.db"),
    "relative": Case(yml="database_uri: sqlite:///top.db", answer="~/top.db"),
    ".env before meltano.yml": Case(yml=TOP, dotenv=DOTENV, answer="/dotenv.db"),
    "environment before .env": Case(yml=TOP, dotenv=DOTENV, environment=SHELL, answer="/shell.db"),
    "env: before all": Case(yml=TOP + ENV, dotenv=DOTENV, environment=SHELL, answer="/yml.db"),
    "environments have no say": Case(
        yml=TOP
        + "environments: [{name: dev, env: {MELTANO_DATABASE_URI: 'sqlite:////e.db'},"
        + " config: {database_uri: 'sqlite:////c.db'}}]",
        answer="/top.db",
    ),
    "names": Case(
        yml="database_uri: sqlite:////$WORD-${word}-$word-${NONE}-$NONE.db",
        environment={"WORD": "a", "word": "b"},
        answer="/a-b-$word--.db",
    ),
    "escaped": Case(yml=r"database_uri: sqlite:////\$WORD-\${WORD}.db", answer="/$WORD-${WORD}.db"),
    "filled in once": Case(
        yml="database_uri: sqlite:////$WORD.db", environment={"WORD": "${OTHER}"}, answer="/${OTHER}.db"
    ),
    "value of .env": Case(yml="database_uri: sqlite:////$WORD.db", dotenv="WORD=dotenv", answer="/dotenv.db"),
    "value of the environment": Case(
        yml="database_uri: sqlite:////$WORD.db",
        dotenv="WORD=dotenv",
        environment={"WORD": "shell"},
        answer="/shell.db",
    ),
    "value of env:": Case(
        yml="database_uri: sqlite:////$WORD$NUMBER.db\nenv: {WORD: yml, NUMBER: 5}",
        dotenv="WORD=dotenv",
        environment={"WORD": "shell"},
        answer="/yml5.db",
    ),
    "the environment is taken as it is": Case(
        environment={"MELTANO_DATABASE_URI": "sqlite:////$WORD${WORD}.db", "WORD": "x"},
        answer="/$WORD${WORD}.db",
    ),
    "env: is taken as it is": Case(
        yml="env: {MELTANO_DATABASE_URI: 'sqlite:////${WORD}.db', WORD: x}", answer="/${WORD}.db"
    ),
    "as dotenv reads it": Case(
        dotenv='# a comment\nWORD=a\nexport MELTANO_DATABASE_URI="sqlite:////${WORD}$WORD.db" # another\n',
        answer="/a$WORD.db",
    ),
    "system folder": Case(environment={"MELTANO_SYS_DIR_ROOT": "/sys"}, answer="/sys/meltano.db"),
    "system folder, relative": Case(environment={"MELTANO_SYS_DIR_ROOT": "s"}, answer="~/s/meltano.db"),
    "system folder of .env": Case(dotenv="MELTANO_SYS_DIR_ROOT=/sys", answer="~/.meltano/meltano.db"),
    "folders by name": Case(yml="database_uri: sqlite:///$MELTANO_PROJECT_ROOT/a.db", answer="~/a.db"),
    "system folder of env:": Case(yml="env: {MELTANO_SYS_DIR_ROOT: /sys}", answer="/sys/meltano.db"),
    "the environment's name": Case(
        yml=f"{NAMED}environments: [{{name: dev}}]\ndefault_environment: dev", answer="/sys-dev.db"
    ),
    "another environment's name": Case(
        yml=f"{NAMED}environments: [{{name: dev}}, {{name: prod}}]\ndefault_environment: dev",
        environment={"MELTANO_ENVIRONMENT": "prod"},
        answer="/sys-prod.db",
    ),
    "no environment": Case(
        yml=f"{NAMED}environments: [{{name: dev}}]\ndefault_environment: dev",
        environment={"MELTANO_ENVIRONMENT": "null"},
        answer="/sys-.db",
    ),
    "included": Case(yml=f"include_paths: ['*.inc.yml']\n{TOP}", included=INCLUDED, answer="/x-included.db"),
    "a driver": Case(yml="database_uri: postgresql+psycopg2://u:p@h/d", answer="postgresql+psycopg://u:p@h/d"),
}


@pytest.fixture
def project(tmp_path: Path) -> Callable[[Case], Path]:
    """A maker of project folders."""

    def make(case: Case) -> Path:
        folder = tmp_path / f"project{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "meltano.yml").write_text(f"project_id: lab\n{case.yml}")
        if case.included:
            (folder / "one.inc.yml").write_text(case.included)
        if case.dotenv:
            (folder / ".env").write_text(case.dotenv)
        return folder

    return make


@pytest.mark.parametrize("version", [releases.WITHOUT_FIRST_HEARTBEAT, releases.NEWEST])
def test_the_cases_are_what_meltano_says(project: Callable[[Case], Path], version: str) -> None:
    """Both releases answer alike."""
    with installed():
        python = releases.meltano(version).with_name("python")
    folders = {name: project(case) for name, case in CASES.items()}
    asked = subprocess.run(
        [python, "-W", "ignore", "-c", ASK],
        input=json.dumps([(str(folders[name]), dict(case.environment)) for name, case in CASES.items()]),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line[5:]) for line in asked.stdout.splitlines() if line.startswith("says ")]
    said = {
        name: _place(make_url(answer), folder) for (name, folder), answer in zip(folders.items(), answers, strict=True)
    }
    assert said == {name: case.answer for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_we_find_what_meltano_says(project: Callable[[Case], Path], name: str) -> None:
    """In the same folder and environment."""
    folder = project(CASES[name])
    assert _place(find_database(folder, CASES[name].environment).url, folder) == CASES[name].answer


def _place(url: URL, folder: Path) -> str:
    """Return the path of a SQLite file, with `~` for the project's folder, or a server's URL with our driver."""
    if url.get_backend_name() == "sqlite":
        return str(folder / (url.database or "")).replace(str(folder), "~")
    return normalise(url).render_as_string(hide_password=False)
