"""What `make mutations` changes in alert rules is all there is to change, and a change that matters is noticed."""

from dataclasses import replace

from tests.conftest import installed
from tests.lab.programs import program

from .mutants import mutants_of
from .mutations import is_noticed, list_mutants, read_rules

RULE = {
    "alert": "A",
    "expr": 'max without (b) (rate(m{x=~"p|q",y="r"}[2h] offset 1d)) > 0.5 and (n == 1 or o) unless k <= 3600',
    "for": "5m",
    "keep_firing_for": "2m",
}
CHANGES = {
    "2h → 14400s": "[14400s]",
    "2h → 3600s": "[3600s]",
    "1d → 172800s": "offset 172800s",
    "1d → 43200s": "offset 43200s",
    "0.5 → 1": "> 1 and",
    "0.5 → 0.25": "> 0.25",
    "1 → 2": "n == 2",
    "1 → 0.5": "n == 0.5",
    "3600 → 7200": "<= 7200",
    "3600 → 1800": "<= 1800",
    "> → >=": ">= 0.5",
    "> → <": "< 0.5",
    "== → !=": "n != 1",
    "<= → <": "k < 3600",
    "<= → >": "k > 3600",
    "max → min": "min without",
    "without and (n == 1 or o)": "> 0.5 unless k <= 3600",
    "without or o": "(n == 1 )",
    "without what is left of or": "( o)",
    "without unless k <= 3600": "or o) ",
    'without x=~"p|q"': 'm{y="r"}',
    'x=~"p|q" without p': 'm{y="r",x=~"q"}',
    'x=~"p|q" without q': 'm{y="r",x=~"p"}',
    'without y="r"': 'm{x=~"p|q"}',
    "for 5m → 600s": "",
    "for 5m → 150s": "",
    "keep_firing_for 2m → 240s": "",
    "keep_firing_for 2m → 60s": "",
}


def test_every_part_of_a_rule_is_changed() -> None:
    """Each number and span both ways, each comparison, each condition and each matcher; nothing else of it."""
    found = {mutant.name.removeprefix("A: "): mutant.rule for mutant in mutants_of(RULE)}
    assert found.keys() == CHANGES.keys()
    for name, part in CHANGES.items():
        assert part in found[name]["expr"]
    for name in ("for 5m → 600s", "for 5m → 150s", "keep_firing_for 2m → 240s", "keep_firing_for 2m → 60s"):
        key, _, _, span = name.split()
        assert found[name][key] == span


def test_what_matters_is_noticed() -> None:
    """A limit that is doubled turns a test red; the rule as it is does not."""
    [doubled] = [mutant for mutant in list_mutants() if mutant.name == "QueuemedicTimeoutRateHigh: 0.2 → 0.4"]
    [rule] = [rule for rule in read_rules() if rule.get("alert") == "QueuemedicTimeoutRateHigh"]
    with installed():
        program("promtool", package="prometheus")
    assert is_noticed(doubled)
    assert not is_noticed(replace(doubled, rule=rule))
