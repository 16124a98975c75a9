"""`queuemedic demo`: a live queue before your eyes."""

import click


@click.command()
@click.option("--listen", default="127.0.0.1:9847", show_default=True, metavar="HOST:PORT", help="Port 0: a free one.")
def demo(listen: str) -> None:
    """Show a live queue whose workers really die.

    Starts three worker processes on an SQLite queue in a temporary folder and kills one of them now and then.
    Queuemedic publishes what it sees, asks whether the worker is alive, and puts its job back. Ctrl-C ends all of it.

    Example: queuemedic demo --listen 127.0.0.1:0
    """
    import json
    import logging
    import socket
    import sys
    import tempfile
    from pathlib import Path

    from exporter.log import configure
    from exporter.web.server import listen as open_listener

    from ..app import App
    from ..config import load
    from ..demo import CONFIGURATION, Demo
    from ..serving import serve_app
    from ..systems import OPTIONS

    configure(level=logging.WARNING)
    called = sys.argv[0] if Path(sys.argv[0]).name == "queuemedic" else "queuemedic"  # it may not be on the PATH
    with tempfile.TemporaryDirectory(prefix="queuemedic-demo-") as folder:
        live = Demo(Path(folder), click.echo)
        file = Path(folder) / "queuemedic.yml"
        file.write_text(
            CONFIGURATION.format(
                listen=listen, folder=folder, database=live.database, host=json.dumps(socket.gethostname())
            )
        )
        config = load(file, {}, OPTIONS)
        listener = open_listener(config.web.listen.host, config.web.listen.port)
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        click.echo(f"Three workers take jobs from a queue in {folder}; one is killed every 20 s.")
        click.echo(f"  {address}/   the status page: how the queue is, and why")
        click.echo(f"  {address}/metrics   what Prometheus scrapes; look for queuemedic_orphaned_jobs and heals_total")
        click.echo(f"  {called} --config {file} check     the same on the terminal")
        click.echo(f"  {called} --config {file} history   what was put back, and on what evidence")
        click.echo("Ctrl-C ends it.")
        with live.running():
            serve_app(App(config), listener)
