"""The page is valid in both formats, whatever labels hold, and says nothing that is no longer so."""

import gzip
import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from exporter.catalogue import METRICS, QUEUE_METRICS, Type
from exporter.collector import Families
from exporter.histogram import Histogram
from exporter.page import Format, Page

HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def some_families(queue: str = "q", host: str = "web1", value: float = 1.0) -> Families:
    """One family of each type."""
    families = Families(queue)
    families.set("up", 1)
    families.set("host_started_jobs", value, host)
    families.set("jobs_ended_total", 3, "day")
    families.set_histogram("attempt_duration_seconds", Histogram().observe(timedelta(seconds=90)), "day")
    return families


class Registry(Collector):
    """What the library's encoders ask for."""

    def __init__(self, families: Iterator[Metric]) -> None:
        self.families = list(families)

    def collect(self) -> list[Metric]:
        """Return the families."""
        return self.families


def samples(page: Page) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Parse the text page by the client library."""
    text = page.get(Format.TEXT, False).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


@given(HOSTILE, HOSTILE)
def test_hostile_labels_come_back_as_they_are(one: str, two: str) -> None:
    """Quotes, newlines, backslashes, emoji: both parsers read both formats, and find the value that went in."""
    page = Page()
    page.update("a", some_families(host=one))
    page.update("b", some_families(queue="p", host=two))
    for page_format, parse in ((Format.TEXT, parse_text), (Format.OPENMETRICS, parse_openmetrics)):
        families = list(parse(page.get(page_format, False).decode()))
        hosts = {
            sample.labels["host"]
            for family in families
            for sample in family.samples
            if sample.name == "queuemedic_host_started_jobs"
        }
        assert hosts == {one, two}
        assert len({family.name for family in families}) == len(families)


def test_the_page_is_what_the_library_writes() -> None:
    """One part alone is byte for byte the library's own page, but for the order of families."""
    page = Page()
    page.update("q", some_families())
    for page_format, encode in ((Format.TEXT, generate_latest), (Format.OPENMETRICS, generate_openmetrics)):
        ours = page.get(page_format, False).splitlines()
        theirs = encode(Registry(iter(some_families()))).splitlines()
        assert sorted(ours) == sorted(theirs)
        assert page_format is Format.TEXT or ours[-1] == b"# EOF"


def test_families_stand_in_one_piece_and_in_the_order_of_the_catalogue() -> None:
    """Two queues share each family."""
    page = Page()
    page.update("b", some_families(queue="b"))
    page.update("a", some_families(queue="a"))
    lines = page.get(Format.TEXT, False).decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    order = [metric.full_name for metric in METRICS.values()]
    assert names == sorted(names, key=order.index)
    assert len(set(names)) == len(names)


def test_a_change_is_on_the_next_page_and_what_is_gone_is_gone() -> None:
    """A part replaces its predecessor whole; compressed pages are of the same state."""
    page = Page()
    page.update("q", some_families(host="a"))
    page.get(Format.TEXT, True)
    page.update("q", some_families(host="b"))
    compressed = gzip.decompress(page.get(Format.TEXT, True))
    assert compressed == page.get(Format.TEXT, False)
    assert b'host="b"' in compressed
    assert b'host="a"' not in compressed


