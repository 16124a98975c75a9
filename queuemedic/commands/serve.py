"""`queuemedic serve`: poll, publish, until a signal ends it."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    show_default=True,
    help="How events are written.",
)
@click.pass_obj
def serve(file: Path | None, log_format: str) -> None:
    """Watch the queues and publish metrics for Prometheus.

    It runs until SIGTERM or Ctrl-C; SIGHUP has it read its configuration again. Events go to standard error.

    \b
    Examples:
      cd /var/www/matomo && queuemedic serve
      queuemedic --config /etc/queuemedic/queuemedic.yml serve --log-format json
    """
    import os
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing is read yet, so there is nothing to reload
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nor to end in order, until it is served
    from exporter.imports import without

    with without("rich"):  # which structlog would load for tracebacks of a kind that are not used: 4 MiB
        import structlog
    from ..serving import Hangup, exit_now, serve_app

    hangup = Hangup()
    from exporter.log import configure
    from exporter.web.access import Watch
    from exporter.web.server import listen

    from ..app import App
    from ..exposed import find_exposed
    from ..reloading import access_reader
    from ..startup import load_again, load_config

    configure("json" if log_format == "json" else "console")
    log = structlog.get_logger()
    config = load_config(file)
    for exposed in find_exposed(config):
        log.warning("file.exposed", advice=exposed)
    app = App(config)
    watch = Watch(access_reader(config))
    listener = listen(config.web.listen.host, config.web.listen.port)
    host, port = listener.getsockname()[:2]
    scheme = "https" if watch.current.tls else "http"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    log.info("server.started", address=address, metrics=f"{address}/metrics", queues=len(app.pollers))
    serve_app(app, listener, watch=watch, load=lambda: load_again(app.config), hangup=hangup)
    log.info("server.stopped")
    exit_now(0)
