"""`queuemedic bundle`: copy the rules and dashboards that are shipped."""

from pathlib import Path

import click


@click.command()
@click.argument("sort", type=click.Choice(["alerts", "dashboards"]))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--runbooks", metavar="URL", help="Where the runbooks are, for the links of alerts.")
@click.option("--grafana", metavar="URL", help="Where Grafana is, for the links of alerts.")
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def bundle(sort: str, folder: Path, *, runbooks: str | None, grafana: str | None, force: bool) -> None:
    """Copy the shipped alert rules, or dashboards, into a folder; files of other names there stay.

    \b
    Examples:
      queuemedic bundle alerts ./rules --grafana https://grafana.example.org
      queuemedic bundle dashboards /var/lib/grafana/dashboards/queuemedic
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
