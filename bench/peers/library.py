"""The client library's own server, with so many series of one gauge: `python -m bench.peers.library PORT SERIES`."""

import sys
import threading
from pathlib import Path

from prometheus_client import REGISTRY, Gauge, start_http_server

from .exporter import Exporter

NAME = "prometheus_client"
ROOT = Path(__file__).parents[2]


def library(series: int) -> Exporter:
    """Serve so many series."""
    return Exporter(NAME, lambda _, port: [sys.executable, "-m", "bench.peers.library", str(port), str(series)])


def main(port: int, series: int) -> None:
    """Serve until the end."""
    gauge = Gauge("site_jobs", "Jobs of each site.", ["database", "site"])
    for number in range(series):
        gauge.labels("db", str(number)).set(number)
    start_http_server(port, "127.0.0.1", registry=REGISTRY)
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
