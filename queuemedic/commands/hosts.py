"""`queuemedic hosts`: try the hosts that are asked about workers, print what has to be there, and give one up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completing import complete_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.views import HostView

    from ..app import App

NOT_USABLE = 3
TO_DO = {
    "unreachable": "look whether address and port are right, and whether its sshd is up",
    "timeout": "look for a firewall that drops; where it is only slow, raise its timeout",
    "host_key": "compare with its /etc/ssh/ssh_host_*_key.pub, then correct known_hosts",
    "refused": "look at user, key_file, and the line that `queuemedic hosts script` prints",
    "bad_answer": "put the script there that `queuemedic hosts script` prints, and no other",
}
"""What a person does about a host without a usable answer; of answers that prove nothing the error says it itself."""
AUTHORIZED_KEY = 'restrict,command="timeout 60 /usr/local/lib/queuemedic-probe.sh" ssh-ed25519 AAAA… queuemedic'


@click.group("hosts")
def hosts() -> None:
    """Try the hosts that are asked about workers, print what has to be there, or give one up.

    \b
    Examples:
      queuemedic hosts check
      queuemedic hosts script > probe.sh
      queuemedic hosts retire web02 --why "scrapped on Monday"
    """


@hosts.command(short_help="Ask every host once, and name those nobody can ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def check(file: Path | None, as_json: bool) -> None:
    """Ask every host once, and name the hosts that rows record and nobody can ask.

    Exit code 0: every host can be used; 3: one cannot.

    Example: queuemedic --config queuemedic.yml hosts check
    """
    import logging

    from exporter.log import configure
    from exporter.views import HostsView
    from healers.views import show_host

    from ..app import App
    from ..progress import Progress
    from ..startup import load_config

    configure(level=logging.CRITICAL)
    config = load_config(file)
    app = App(config)
    with Progress(app).shown():
        app.poll_once()
    views = tuple(show_host(asker.status, asker.silence, asker.doubt) for asker in app.askers)
    if as_json:
        click.echo(HostsView(hosts=views).write(indent=2))
    else:
        names = {name for host, options in config.hosts.items() if options.via for name in (host, *options.aliases)}
        _print(views, sorted(app.recorded_hosts() - names))
    app.close(within_seconds=0)
    if not all(view.up for view in views):
        raise click.exceptions.Exit(NOT_USABLE)


def _print(views: Sequence[HostView], unasked: Sequence[str]) -> None:
    """Print one line for each host, with what to do, and a line to paste for each that is only recorded."""
    from exporter.texts import printable

    from ..printing import make_console, print_headline

    console = make_console()
    for view in views:
        print_headline(console, f"{view.host}: " + ("answers" if view.up else _trouble(view)), is_good=view.up)
        if not view.up and view.reason in TO_DO:
            console.print(f"    {TO_DO[view.reason]}")
    for recorded in map(_quoted, unasked):
        console.print(printable(f"- {recorded} is recorded by rows and cannot be asked; write under hosts:"))
        snippet = "{via: ssh, address: …, user: queuemedic, key_file: …, known_hosts: …}"
        console.print(printable(f"    {recorded}: {snippet}"), soft_wrap=True)
    if not views and not unasked:
        console.print("no host is configured, and no started job records one")


def _quoted(recorded: str) -> str:
    """Write what a row says as YAML reads it back, and as nothing else: whoever writes rows writes no configuration."""
    quoted = recorded.replace("'", "''")
    return f"'{quoted}'" if recorded.isprintable() else json.dumps(recorded)


def _trouble(view: HostView) -> str:
    return f"{view.reason or 'not asked'}: {view.error or ''}"


@hosts.command(short_help="Print the script that a host runs when it is asked.")
def script() -> None:
    """Print the script that a host runs when it is asked; and beside it, on standard error, the authorized_keys line.

    Example: queuemedic hosts script > probe.sh
    """
    from healers.probes.local import SCRIPT

    click.echo(SCRIPT.read_text(), nl=False)
    click.echo(AUTHORIZED_KEY, err=True)


@hosts.command(short_help="Declare a host gone, so that its jobs are orphaned.")
@click.argument("name", shell_complete=complete_host)
@click.option("--why", required=True, metavar="TEXT", help="For whoever asks why its jobs were put back.")
@click.pass_obj
def retire(file: Path | None, name: str, why: str) -> None:
    """Declare a host gone for good, so that the jobs it holds now count as orphaned.

    NAME is what rows record, whether it is configured or not. Every queue is read first, so that these jobs are known
    to have been there. It counts only while the host is silent: any answer from it ends this.

    Example: queuemedic hosts retire web02 --why "scrapped on Monday"
    """
    import logging
    import os

    from exporter import clock
    from exporter.log import configure
    from exporter.texts import printable

    from ..app import App
    from ..building import require_ledger
    from ..by_hand import name_actor
    from ..printing import name_jobs
    from ..startup import load_config

    configure(level=logging.CRITICAL)
    config = load_config(file)
    require_ledger(config, os.environ)
    app = App(config)
    ledger = app.healing.keeper.get()
    _read_all(app)
    app.healing.keeper.keep()
    ledger.sightings.retire(name, why=why, actor=name_actor(), at=clock.now())
    held = _count_jobs(app)
    app.close(within_seconds=0)
    told = f", with {held[name]} started {name_jobs(held[name])}" if held[name] else ""
    click.echo(printable(f"{name} is retired{told}; an answer from it ends that"))
    if not held[name]:
        others = f" ({', '.join(sorted(held))})" if held else ""
        click.echo(printable(f"no started job records it: look whether the name is as rows write it{others}"))


def _read_all(app: App) -> None:
    """Read every queue once, and say which one could not be read; no host is asked."""
    from concurrent.futures import ThreadPoolExecutor

    from exporter.poller import Polled, Poller
    from exporter.texts import printable

    def read(poller: Poller) -> None:
        while poller.poll() is Polled.SERVER_BUSY:
            pass

    with ThreadPoolExecutor(thread_name_prefix="read") as threads:
        list(threads.map(read, app.pollers))
    for poller in app.pollers:
        if not poller.status.is_up:
            click.echo(printable(f"{poller.name}: could not be read: {poller.error or poller.silence}"), err=True)


def _count_jobs(app: App) -> Counter[str]:
    """Count the started jobs that were read last, by the host that their rows record."""
    seen = filter(None, (app.believe(poller.name) for poller in app.pollers))
    return Counter(attempt.host for held in seen for attempt in held.watched.started if attempt.host)
