"""Queuemedic itself as a process, `queuemedic serve`, with a configuration of ours."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .peers.exporter import Exporter

NAME = "Queuemedic"
PROGRAM = Path(sys.executable).with_name("queuemedic")


def queuemedic(queues: Mapping[str, Mapping[str, Any]], **sections: Any) -> Exporter:
    """Serve these queues."""

    def command(file: Path, port: int) -> list[str | Path]:
        config = {"web": {"listen": f"127.0.0.1:{port}"}, "queues": dict(queues), **sections}
        if any(section.get("healing") for section in queues.values()):
            config.setdefault("ledger", {"url": f"sqlite:///{file.parent}/ledger.db"})
        file.write_text(yaml.safe_dump(config))
        return [PROGRAM, "--config", file, "serve"]

    return Exporter(NAME, command)


def matomo_queue(url: str, **options: Any) -> dict[str, Any]:
    """Describe Matomo's queue at an address."""
    return {"system": "matomo", "url": url, **options}
