"""What can be taken out of the rules that keep healing safe, one at a time; and the plugin of pytest that takes it out.

Nothing of this is read by the program: `pytest -p tests.mutants` patches it before the tests are collected, by the name
in QUEUEMEDIC_MUTANT. A rule that is taken out stays in its place and never matches; so no test can tell by counting.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from exporter.jobs import Claim
from healers import guards, rules, runs
from healers.outcomes import Concluded, OriginalRow
from healers.resets.comparing import Condition
from healers.resets.memory import MemoryReset
from healers.resets.rows import NEVER, RowSql

MUTANT: Final = "QUEUEMEDIC_MUTANT"
RED: Final = "QUEUEMEDIC_RED_FILE"
JUDGING: Final = ("tests/unit/test_verdicts.py", "tests/unit/test_runs.py")
GUARDING: Final = ("tests/unit/test_guards.py", "tests/unit/test_plan.py")
CLAIMING: Final = ("tests/unit/test_claims.py", "tests/contracts/test_reset_contract.py", "-k")
IN_MEMORY: Final = (*CLAIMING, "memory or test_claims")
ON_SQLITE: Final = (*CLAIMING, "sqlite or test_claims")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One thing that is taken out, and the tests of which at least one has to notice."""

    name: str
    tests: tuple[str, ...]
    apply: Callable[[], None]


def list_mutants() -> Iterator[Mutant]:
    """List all there are, in the order in which the program has them."""
    places = ("state", "start time", "host", "pid", "rest")
    yield Mutant(name="compare-and-set: id", tests=ON_SQLITE, apply=_forget_id)
    for number, what in enumerate(places):
        yield Mutant(name=f"compare-and-set: {what}", tests=ON_SQLITE, apply=partial(_drop_condition, number))
    yield Mutant(name="compare-and-set: what the table lacks", tests=ON_SQLITE, apply=_drop_never)
    for what in ("is_started", "started", "host", "pid_text", "rests_on"):
        yield Mutant(name=f"memory: {what}", tests=IN_MEMORY, apply=partial(_blind_memory, what))
    for module, name, tests in (
        (rules, "QUESTION_RULES", JUDGING),
        (rules, "ANSWER_RULES", JUDGING),
        (runs, "RUN_RULES", JUDGING),
        (guards, "GUARDS", GUARDING),
    ):
        for number, rule in enumerate(getattr(module, name)):
            title = rule.__module__.rpartition(".")[2] if module is guards else rule.__name__.strip("_")
            apply = partial(_take_out, module, name, number)
            yield Mutant(name=f"{name}: {title}", tests=tests, apply=apply)


def pytest_configure() -> None:
    """Take out what the environment names."""
    name = os.environ.get(MUTANT)
    if name:
        next(mutant for mutant in list_mutants() if mutant.name == name).apply()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down each test that fails."""
    path = os.environ.get(RED)
    if path and report.failed:
        with Path(path).open("a") as red:
            red.write(f"{report.nodeid}\n")


def _take_out(module: ModuleType, name: str, number: int) -> None:
    every = list(getattr(module, name))
    every[number] = update_wrapper(lambda *_: None, every[number])
    setattr(module, name, tuple(every))


def _patch(of: type, name: str, function: object) -> None:
    setattr(of, name, function)


def _drop_condition(number: int) -> None:
    """Leave out the condition at this place; the last place is that of all further ones."""
    conditions = RowSql.conditions

    def dropped(self: RowSql, claim: Claim) -> Iterator[Condition]:
        for place, condition in enumerate(conditions(self, claim)):
            if min(place, 4) != number:
                yield condition

    _patch(RowSql, "conditions", dropped)


def _drop_never() -> None:
    conditions = RowSql.conditions
    _patch(RowSql, "conditions", lambda self, claim: (one for one in conditions(self, claim) if one is not NEVER))


def _forget_id() -> None:
    """Change rows whatever their id, but go on to read them by it."""
    put_back, same_id = RowSql.put_back, RowSql._same_id
    puts_back: list[bool] = []

    def forgetful(self: RowSql, *arguments: Any) -> int:
        puts_back.append(True)
        try:
            return put_back(self, *arguments)
        finally:
            puts_back.pop()

    _patch(RowSql, "put_back", forgetful)
    any_id = Condition(sql="1 = 1", bound={})
    _patch(RowSql, "_same_id", lambda self, form: any_id if puts_back else same_id(self, form))


def _blind_memory(what: str) -> None:
    """Let a reset in memory see what it was told instead of what is there."""
    reset, read = MemoryReset.reset, MemoryReset._read

    def blind(self: MemoryReset, claim: Claim) -> Concluded:
        def see(key: Any) -> OriginalRow | None:
            row = read(self, key)
            if row is None or what == "is_started":
                return row and replace(row, is_started=True)
            if what == "rests_on":
                return replace(row, claim=replace(row.claim, rests_on=claim.rests_on))
            told = {what: getattr(claim.key, what)}
            return replace(row, claim=replace(row.claim, key=replace(row.claim.key, **told)))

        self._read = see  # type: ignore[method-assign]
        try:
            return reset(self, claim)
        finally:
            del self._read

    _patch(MemoryReset, "reset", blind)
