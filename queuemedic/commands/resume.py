"""`queuemedic resume`: end a pause, and close a breaker whose deaths a person has looked at."""

from pathlib import Path

import click

from ..completing import complete_queue


@click.command()
@click.option("--queue", "queue", metavar="Q", shell_complete=complete_queue, help="Only this queue; without it, all.")
@click.pass_obj
def resume(file: Path | None, queue: str | None) -> None:
    """Let healing go on: end pauses, and close breakers; the deaths that opened one then count no more.

    A pause of all queues stands when one queue is resumed.

    Example: queuemedic resume --queue analytics
    """
    import os

    from exporter.jobs import QueueName
    from exporter.texts import printable
    from healers.braking import close_breaker

    from ..building import require_ledger
    from ..keeper import open_ledger
    from ..startup import load_config, only_queue

    config = load_config(file)
    queues = only_queue(config, queue).queues
    require_ledger(config, os.environ)
    ledger = open_ledger(config, os.environ)
    ended = ledger.brakes.resume(QueueName(queue) if queue else None)
    closed = [name for name in queues if close_breaker(ledger.brakes, name)]
    still = ledger.brakes.pauses().get(None)
    ledger.close()
    for name, was in ended.items():
        click.echo(printable(f"the pause of {name or 'all queues'} is over; it was: {was.why} ({was.actor})"))
    for name in closed:
        click.echo(f"the breaker of {name} is closed; the deaths that opened it count no more")
    if not ended and not closed:
        click.echo("nothing was paused, and no breaker open")
    if still is not None:
        click.echo(
            printable(f"all queues are still paused: {still.why} ({still.actor}); `queuemedic resume` ends that")
        )
