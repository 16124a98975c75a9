"""`queuemedic bundle`: copy what is shipped beside the program: rules, dashboards, units and scripts."""

from pathlib import Path

import click


@click.command()
@click.argument("sort", type=click.Choice(["alerts", "dashboards", "deploy"]))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--runbooks", metavar="URL", help="Where the runbooks are, for the links of alerts.")
@click.option("--grafana", metavar="URL", help="Where Grafana is, for the links of alerts.")
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def bundle(sort: str, folder: Path, *, runbooks: str | None, grafana: str | None, force: bool) -> None:
    """Copy the shipped alert rules, dashboards, or units and scripts to deploy it, into a folder.

    Files of other names there stay.

    \b
    Examples:
      queuemedic bundle alerts ./rules --grafana https://grafana.example.org
      queuemedic bundle dashboards /var/lib/grafana/dashboards/queuemedic
      queuemedic bundle deploy ./deploy
    """
    from ..bundled import address, find_bundled

    texts = {
        folder / name: address(file.read_text("utf-8"), docs=runbooks, grafana=grafana if sort == "alerts" else None)
        for name, file in find_bundled(sort).items()
    }
    differing = [file for file, text in texts.items() if file.exists() and file.read_text("utf-8") != text]
    if differing and not force:
        names = ", ".join(str(file) for file in differing)
        raise click.UsageError(f"{names}: there already, and different; add --force to replace")
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        click.echo(str(file))
