"""query-exporter (PyPI), in a virtual environment of its own: it needs Python 3.12, and is no dependency of ours."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tests.lab.programs import NotInstalled

from .exporter import CACHE, Exporter
from .figures import Figure

NAME = "query-exporter"
VERSION = "5.2.2"
PACKAGES = (f"query-exporter=={VERSION}", "PyMySQL==1.2.4", "cryptography")
PYTHONS = ("3.12", "3.13")


def program() -> Path:
    """Return the installed program, installing it if it is not; raises NotInstalled with the reason."""
    folder = CACHE.expanduser() / f"query-exporter-{VERSION}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        commands: list[list[str | Path]] = [
            [_python(), "-m", "venv", folder],
            [folder / "bin" / "pip", "install", "--quiet", *PACKAGES],
        ]
        for command in commands:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise NotInstalled(f"{NAME} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        complete.touch()
    return folder / "bin" / "query-exporter"


def query_exporter(url: str, figures: Sequence[Figure], *, every_seconds: int | None = None) -> Exporter:
    """Publish these figures of one database, at an interval, or at each scrape."""
    return over({"db": url}, figures, every_seconds=every_seconds)


def over(databases: Mapping[str, str], figures: Sequence[Figure], *, every_seconds: int | None = None) -> Exporter:
    """Publish these figures of several databases."""
    installed = program()

    def command(file: Path, port: int) -> list[str | Path]:
        metrics = {}
        for each in figures:
            metrics[each.name] = {"type": "gauge", **({"labels": list(each.labels)} if each.labels else {})}
        config = {
            "databases": {name: {"dsn": url} for name, url in databases.items()},
            "metrics": metrics,
            "queries": {
                f"query_{each.name}": {
                    "databases": list(databases),
                    "metrics": [each.name],
                    "sql": each.sql,
                    **({"interval": every_seconds} if every_seconds else {}),
                }
                for each in figures
            },
        }
        file.write_text(yaml.safe_dump(config))
        return [installed, "--host", "127.0.0.1", "--port", str(port), "--config", file, "--log-level", "warning"]

    return Exporter(NAME, command)


def _python() -> str:
    for version in PYTHONS:
        names = [f"python{version}", *map(str, Path("~/.pyenv/versions").expanduser().glob(f"{version}*/bin/python"))]
        for name in names:
            found = shutil.which(name)
            if found and subprocess.run([found, "--version"], check=False, capture_output=True).returncode == 0:
                return found
    raise NotInstalled(f"{NAME} needs Python {PYTHONS[0]} or newer, which is not installed")
