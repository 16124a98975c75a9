"""What would keep every job from being put back, or budgets from being kept, is a fault of the configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.queues.meltano import MeltanoOptions
from healers.options import HostOptions, LedgerOptions
from healers.resets.meltano import MeltanoHealing
from queuemedic.building import make_resets
from queuemedic.config import Config, QueueSection


def faults(
    *,
    healing: Mapping[str, object] | None = None,
    workers_on: tuple[str, ...] = ("a",),
    hosts: Mapping[str, str] | None = None,
    keep: str = "400d",
) -> str:
    """Build what heals runs on these hosts, each with its `ask_every` and a timeout of 10 s; return what is said."""
    section = QueueSection(
        system="meltano",
        options=MeltanoOptions.model_validate(
            {"project": Path("/srv"), "url": "sqlite:////x", "workers_on": workers_on}
        ),
        healing=MeltanoHealing.model_validate({"mode": "dry_run", **(healing or {})}),
    )
    asked = {
        name: HostOptions.model_validate({"via": "local", "ask_every": every})
        for name, every in (hosts or {"a": "15s"}).items()
    }
    config = Config(
        queues={QueueName("runs"): section}, hosts=asked, ledger=LedgerOptions.model_validate({"keep": keep})
    )
    try:
        make_resets(config, no_ledger)
    except ConfigurationError as error:
        return str(error)
    return ""


def no_ledger() -> NoReturn:
    """Nothing is opened to look at a configuration."""
    raise AssertionError


@pytest.mark.parametrize(
    ("workers_on", "hosts", "found"),
    [
        (("a",), {"a": "259s"}, None),
        (("a",), {"a": "260s"}, "30s and a round of up to 4m30s must come"),
        (("a", "b"), {"a": "129s", "b": "15s"}, None),
        (("a", "b"), {"a": "15s", "b": "130s"}, "30s and rounds of up to 4m30s must come"),
        (("a", "b"), {"a": "15s", "b": "15s", "c": "259s"}, None),
    ],
)
def test_proofs_are_made_before_they_expire(
    workers_on: tuple[str, ...], hosts: dict[str, str], found: str | None
) -> None:
    """Hosts are asked out of step: a proof by several is as old as the oldest of their answers."""
    said = faults(workers_on=workers_on, hosts=hosts)
    assert said.startswith(f"queues.runs.healing.confirm_after: {found}") if found else said == ""


@pytest.mark.parametrize(
    ("keep", "healing", "found"),
    [
        ("24h", {}, None),
        ("23h", {}, "23h is less than queues.runs.healing.max_resets_per_job.within; write 1d or more"),
        ("1h", {"max_resets_per_job": {"within": "30m"}}, None),
        (
            "59m",
            {"max_resets_per_job": {"within": "30m"}},
            "59m is less than the hour of max_resets_per_hour; write 1h",
        ),
        ("1h", {"mode": "disabled"}, None),
    ],
)
def test_the_ledger_remembers_for_as_long_as_resets_are_counted(
    keep: str, healing: dict[str, object], found: str | None
) -> None:
    """Else a job would be put back without end."""
    said = faults(keep=keep, healing=healing)
    assert said.startswith(f"ledger.keep: {found}") if found else said == ""
