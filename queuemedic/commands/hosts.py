"""`queuemedic hosts`: try the hosts that are asked about workers, print what has to be there, and give one up."""

from pathlib import Path

import click

NOT_USABLE = 3
AUTHORIZED_KEY = 'restrict,command="/usr/local/lib/queuemedic-probe.sh" ssh-ed25519 AAAA… queuemedic'


@click.group("hosts")
def hosts() -> None:
    """Try the hosts that are asked about workers, print what has to be there, or give one up."""


@hosts.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def check(file: Path | None, as_json: bool) -> None:
    """Ask every host once, and name the hosts that rows record and nobody can ask.

    Exit code 0: every host can be used; 3: one cannot.
    """
    import logging

    from exporter.log import configure
    from exporter.views import HostsView
    from healers.views import show_host

    from ..app import App
    from ..startup import load_config

    configure(level=logging.CRITICAL)
    config = load_config(file)
    app = App(config)
    app.poll_once()
    views = tuple(show_host(asker.status, asker.silence, asker.doubt) for asker in app.askers)
    if as_json:
        click.echo(HostsView(hosts=views).model_dump_json(indent=2))
    else:
        for view in views:
            click.echo(f"✓ {view.host}: answers" if view.up else f"✗ {view.host}: {view.reason}: {view.error}")
        names = {name for host, options in config.hosts.items() if options.via for name in (host, *options.aliases)}
        for recorded in sorted(app.recorded_hosts() - names):
            click.echo(f"- {recorded!r} is recorded by rows and cannot be asked; write under hosts:")
            click.echo(f"    {recorded!r}: {{via: ssh, address: …, user: queuemedic, key_file: …, known_hosts: …}}")
    app.close(within_seconds=0)
    if not all(view.up for view in views):
        raise click.exceptions.Exit(NOT_USABLE)


@hosts.command()
def script() -> None:
    """Print the script that a host runs when it is asked; and beside it, on standard error, the authorized_keys line.

    Example: queuemedic hosts script | ssh root@web03 'cat > /usr/local/lib/queuemedic-probe.sh'
    """
    from healers.probes.local import SCRIPT

    click.echo(SCRIPT.read_text(), nl=False)
    click.echo(AUTHORIZED_KEY, err=True)


@hosts.command()
@click.argument("name")
@click.option("--why", required=True, metavar="TEXT", help="For whoever asks why its jobs were put back.")
@click.pass_obj
def retire(file: Path | None, name: str, why: str) -> None:
    """Declare a host gone for good, so that the jobs it holds now count as orphaned.

    NAME is what rows record, whether it is configured or not. It counts only while the host is silent: any answer from
    it ends this.

    Example: queuemedic hosts retire web02 --why "scrapped on Monday"
    """
    import os

    from exporter import clock

    from ..by_hand import name_actor
    from ..keeper import open_ledger
    from ..startup import load_config

    ledger = open_ledger(load_config(file), os.environ)
    ledger.sightings.retire(name, why=why, actor=name_actor(), at=clock.now())
    ledger.close()
    click.echo(f"{name} is retired; an answer from it ends that")
