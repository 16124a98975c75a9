"""No safety rule can be lost without a test that notices."""

import pytest

from healers.guards import GUARDS
from healers.rules import ANSWER_RULES, QUESTION_RULES
from healers.runs import RUN_RULES
from tests.mutants import list_mutants
from tests.mutations import main, run_tests


def test_every_rule_and_guard_is_taken_out_once() -> None:
    """By a name of its own, as it is how one is chosen."""
    names = [mutant.name for mutant in list_mutants()]
    assert len(names) == len(set(names))
    rules = [name for name in names if "RULES" in name or "GUARDS" in name]
    assert len(rules) == len(QUESTION_RULES) + len(ANSWER_RULES) + len(RUN_RULES) + len(GUARDS)


def test_what_nobody_tests_survives() -> None:
    """A run of tests that has nothing to do with a rule does not notice that it is gone."""
    survivor = run_tests(["tests/unit/test_labels.py"], mutant="GUARDS: pause")
    assert (survivor.survived, survivor.is_whole, str(survivor).split()[-1]) == (True, True, "SURVIVED")


def test_tests_that_cannot_be_run_have_noticed_nothing() -> None:
    """They say so, and count as a survivor."""
    broken = run_tests(["tests/unit/test_that_is_not_there.py"], mutant="GUARDS: pause")
    assert (broken.survived, broken.is_whole) == (True, False)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_rule_can_go_unnoticed() -> None:
    """Minutes: each rule, each guard and each condition of a reset."""
    assert main() == 0
