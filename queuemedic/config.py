"""Find, read and write the configuration: all of it is usable, or one error lists every fault.

A fault is a line `file:line: path: what was found; what would be right`. Paths in the file are relative to its folder,
`${NAME}` is filled in from the environment, and which systems there are is an argument. Raises ConfigurationError only.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import yaml
from pydantic import BaseModel

from exporter.errors import ConfigurationError
from exporter.secrets import SECRET_KEY

from .config_file.faults import show_all
from .config_file.model import Config, ListenAddress, QueueSection, WebOptions
from .config_file.sections import Reading
from .config_file.source import MAX_BYTES, read_yaml
from .systems import SystemOptions

__all__ = ["Config", "ListenAddress", "QueueSection", "WebOptions", "find_file", "is_there", "load", "write"]

FILE_NAME: Final = "queuemedic.yml"
SYSTEM_FILE: Final = Path("/etc/queuemedic") / FILE_NAME
VARIABLE: Final = "QUEUEMEDIC_CONFIG"
FOREIGN_BREAK: Final = re.compile(r"[\r\x85\u2028\u2029]")

Written: TypeAlias = "str | int | float | bool | list[Written] | dict[str, Written] | None"


def find_file(explicit: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """Return the file that was asked for, else the first that is there; None if nobody asked and none is there."""
    asked = Path(environment[VARIABLE]) if environment.get(VARIABLE) else None
    for asked_by, path in (("--config", explicit), (VARIABLE, asked)):
        if path is not None:
            if not is_there(path):
                raise ConfigurationError(f"{asked_by}: {path} does not exist; write the path of a configuration file")
            return path
    return next((path for path in (folder / FILE_NAME, SYSTEM_FILE) if is_there(path)), None)


def load(path: Path, environment: Mapping[str, str], systems: Mapping[str, SystemOptions]) -> Config:
    """Read the file; `systems` has the options of each name that `system:` may be."""
    reading = Reading(read_yaml(read_file(path), environment), systems=systems, file=path)
    if reading.config is None:
        raise ConfigurationError(*show_all(reading.faults, path))
    return reading.config


def write(config: Config) -> str:
    """Write the configuration as YAML, every default filled in; without secrets, `load` reads it back as it was.

    Secrets are `***`, and what is None by default is left out.
    """
    sections: dict[str, Written] = {
        "web": _written(config.web),
        **({"ledger": _written(config.ledger)} if config.ledger else {}),
        "queues": {
            name: {"system": queue.system, **_written(queue.options), "healing": _written(queue.healing)}
            for name, queue in config.queues.items()
        },
        "hosts": {name: _written(host) for name, host in config.hosts.items()},
    }
    return yaml.dump(_escaped(sections), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)


class _Dumper(yaml.SafeDumper):
    """Writes every text so that it is read back whole: PyYAML 6.0.3 leaves foreign line breaks bare, and folds them."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if FOREIGN_BREAK.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _written(options: BaseModel) -> dict[str, Written]:
    written: dict[str, Written] = options.model_dump(mode="json", by_alias=True)
    _tidy(options, written)
    return written


def _tidy(value: object, written: Written) -> None:
    """Take out what is None anyway, and hide what is named like a secret; in place, at every depth."""
    match value, written:
        case BaseModel(), dict():
            for name, field in type(value).model_fields.items():
                key, part = field.alias or name, getattr(value, name)
                if part is None and field.get_default(call_default_factory=True) is None:
                    written.pop(key, None)
                elif isinstance(part, str) and SECRET_KEY.search(key):
                    written[key] = "***"
                elif key in written:
                    _tidy(part, written[key])
        case dict(), dict():
            for part, written_part in zip(value.values(), written.values(), strict=True):
                _tidy(part, written_part)
        case list() | tuple(), list():
            for part, written_part in zip(value, written, strict=True):
                _tidy(part, written_part)


def _escaped(written: Written) -> Written:
    """Double every dollar sign in a text, so that reading it fills nothing in."""
    match written:
        case str():
            return written.replace("$", "$$")
        case list():
            return [_escaped(part) for part in written]
        case dict():
            return {key: _escaped(part) for key, part in written.items()}
    return written


def is_there(path: Path) -> bool:
    """Whether a file is there to be read; what may not be looked at is, so that reading it says so."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def read_file(path: Path) -> bytes:
    """Read a configuration file, of a longer one as much as shows that it is; raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as cause:
        raise ConfigurationError(f"{path}: does not exist; write the path of a configuration file") from cause
    except IsADirectoryError as cause:
        raise ConfigurationError(f"{path}: is a directory; write the path of a file") from cause
    except PermissionError as cause:
        raise ConfigurationError(f"{path}: may not be read; give this account the right to read it") from cause
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "is no path"
        raise ConfigurationError(f"{path}: cannot be read ({reason}); write the path of another file") from cause
