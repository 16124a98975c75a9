"""Complete the names of queues and hosts in a shell, from the configuration that the command line names.

A shell completes while a person types, and often without the environment that fills the configuration in: so the names
are taken from the file as it stands. Whatever is wrong with it, nothing is offered, and nothing said.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def complete_queue(context: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """Return the queues whose name begins so."""
    return _find_names(context, "queues", typed)


def complete_host(context: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """Return the hosts whose name begins so."""
    return _find_names(context, "hosts", typed)


def _find_names(context: click.Context, section: str, typed: str) -> list[str]:
    import yaml

    from exporter.errors import ConfigurationError

    from .config import find_file

    try:
        file = find_file(context.find_root().params["config_file"], os.environ, Path())
        written = yaml.safe_load(file.read_text("utf-8")) if file else None
    except (ConfigurationError, OSError, ValueError, yaml.YAMLError):
        return []
    names = written.get(section) if isinstance(written, dict) else None
    return [str(name) for name in names if str(name).startswith(typed)] if isinstance(names, dict) else []
