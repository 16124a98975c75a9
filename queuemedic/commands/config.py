"""`queuemedic config`: check the configuration, show what is in force, describe it to editors.

Everything heavy is imported when it is used. A configuration that cannot be read is an error that the group prints.
"""

from pathlib import Path

import click


@click.group("config")
def config() -> None:
    """Check, show or describe the configuration.

    \b
    Examples:
      queuemedic --config queuemedic.yml config check
      queuemedic config show
    """


@config.command()
@click.pass_obj
def check(file: Path | None) -> None:
    """Read the configuration and report every fault at once.

    Exit code 0: it can be used; 2: it cannot, and every fault is on standard error. So are files that everybody may
    read or write and should not, which are no fault.

    Example: queuemedic --config queuemedic.yml config check
    """
    from ..app import App
    from ..exposed import find_exposed
    from ..reloading import access_reader
    from ..startup import load_config

    loaded = load_config(file)
    App(loaded)  # files that are named have to be there; nothing is connected to
    if read := access_reader(loaded):
        read()
    for exposed in find_exposed(loaded):
        click.echo(f"warning: {exposed}", err=True)
    number = len(loaded.queues)
    click.echo(f"{loaded.file or 'no file'}: ok, {number} {'queue' if number == 1 else 'queues'}")


@config.command()
@click.pass_obj
def show(file: Path | None) -> None:
    """Print what is in force, with every default; secrets are hidden.

    Example: queuemedic --config queuemedic.yml config show
    """
    from ..config import write
    from ..startup import load_config

    click.echo(write(load_config(file)), nl=False)


@config.command(short_help="Print a JSON schema for editors.")
def schema() -> None:
    """Print a JSON schema that lets an editor complete and check the file.

    Example: queuemedic config schema > queuemedic.schema.json
    """
    import json

    from ..editor_schema import editor_schema
    from ..systems import OPTIONS

    click.echo(json.dumps(editor_schema(OPTIONS), indent=2))
