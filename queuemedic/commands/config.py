"""`queuemedic config`: check the configuration, show what is in force, describe it to editors.

Results go to standard output, faults to standard error with exit code 2. Everything heavy is imported when it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..config import Config


@click.group("config")
def config() -> None:
    """Check, show or describe the configuration."""


@config.command()
@click.pass_obj
def check(file: Path | None) -> None:
    """Read the configuration and report every fault at once."""
    loaded = _load(file)
    number = len(loaded.queues)
    click.echo(f"{loaded.file}: ok, {number} {'queue' if number == 1 else 'queues'}")


@config.command()
@click.pass_obj
def show(file: Path | None) -> None:
    """Print what is in force, with every default; secrets are hidden."""
    from ..config import write  # noqa: PLC0415

    click.echo(write(_load(file)), nl=False)


@config.command()
def schema() -> None:
    """Print a JSON schema that lets an editor complete and check the file."""
    import json  # noqa: PLC0415

    from ..editor_schema import editor_schema  # noqa: PLC0415
    from ..systems import OPTIONS  # noqa: PLC0415

    click.echo(json.dumps(editor_schema(OPTIONS), indent=2))


def _load(file: Path | None) -> Config:
    """Find and read the configuration; prints its faults and exits if that is not possible."""
    from exporter.errors import ConfigurationError  # noqa: PLC0415

    from ..config import FILE_NAME, SYSTEM_FILE, find_file, load  # noqa: PLC0415
    from ..systems import OPTIONS  # noqa: PLC0415

    try:
        found = find_file(file, os.environ, Path())
        if found is None:
            raise ConfigurationError(f"there is no {FILE_NAME} here and no {SYSTEM_FILE}; write one, or give --config")
        return load(found, os.environ, OPTIONS)
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(error.exit_code) from error
