"""Change each rule in each way that `mutants` knows, and see that promtool's tests turn red (`make mutations`).

A number that can be doubled without a test noticing is one that nobody has tested. An alert is run on its own with the
recording rules, against the tests that name it; a changed recording rule against all. Prints each mutant that survives
and exits 1, but for those in EQUIVALENT, which has the reason; exits 1, too, if one of those is found after all.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from .instances import has_one_instance, with_other_instances
from .mutants import Mutant, Rule, mutants_of
from .shipped import RULE_FILES, TEST_FILES

AT_ONCE: Final = 2
THERE_ALL_ALONG: Final = "What was there for all of a span was there when it began."
TAKEN_OUT_LATER: Final = "The verdicts beside `alive` are taken out by the `unless` that follows."
JOINED: Final = "Both sides are joined by their job, so that either matcher alone will do."
PRESENCE: Final = "It is only looked whether there is any."
NOTHING_OF_NOTHING: Final = "Nothing divided by nothing is no number, which is above no limit."
EQUIVALENT: Final = {
    "QueuemedicNothingEnding: 0 → -1 #2": THERE_ALL_ALONG,
    "QueuemedicNothingEnding: > → >= #2": THERE_ALL_ALONG,
    "QueuemedicArchivingOnlySeemsCompleted: 0 → -1 #2": THERE_ALL_ALONG,
    "QueuemedicArchivingOnlySeemsCompleted: > → >= #2": THERE_ALL_ALONG,
    'QueuemedicJobRunsLong: without verdict="alive"': TAKEN_OUT_LATER,
    'QueuemedicJobStuck: without verdict="alive"': TAKEN_OUT_LATER,
    'QueuemedicInstanceDown: without job=~".*queuemedic.*"': JOINED,
    'QueuemedicInstanceDown: without job=~".*queuemedic.*" #2': JOINED,
    'QueuemedicHostWithoutLiveWorker: without verdict=~"dead|unknown"': TAKEN_OUT_LATER,
    "QueuemedicHealingStopped: max → min #3": PRESENCE,
    "QueuemedicWorkerHoldsTooManyJobs: max → min #2": PRESENCE,
    "QueuemedicHostImbalance: 0 → -1": NOTHING_OF_NOTHING,
    "QueuemedicHostImbalance: > → >=": NOTHING_OF_NOTHING,
}
"""Mutants that no test can tell from the rule, with the reason."""


def main(words: Collection[str] = ()) -> int:
    """Run all, or those whose name has one of the words; return the exit code."""
    mutants = [one for one in list_mutants() if not words or any(word in one.name for word in words)]
    every = {mutant.name for mutant in mutants}
    faults = [] if words else [f"{name}: is no mutant" for name in EQUIVALENT if name not in every]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for mutant, is_red in zip(mutants, threads.map(is_noticed, mutants), strict=True):
            if is_red == (mutant.name in EQUIVALENT):
                faults.append(f"{mutant.name}: {'is not equivalent' if is_red else 'SURVIVED'}")
                print(faults[-1], flush=True)
    print(f"{len(mutants)} changes, {len(faults)} faults, {len(every & EQUIVALENT.keys())} are equivalent")
    return 1 if faults or not mutants else 0


def list_mutants() -> Iterator[Mutant]:
    """Yield every mutant of every rule that is shipped."""
    for rule in read_rules():
        yield from mutants_of(rule)


@cache
def read_rules() -> list[Rule]:
    """Return the rules as they stand in their files."""
    files = [yaml.safe_load(file.read_text()) for file in RULE_FILES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def is_noticed(mutant: Mutant) -> bool:
    """Whether a test turns red."""
    rule, rules = mutant.rule, read_rules()
    if "alert" in rule:
        rules = [*(one for one in rules if one.get("record", "alert") in rule["expr"]), rule]
    else:
        rules = [rule if one.get("record") == rule["record"] else one for one in rules]
    tests = _tests_of(rule.get("alert"), among_others=" → m" in mutant.name)
    return not all(_passes(rules, file) for file in tests)


@cache
def _files_of_tests() -> list[dict[str, Any]]:
    return [yaml.safe_load(file.read_text()) for file in TEST_FILES]


def _tests_of(alert: str | None, *, among_others: bool) -> Iterator[dict[str, Any]]:
    """Yield each file of tests with the checks of one alert, or of all.

    Whether the largest or the smallest is taken can only be told with more instances, which make it slower.
    """
    for tests in _files_of_tests():
        groups = []
        for group in tests["tests"]:
            checks = [check for check in group["alert_rule_test"] if alert in (None, check["alertname"])]
            if checks:
                kept = {**group, "alert_rule_test": checks}
                groups.append(with_other_instances(kept) if among_others and has_one_instance(group) else kept)
        if groups:
            yield {**tests, "tests": groups}


def _passes(rules: list[Rule], tests: dict[str, Any]) -> bool:
    """Whether promtool finds that all is as the tests say."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "mutant", "rules": rules}]}))
        (folder / "tests.yml").write_text(json.dumps({**tests, "rule_files": ["rules.yml"]}))
        command = ["promtool", "test", "rules", str(folder / "tests.yml")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "error parsing" not in said, said
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
