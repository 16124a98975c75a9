"""The system database is found as Meltano finds it; each case was tried on 3.6.0 and 4.4.1 (core/settings_store.py)."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.errors import ConfigurationError
from exporter.queues.meltano import MeltanoOptions
from exporter.queues.meltano.source import Source, find_database

SECRET = "correct-horse"


def project(folder: Path, meltano_yml: str = "version: 1\n", dotenv: str | None = None) -> Path:
    """Write the files of a project."""
    (folder / "meltano.yml").write_text(meltano_yml)
    if dotenv is not None:
        (folder / ".env").write_text(dotenv)
    return folder


@pytest.mark.parametrize(
    ("meltano_yml", "dotenv", "environment", "database"),
    [
        ("version: 1\n", None, {}, "{project}/.meltano/meltano.db"),
        ("", None, {}, "{project}/.meltano/meltano.db"),
        ("database_uri: null\n", None, {}, "{project}/.meltano/meltano.db"),
        ("version: 1\n", None, {"MELTANO_SYS_DIR_ROOT": "/var/meltano"}, "/var/meltano/meltano.db"),
        ("version: 1\n", None, {"MELTANO_SYS_DIR_ROOT": "system"}, "{project}/system/meltano.db"),
        ("version: 1\n", "MELTANO_SYS_DIR_ROOT=/elsewhere\n", {}, "{project}/.meltano/meltano.db"),
        ("database_uri: sqlite:////srv/a.db\n", None, {}, "/srv/a.db"),
        ("database_uri: sqlite:///a.db\n", None, {}, "{project}/a.db"),
        ("database_uri: sqlite:////a.db\n", "MELTANO_DATABASE_URI=sqlite:////b.db\n", {}, "/b.db"),
        (
            "database_uri: sqlite:////a.db\n",
            "MELTANO_DATABASE_URI=sqlite:////b.db\n",
            {"MELTANO_DATABASE_URI": "sqlite:////c.db"},
            "/c.db",
        ),
        (
            "env: {MELTANO_DATABASE_URI: 'sqlite:////d.db'}\n",
            None,
            {"MELTANO_DATABASE_URI": "sqlite:////c.db"},
            "/d.db",
        ),
        ("environments: [{name: dev, env: {MELTANO_DATABASE_URI: 'sqlite:////e.db'}}]\n", None, {}, None),
        ("database_uri: sqlite:///${PLACE}/$NAME.db\n", "NAME=from-dotenv\n", {"PLACE": "/srv"}, "/srv/from-dotenv.db"),
        ("database_uri: sqlite:////srv/$lower.db\n", None, {"lower": "x"}, "/srv/$lower.db"),
        ("database_uri: sqlite:////srv/\\$NAME.db\n", None, {"NAME": "x"}, "/srv/$NAME.db"),
        ("database_uri: sqlite:////srv/x$MISSING.db\n", None, {}, "/srv/x.db"),
        ("database_uri: sqlite:///$MELTANO_PROJECT_ROOT/x.db\n", None, {}, "{project}/x.db"),
        ("database_uri: sqlite:///$MELTANO_SYS_DIR_ROOT/x.db\n", None, {}, "{project}/.meltano/x.db"),
        ("version: 1\n", None, {"MELTANO_DATABASE_URI": "sqlite:////srv/p$ABC.db", "ABC": "x"}, "/srv/p$ABC.db"),
    ],
)
def test_the_first_place_that_names_a_database_wins(
    tmp_path: Path, meltano_yml: str, dotenv: str | None, environment: Mapping[str, str], database: str | None
) -> None:
    """`env:` of meltano.yml, then the environment, `.env`, `database_uri`; the environments of a project never."""
    expected = (database or "{project}/.meltano/meltano.db").format(project=tmp_path)
    url = find_database(project(tmp_path, meltano_yml, dotenv), environment).url
    assert (url.drivername, url.database) == ("sqlite", expected)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_whichever_driver_meltano_has_ours_is_used(tmp_path: Path, scheme: str) -> None:
    """And the password, decoded, is hidden."""
    uri = f"{scheme}://me:p%40ss:{SECRET}@db1:5433/meltano"
    url = find_database(project(tmp_path), {"MELTANO_DATABASE_URI": uri}).url
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg", "db1", 5433, "meltano")
    assert url.password == f"p@ss:{SECRET}"
    assert SECRET not in f"{url} {url!r}"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mssql://me:{secret}@db1/meltano", "'mssql' is not known"),
        ("mysql://me:{secret}@db1/meltano", "Meltano keeps its queue in SQLite or PostgreSQL"),
        ("postgres://me:{secret}@db1/meltano", "'postgres' is not known"),
        ("{secret}", "is not a database URL; write dialect://"),
        ("postgresql://me:p@ss{secret}@db1/meltano", "write an @ in a user, password or parameter as %40"),
        ("postgresql://me:{secret}@db1/meltano?sslmode=require", "write them under tls:"),
        ("sqlite://", "names no database"),
    ],
)
def test_a_database_that_cannot_be_read_is_said_with_the_file_and_no_secret(
    tmp_path: Path, uri: str, message: str
) -> None:
    """Where it was found, what is wrong, what would be right."""
    with pytest.raises(ConfigurationError) as raised:
        find_database(project(tmp_path), {"MELTANO_DATABASE_URI": uri.format(secret=SECRET)})
    assert str(raised.value).startswith(f"{tmp_path}/meltano.yml: ")
    assert message in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("content", ["a: [1\n", "\x00", "!!python/object:os.system {}\n"])
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, content: str) -> None:
    """And what to do."""
    with pytest.raises(ConfigurationError, match=r"meltano\.yml: is not YAML .*; mend it, or give a url"):
        find_database(project(tmp_path, content), {})


def test_a_folder_without_a_project_is_said_to_be_none(tmp_path: Path) -> None:
    """It may be a level too high."""
    with pytest.raises(ConfigurationError, match=r"meltano\.yml: cannot be read .*; give the folder of a project"):
        Source(MeltanoOptions(project=tmp_path)).find_address()


def test_a_changed_project_is_read_again_and_a_broken_one_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next connection."""
    monkeypatch.delenv("MELTANO_DATABASE_URI", raising=False)
    source = Source(MeltanoOptions(project=project(tmp_path)))
    assert str(source.find_address().url.database).endswith(".meltano/meltano.db")
    project(tmp_path, "database_uri: sqlite:////srv/other.db\n")
    assert source.find_address().url.database == "/srv/other.db"
    project(tmp_path, dotenv="MELTANO_DATABASE_URI=sqlite:////srv/third.db\n")
    assert source.find_address().url.database == "/srv/third.db"
    project(tmp_path, "a: [1\n")
    with suppress(ConfigurationError):
        source.find_address()
    with pytest.raises(ConfigurationError):
        source.find_address()


def test_a_file_that_holds_a_url_is_checked_like_a_url(tmp_path: Path) -> None:
    """Of another database."""
    file = tmp_path / "url"
    file.write_text(f"mysql://me:{SECRET}@db1/meltano\n")
    with pytest.raises(
        ConfigurationError, match="Meltano keeps its queue in SQLite or PostgreSQL, not in MariaDB"
    ) as raised:
        Source(MeltanoOptions(url_file=file)).find_address()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found none of project, url and url_file"),
        ({"url": "sqlite:////a.db", "url_file": "b"}, "found url and url_file; give one of them"),
        ({"url": "mysql://h/d"}, "Meltano keeps its queue in SQLite or PostgreSQL"),
        ({"url": "sqlite:////a.db?mode=ro"}, "mode in a URL is not known"),
    ],
)
def test_a_queue_names_its_database_once(options: Mapping[str, str], message: str) -> None:
    """By its project or a URL."""
    with pytest.raises(ValidationError, match=message):
        MeltanoOptions.model_validate(options)
