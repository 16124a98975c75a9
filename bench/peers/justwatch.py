"""sql_exporter of justwatch, as Debian packages it (prometheus-sql-exporter): unpacked, not installed."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml
from sqlalchemy import make_url

from tests.lab.programs import NotInstalled

from .exporter import CACHE, Exporter
from .figures import Figure

NAME = "prometheus-sql-exporter"
VERSION = "0.4.5-1+b5"
"""Debian 12's; another release has another, which is measured just as well."""


def program() -> Path:
    """Return the program, fetched by apt if it is not there; raises NotInstalled."""
    installed = shutil.which(NAME)
    if installed:
        return Path(installed)
    folder = CACHE.expanduser() / NAME
    found = folder / "usr" / "bin" / NAME
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                ["apt-get", "download", NAME], cwd=folder, check=False, capture_output=True, text=True
            )
            packages = sorted(folder.glob("*.deb"))
            if done.returncode or not packages:
                raise NotInstalled(f"{NAME} cannot be fetched: {done.stderr.strip()[-200:]}")
            subprocess.run(["dpkg", "-x", packages[-1], folder], check=True)
        except FileNotFoundError as cause:
            raise NotInstalled(f"{NAME} is packaged by Debian, and this is none") from cause
    return found


def justwatch(url: str, figures: Sequence[Figure], *, every_seconds: int) -> Exporter:
    """Publish these figures of one database at an interval, the first time at the start."""
    installed = program()
    parts = make_url(url)
    address = f"mysql://{parts.username}:{parts.password}@tcp({parts.host}:{parts.port})/{parts.database}"

    def command(file: Path, port: int) -> list[str | Path]:
        queries = [
            {
                "name": each.name,
                "help": each.name,
                "labels": list(each.labels),
                "values": [each.name],
                "query": each.sql,
            }
            for each in figures
        ]
        job = {"name": "bench", "interval": f"{every_seconds}s", "connections": [address], "queries": queries}
        file.write_text(yaml.safe_dump({"jobs": [job]}))
        return [installed, "-config.file", file, "-web.listen-address", f"127.0.0.1:{port}"]

    return Exporter(NAME, command)
