"""What is shortened, what is not, and what is refused because nobody has said which of both it is."""

from pathlib import Path

import pytest
import yaml

from tests.rules.shipped import ALERTS, RULE_FILES

from .scale import limit, shorten, shorten_expression, shorten_routes, shorten_rules


def test_spans_are_shortened() -> None:
    """An hour is ten seconds."""
    assert [shorten(span) for span in ("1h", "2d", "2m", "30s")] == ["10000ms", "480000ms", "333ms", "83ms"]
    assert [limit(span) for span in ("1h", "24h", "30s")] == ["10s", "4m", "1s"]


@pytest.mark.parametrize(
    ("expression", "shorter"),
    [
        ("rate(jobs_total[30m])", "rate(jobs_total[5000ms])"),
        ("queue:jobs:rate30m[1d:5m] offset 2d", "queue:jobs:rate30m[240000ms:833ms] offset 480000ms"),
        ('a{limit="run_expected_every"} > 3600 <= 86400', 'a{limit="run_expected_every"} > 10 <= 240'),
        ("time() - max(a_seconds) > 7200 + 21600", "time() - max(a_seconds) > 20 + 60"),
        ("list_bytes > 64 <= 10000", "list_bytes > 64 <= 10000"),
        ("1.5 * a > 500", "1.5 * a > 500"),
        ('up{job=~".*3600.*"} == 0', 'up{job=~".*3600.*"} == 0'),
    ],
)
def test_an_expression_keeps_what_is_no_time(expression: str, shorter: str) -> None:
    """Names, texts, counts and bytes stay."""
    assert shorten_expression(expression) == shorter


@pytest.mark.parametrize("expression", ["a_seconds > 900", "jobs > 5000", "1209600 < a"])
def test_a_number_that_nobody_has_thought_of_is_refused(expression: str) -> None:
    """It may be seconds."""
    with pytest.raises(ValueError, match="seconds, or a number of something"):
        shorten_expression(expression)


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_rules_differ_in_time_alone(file: Path) -> None:
    """Names, labels and texts are those that are shipped."""
    text = file.read_text()
    shipped, shorter = yaml.safe_load(text), yaml.safe_load(shorten_rules(text))
    for tree in (shipped, shorter):
        for rule in (rule for group in tree["groups"] for rule in group["rules"]):
            for key in ("expr", "for", "keep_firing_for"):
                rule.pop(key, None)
    assert shorter == shipped


def test_routes_differ_in_time_alone() -> None:
    """Who is told, and what is silenced, is as it is shipped."""
    text = (ALERTS / "alertmanager.yml").read_text()
    shipped, shorter = yaml.safe_load(text), yaml.safe_load(shorten_routes(text))
    assert shorter["route"]["repeat_interval"] == "120000ms"
    assert shorter["route"]["routes"][2]["group_wait"] == "28ms"
    for tree in (shipped, shorter):
        for route in (tree["route"], *tree["route"]["routes"]):
            for key in ("group_wait", "group_interval", "repeat_interval"):
                route.pop(key, None)
    assert shorter == shipped
