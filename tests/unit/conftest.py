"""What several unit tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .passes import Bench, Make, open_ledger


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    """A maker of queues with a healer, on one ledger."""
    ledger = open_ledger(tmp_path / "ledger.db")
    yield lambda **options: Bench(ledger, **options)
    ledger.close()
