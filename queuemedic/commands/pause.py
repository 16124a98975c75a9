"""`queuemedic pause`: the kill switch of healing; it survives restarts."""

from pathlib import Path

import click

from ..completing import complete_queue


@click.command()
@click.option("--queue", "queue", metavar="Q", shell_complete=complete_queue, help="Only this queue; without it, all.")
@click.option("--why", required=True, metavar="TEXT", help="For whoever asks why nothing is healed.")
@click.pass_obj
def pause(file: Path | None, queue: str | None, why: str) -> None:
    """Stop healing, for every instance on the same ledger, until `queuemedic resume`.

    A pass that is under way stops before its next reset. Watching goes on.

    \b
    Examples:
      queuemedic pause --why "database is moved tonight"
      queuemedic pause --queue analytics --why "upgrade of Matomo"
    """
    import os

    from exporter import clock
    from exporter.jobs import QueueName

    from ..building import require_ledger
    from ..by_hand import name_actor
    from ..keeper import open_ledger
    from ..startup import load_config, only_queue

    config = load_config(file)
    only_queue(config, queue)
    require_ledger(config, os.environ)
    ledger = open_ledger(config, os.environ)
    ledger.brakes.pause(QueueName(queue) if queue else None, why=why, actor=name_actor(), at=clock.now())
    ledger.close()
    click.echo(f"healing of {queue or 'all queues'} is paused, for every instance on the ledger {ledger.place}")
