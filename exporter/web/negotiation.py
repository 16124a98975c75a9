"""Choose what a scrape gets, from its Accept and Accept-Encoding headers.

The client library's `choose_encoder` (0.26) takes the first acceptable entry and does not look at q, so the entries are
put in order for it first. What is served as OpenMetrics is version 1.0.0, whichever was asked for.
"""

import re

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from exporter.page import Format

OPENMETRICS = "application/openmetrics-text"
# The library compares versions as numbers and fails on anything else.
ODD_VERSION = re.compile(r";\s*version\s*=(?!\s*[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}\s*(?:;|$))", re.IGNORECASE)


def choose_format(accept: str) -> tuple[Format, str]:
    """Return the format and its full content type."""
    entries = sorted(_entries(accept), key=lambda entry: -entry[1])
    acceptable = [entry for entry, quality in entries if quality > 0 and not ODD_VERSION.search(entry)]
    content_type = choose_encoder(",".join(acceptable))[1]
    if not content_type.startswith(OPENMETRICS):
        return Format.TEXT, content_type or CONTENT_TYPE_PLAIN_0_0_4
    is_known = "version=1.0.0" in content_type
    return Format.OPENMETRICS, content_type if is_known else CONTENT_TYPE_LATEST


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the client takes gzip."""
    qualities = {entry.split(";")[0].strip().lower(): quality for entry, quality in _entries(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _entries(header: str) -> list[tuple[str, float]]:
    """Split a header into its entries and their q, 1 where there is none or none that can be read."""
    return [(entry.strip(), _quality(entry)) for entry in header.split(",") if entry.strip()]


def _quality(entry: str) -> float:
    for parameter in entry.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0
