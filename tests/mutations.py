"""Take each safety rule out, one at a time, and see that a test turns red (`make mutations`).

A rule that can go without a test noticing is one that the next change may lose. Prints what each removal turned red, or
SURVIVED; exits 1 if anything survived, or if tests are red although nothing was taken out. Words choose among them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .mutants import MUTANT, RED, Mutant, list_mutants

AT_ONCE: Final = 2
TESTS_FAILED: Final = 1
LONGEST_SECONDS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run of tests came to: which were red, and whether it went as a run of tests does."""

    name: str
    red: tuple[str, ...]
    is_whole: bool

    @property
    def survived(self) -> bool:
        """Whether nobody noticed."""
        return not self.red or not self.is_whole

    def __str__(self) -> str:
        if not self.is_whole:
            return f"{self.name:45} BROKEN: the tests could not be run"
        if not self.red:
            return f"{self.name:45} SURVIVED"
        return f"{self.name:45} {len(self.red):4} red, such as {self.red[0].rpartition('::')[2]}"


def run_tests(tests: Collection[str], *, mutant: str = "") -> Run:
    """Run tests with a mutant, or without one."""
    with tempfile.TemporaryDirectory() as folder:
        red = Path(folder) / "red"
        red.touch()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants", "-m", "not long", *tests],
            env={**os.environ, MUTANT: mutant, RED: str(red)},
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        found = tuple(dict.fromkeys(red.read_text().splitlines()))
    is_whole = done.returncode == (TESTS_FAILED if found else 0)
    if not is_whole:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-2000:])
    return Run(name=mutant, red=found, is_whole=is_whole)


def run_all(mutants: Iterable[Mutant]) -> Iterator[Run]:
    """Run the tests of each mutant, some at once, in turn."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(lambda mutant: run_tests(mutant.tests, mutant=mutant.name), mutants)


def main(words: Collection[str] = ()) -> int:
    """Run all, or those whose name has one of the words; return the exit code."""
    mutants = [one for one in list_mutants() if not words or any(word in one.name for word in words)]
    faults = 0
    for tests in dict.fromkeys(one.tests for one in mutants):
        whole = run_tests(tests)
        if whole.red or not whole.is_whole:
            print(f"red although nothing was taken out: {' '.join(whole.red) or tests}", flush=True)
            faults += 1
    if faults:
        return 1
    for one in run_all(mutants):
        print(one, flush=True)
        faults += one.survived
    print(f"{len(mutants)} taken out, {faults} survived")
    return 1 if faults or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