def test_what_does_not_last_goes_when_the_snapshot_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gauges of a snapshot go without a poll; counters, histograms and `up` stay, and other queues are not touched."""
    now = 100.0
    monkeypatch.setattr("exporter.clock.monotonic_seconds", lambda: now)
    page = Page()
    page.update("a", some_families(queue="a"), valid_until=110.0)
    page.update("b", some_families(queue="b"), valid_until=130.0)

    def queues_with(name: str) -> set[str]:
        return {dict(labels)["queue"] for found, labels in samples(page) if found == name}

    assert queues_with("queuemedic_host_started_jobs") == {"a", "b"}
    now = 120.0
    assert queues_with("queuemedic_host_started_jobs") == {"b"}
    for name in ("up", "jobs_ended_total", "attempt_duration_seconds_count"):
        assert queues_with(f"queuemedic_{name}") == {"a", "b"}
    now = 140.0
    assert queues_with("queuemedic_host_started_jobs") == set()


def test_a_page_is_kept_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was asked for; and who finds or updates a large one does not wait until it is made."""
    now = 100.0
    monkeypatch.setattr("exporter.page.SMALL_BYTES", 0)
    monkeypatch.setattr("exporter.clock.monotonic_seconds", lambda: now)
    page = Page()
    page.update("a", some_families(), valid_until=110.0)
    assert page.find(Format.TEXT, True) is None
    for asked in itertools.product(Format, (False, True)):
        made = page.get(*asked)
        assert page.get(*asked) is page.find(*asked) is made
    now = 120.0
    assert page.find(Format.TEXT, True) is None
    page.get(Format.TEXT, True)
    with page._making:
        assert page.find(Format.TEXT, True) is not None
        page.update("b", some_families(), owner=None)
        assert page.find(Format.TEXT, True) is None
        page.assign({})


def test_a_small_page_is_found_whatever_has_changed() -> None:
    """It is made at once, and once for each change."""
    page = Page()
    for host in ("a", "b"):
        page.update("q", some_families(host=host))
        found = page.find(Format.TEXT, False)
        assert found is not None
        assert f'host="{host}"'.encode() in found
        assert page.find(Format.TEXT, False) is found


@pytest.mark.parametrize(
    ("at", "value", "until", "is_kept"),
    [
        (105.0, 1, 115.0, True),
        (105.0, 1, 110.0, True),
        (105.0, 2, 115.0, False),
        (105.0, 1, 108.0, False),
        (112.0, 1, 120.0, False),
    ],
)
def test_what_says_the_same_for_longer_changes_nothing(
    at: float, value: float, until: float, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part with other samples does, one that holds for less long, and one that comes after the last was stale."""
    now = 100.0
    monkeypatch.setattr("exporter.clock.monotonic_seconds", lambda: now)
    page = Page()
    page.update("q", some_families(), valid_until=110.0)
    page.update("program", some_families(queue="program"))
    made, now = page.get(Format.TEXT, False), at
    if at > 110:
        made = page.get(Format.TEXT, False)
    page.update("q", some_families(value=value), valid_until=until)
    assert (page.get(Format.TEXT, False) is made) == is_kept
    now = until - 0.5
    assert b'host_started_jobs{host="web1",queue="q"}' in page.get(Format.TEXT, False)
    now = until + 0.5
    assert b'host_started_jobs{host="web1",queue="q"}' not in page.get(Format.TEXT, False)


def test_names_keep_to_the_conventions() -> None:
    """Counters end in _total and nothing else does; seconds and bytes are spelt out; a label `queue` comes first."""
    for metric in METRICS.values():
        assert (metric.type is Type.COUNTER) == metric.name.endswith("_total")
        assert (metric.type is Type.HISTOGRAM) == bool(metric.buckets)
        assert metric.help.endswith(".")
    assert all(metric.labels[0] == "queue" for metric in QUEUE_METRICS)
    assert all(metric.is_lasting for metric in METRICS.values() if metric.type is not Type.GAUGE)


def test_a_part_is_its_owners_alone() -> None:
    """Who owned it before, or owns none, changes nothing; a part without an owner leaves with the next assignment."""
    page, old, new = Page(), object(), object()
    page.assign({"q": old})
    page.update("q", some_families(value=1), owner=old)
    page.update("/program", some_families(queue="program"))
    page.assign({"q": new})
    page.update("q", some_families(value=2), owner=old)
    page.update("q", some_families(value=3))
    started = ("queuemedic_host_started_jobs", frozenset({("queue", "q"), ("host", "web1")}))
    assert samples(page)[started] == 1
    page.update("q", some_families(value=4), owner=new)
    assert samples(page)[started] == 4
    page.assign({})
    page.update("q", some_families(value=5), owner=new)
    assert started not in samples(page)
    assert ("queuemedic_up", frozenset({("queue", "program")})) in samples(page)
