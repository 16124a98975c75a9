"""`queuemedic serve`: poll, publish, until a signal ends it."""

from pathlib import Path

import click


@click.command()
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True)
@click.pass_obj
def serve(file: Path | None, log_format: str) -> None:
    """Watch the queues and publish metrics for Prometheus.

    Example: queuemedic --config queuemedic.yml serve
    """
    import structlog

    from exporter.log import configure
    from exporter.web.server import listen

    from ..app import App
    from ..serving import exit_now, serve_app
    from ..startup import load_config

    configure("json" if log_format == "json" else "console")
    log = structlog.get_logger()
    config = load_config(file)
    app = App(config)
    listener = listen(config.web.listen.host, config.web.listen.port)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    log.info("server.started", address=address, metrics=f"{address}/metrics", queues=len(app.pollers))
    has_ended = serve_app(app, listener)
    log.info("server.stopped")
    if not has_ended:
        exit_now(0)
