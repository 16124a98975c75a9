"""The parts, and what each is given: how large, how often, and whether it is a full run whose budgets are judged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.programs import NotInstalled

from .lines import RESULTS, Budget

PARTS: Final = ("poll", "scrape", "memory", "hosts", "queues", "heal", "start", "growth")
LONG: Final = ("soak",)
"""Those that run only by name."""
SAMPLES: Final = "soak_samples.csv"
QUICK: Final = {"rows": 5_000, "rounds": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of a run; `is_quick`: to see that a part works, no budget is judged; `is_alone`: without peers."""

    rows: int = 1_000_000
    rounds: int = 7
    minutes: float = 60.0
    into: Path = RESULTS
    is_quick: bool = False
    is_alone: bool = False

    def want_peers(self) -> None:
        """Raise NotInstalled if peers are to be left out."""
        if self.is_alone:
            raise NotInstalled("it was left out by --alone")

    def budgets(self, promised: dict[tuple[str, str], Budget]) -> dict[tuple[str, str], Budget]:
        """Return the budgets that this size is held to."""
        return {} if self.is_quick else promised
