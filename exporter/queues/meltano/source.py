"""Where Meltano's system database is: as a URL says, or found from the project's folder as Meltano itself finds it.

Meltano (4.4.1; the same in 3.6) takes MELTANO_DATABASE_URI from `env:` in meltano.yml, the environment, or `.env`; then
`database_uri` of meltano.yml, variables filled in; else meltano.db in its system folder. Environments of a project have
no say (core/project_settings_service.py, core/settings_store.py, core/bundle/settings.yml). Files that meltano.yml
includes count as it does.
Whoever writes to a project is not whom Queuemedic belongs to: what is read, and what it unfolds to, is bounded.
"""

import os
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from dotenv import dotenv_values
from dotenv.variables import parse_variables
from sqlalchemy import URL

from exporter.address import Address, normalise
from exporter.errors import ConfigurationError
from exporter.files import Stamp, read_foreign, stamps
from exporter.secrets import read_url

from ..source import find_address, read_tls
from .options import MeltanoOptions, check_meltano_url

PROJECT_FILE: Final = "meltano.yml"
VARIABLE: Final = "MELTANO_DATABASE_URI"
DEFAULT: Final = "sqlite:///$MELTANO_SYS_DIR_ROOT/meltano.db"
MOST_LETTERS: Final = 1 << 20
MOST_MERGED: Final = 100_000
# core/utils/__init__.py, ENV_VAR_PATTERN.
REFERENCE: Final = re.compile(r"(?P<escape>\\)?\$(?:{(?P<curly>\w+)}|(?P<plain>[A-Z][A-Z0-9_]*))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The URL that Meltano would use, and the files that say so, as they were before they were read."""

    url: URL
    stamps: Mapping[Path, Stamp]


class Source:
    """Finds the database through `url`, `url_file` or `project`; raises ConfigurationError."""

    def __init__(self, options: MeltanoOptions) -> None:
        self._options = options
        self._found: Found | None = None

    def find_address(self) -> Address:
        """Return where the database is now."""
        options = self._options
        if options.project is None or options.url is not None or options.url_file is not None:
            return find_address(url=options.url, url_file=options.url_file, tls=options.tls, check=check_meltano_url)
        if self._found is None or self._found.stamps != stamps(self._found.stamps):
            self._found = None
            self._found = find_database(options.project, os.environ)
        return Address(url=self._found.url, tls=read_tls(options.tls))


def find_database(project: Path, environment: Mapping[str, str]) -> Found:
    """Find what Meltano would use in this folder with this environment; raises ConfigurationError."""
    file, dotenv = project / PROJECT_FILE, project / ".env"
    files = stamps([file, dotenv])
    settings = _read(file)
    included = _included(project, settings)
    files |= stamps(included)
    settings = _joined([settings, *map(_read, included)])
    variables: dict[str, Any] = _read_dotenv(dotenv, environment)
    variables |= environment
    variables |= {
        "MELTANO_PROJECT_ROOT": str(project),
        "MELTANO_SYS_DIR_ROOT": environment.get("MELTANO_SYS_DIR_ROOT", str(project / ".meltano")),
        "MELTANO_ENVIRONMENT": _environment(variables.get("MELTANO_ENVIRONMENT"), settings),
        **settings["env"],
    }
    uri = variables.get(VARIABLE)
    if not uri:
        uri = _filled_in(_text(settings.get("database_uri")) or DEFAULT, variables)
    try:
        url = read_url(uri)
    except ValueError as cause:
        raise ConfigurationError(f"{file}: database_uri, or {VARIABLE}: {cause}") from None
    try:
        check_meltano_url(url)
    except ValueError as cause:
        raise ConfigurationError(f"{file}: {cause}") from cause
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(project / (url.database or "")))
    return Found(url=normalise(url), stamps=files)


def _environment(asked: str | None, settings: Mapping[str, Any]) -> str:
    """Return the project's environment that is active without an option (cli/cli.py, detect_selected_environment)."""
    if asked and asked.lower() == "null":
        return ""
    return asked or _text(settings.get("default_environment"))


def _included(project: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Return the files that `include_paths` match, without the one that says so."""
    main = project / PROJECT_FILE
    try:
        patterns = [_text(pattern) for pattern in settings.get("include_paths") or ()]
        found = [file for pattern in patterns for file in sorted(project.glob(pattern)) if file.is_file()]
    except (TypeError, ValueError, NotImplementedError, IndexError) as cause:  # pathlib (3.11) on "."
        raise ConfigurationError(f"{main}: include_paths: {cause}; write patterns of paths in the project") from cause
    return [file for file in dict.fromkeys(found) if file != main]


def _joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what files say: what is included counts more (core/project_files.py)."""
    settings: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for part in parts:
        given = part["env"] if isinstance(part.get("env"), dict) else {}
        variables |= {str(name): _text(value) for name, value in given.items()}
        settings |= {key: value for key, value in part.items() if value is not None}
    return {**settings, "env": variables}


def _read(file: Path) -> dict[str, Any]:
    try:
        settings = yaml.load(read_foreign(file).decode(), _Loader)  # noqa: S506  a SafeLoader
    except OSError as cause:
        raise ConfigurationError(f"{file}: cannot be read ({cause.strerror}); give the folder of a project") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:  # of dates, numbers and escapes that are none
        raise ConfigurationError(f"{file}: is not YAML that Meltano could read; mend it, or give a url") from cause
    return settings if isinstance(settings, dict) else {}


class _Loader(yaml.SafeLoader):
    """Reads what `yaml.safe_load` reads, unless merge keys (`<<`) make far more of a file than stands in it."""

    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MOST_MERGED:
            raise yaml.YAMLError("merge keys make too much of it")


def _text(value: object) -> str:
    """Return a value as text; what holds others is none, and might unfold without an end."""
    return "" if value is None or isinstance(value, dict | list | set | tuple) else str(value)


def _read_dotenv(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `.env`, filled in as python-dotenv (1.2) does: from lines above, else from outside."""
    if not file.is_file():
        return {}
    try:
        given = dotenv_values(stream=StringIO(read_foreign(file).decode()), interpolate=False)
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "is not UTF-8"
        raise ConfigurationError(f"{file}: cannot be read ({reason}); mend it, or give a url") from cause
    found: dict[str, str] = {}
    known = ChainMap(found, dict(environment))
    filled = _Filled(file)
    for name, value in given.items():
        found[name] = "".join(filled.in_with(atom.resolve(known)) for atom in parse_variables(value or ""))
    return found


class _Filled:
    """Counts what was filled in, so that variables of variables of variables end somewhere."""

    def __init__(self, where: object) -> None:
        self._where = where
        self._left = MOST_LETTERS

    def in_with(self, value: str) -> str:
        """Return the value; raises ConfigurationError once it is too much."""
        self._left -= len(value)
        if self._left < 0:
            raise ConfigurationError(f"{self._where}: its variables make more than {MOST_LETTERS} letters; give a url")
        return value


def _filled_in(text: str, variables: Mapping[str, Any]) -> str:
    """Fill in `$NAME` and `${NAME}` as Meltano does: what is not set is nothing, and a backslash keeps it as it is."""
    filled = _Filled("database_uri")

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return match[0][1:]
        return filled.in_with(str(variables.get(match["curly"] or match["plain"], "")))

    return REFERENCE.sub(value_of, text)
