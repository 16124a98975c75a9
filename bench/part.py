"""What every part is given: how large, how often, and whether it is a full run whose budgets are judged."""

from dataclasses import dataclass

from .lines import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of a run; `is_quick` is for seeing that a part works, and judges nothing."""

    rows: int = 1_000_000
    rounds: int = 7
    is_quick: bool = False

    def budgets(self, promised: dict[tuple[str, str], Budget]) -> dict[tuple[str, str], Budget]:
        """Return the budgets that this size is held to."""
        return {} if self.is_quick else promised
