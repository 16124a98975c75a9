"""Healing holds whatever happens, in whatever order: two watchdogs, and faults between any two of their steps."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from healers.ledger import Ledger

from .healing_dogs import address_of
from .healing_happenings import HAPPENINGS, PASS_MOMENTS, RESET_MOMENTS, ROW_HAPPENINGS
from .healing_machine import Healing
from .healing_world import PIDS


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger, made once."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"

    Ledger.open(address_of(path)).close()
    return path


@pytest.fixture
def machine(template: Path) -> Iterator[type[Healing]]:
    """The machine on a ledger of its own, telling nobody."""

    def drop(*_: object) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[drop])
    yield type("HealingHere", (Healing,), {"template": template})
    structlog.configure(processors=before)


SETTINGS: Final = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)


@pytest.mark.timeout(900)  # to find a shorter run that fails too
def test_healing_holds_in_any_order(machine: type[Healing]) -> None:
    """The same runs each time."""
    run_state_machine_as_test(
        machine, settings=settings(SETTINGS, derandomize=True, max_examples=35, stateful_step_count=30)
    )


@pytest.mark.parametrize("moment", RESET_MOMENTS)
def test_a_row_that_changes_as_it_is_put_back_is_left_alone(machine: type[Healing], moment: str) -> None:
    """Done, put back or claimed again with the same host and pid, or another healer comes first."""
    let_happen(machine, moment, ROW_HAPPENINGS)


@pytest.mark.long
@pytest.mark.parametrize("moment", PASS_MOMENTS)
def test_whatever_happens_at_any_moment_of_a_pass_healing_holds(machine: type[Healing], moment: str) -> None:
    """Each happening at each moment."""
    let_happen(machine, moment, HAPPENINGS)


def let_happen(machine: type[Healing], moment: str, happenings: tuple[str, ...]) -> None:
    """Let a worker die, and each of these happen while its row is put back."""
    for it in happenings:
        with closing(machine()) as one:
            one.lose_worker_and_change_row("web1", PIDS[1], moment, it)
            one.holds()
            one.teardown()


@pytest.mark.parametrize("comes_next", ["an hour", "a reboot"])
def test_a_worker_on_a_machine_that_was_replaced_keeps_its_row(machine: type[Healing], comes_next: str) -> None:
    """A copy answers under its name before anybody asked about it; the worker goes on where nobody can see it."""
    with closing(machine()) as one:
        one.begin_and_claim("web1", PIDS[1])
        one.world.replace("web1", is_clone=True, survives=True)
        one.all_go_rounds(5, "rex", {})
        if comes_next == "a reboot":
            one.world.reboot("web1")
        else:
            one.world.advance(3700)
        one.all_go_rounds(9, "rex", {})
        one.holds()
        one.teardown()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_healing_holds_in_thousands_of_orders(machine: type[Healing]) -> None:
    """Other runs each time."""
    run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=2000, stateful_step_count=60))
