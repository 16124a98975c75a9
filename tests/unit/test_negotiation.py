"""A scrape gets the format and the compression that it asked for."""

import pytest

from exporter.page import Format
from exporter.web.negotiation import accepts_gzip, choose_format

OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_1 = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_2 = (
    f"{OPENMETRICS};version=1.0.0,{OPENMETRICS};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    f"{OPENMETRICS};version=1.0.0;escaping=allow-utf-8;q=0.5,{OPENMETRICS};version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "page_format", "content_type"),
    [
        ("", Format.TEXT, TEXT),
        ("*/*", Format.TEXT, TEXT),
        ("text/html", Format.TEXT, TEXT),
        (
            PROMETHEUS_2,
            Format.OPENMETRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        (
            PROMETHEUS_3,
            Format.OPENMETRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.9,application/openmetrics-text;version=1.0.0;q=0.2",
            Format.TEXT,
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0,text/plain",
            Format.TEXT,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "application/openmetrics-text;q=nonsense",
            Format.OPENMETRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (f"{OPENMETRICS};version=0.0.1", Format.TEXT, TEXT),
        (
            "application/openmetrics-text;version=abc,text/plain",
            Format.TEXT,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "application/openmetrics-text;version=9.9",
            Format.OPENMETRICS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain;version=1.x;escaping=\r\n", Format.TEXT, TEXT),
        (";;;,,=,q=;", Format.TEXT, TEXT),
    ],
)
def test_the_best_acceptable_format_is_served(accept: str, page_format: Format, content_type: str) -> None:
    """By q, then in order; what is served is named in full."""
    assert choose_format(accept) == (page_format, content_type)


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [("", False), ("gzip", True), ("gzip;q=0", False), ("identity, GZIP;q=0.5", True), ("*", True), ("br", False)],
)
def test_gzip_only_where_it_is_accepted(accept_encoding: str, *, expected: bool) -> None:
    """A client that refuses gzip does not get it."""
    assert accepts_gzip(accept_encoding) is expected
