"""The ledger of a running program: one at a time, and none that is slow holds up who only wants to know."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import ConfigurationError, LedgerError
from healers.beliefs import Beliefs
from healers.ledger import Ledger
from queuemedic import keeper as keeper_module
from queuemedic.config import Config
from queuemedic.keeper import Keeper, open_ledger
from tests.unit.config_files import read


def configured(folder: Path, ledger: str) -> Config:
    """Return a configuration that names a ledger."""
    text = f"ledger: {ledger}\nqueues:\n  mails: {{system: memory}}\n"
    return read(folder, text)


@pytest.fixture
def beliefs() -> Beliefs:
    """What nobody has seen yet."""
    return Beliefs([])


@pytest.fixture
def keeper(tmp_path: Path, beliefs: Beliefs) -> Iterator[Keeper]:
    """One that keeps a ledger in a file."""
    kept = Keeper(configured(tmp_path, f"sqlite:///{tmp_path}/a.db"), get_beliefs=lambda: beliefs)
    yield kept
    kept.close(within_seconds=5)


def test_another_ledger_is_refused_once_one_is_open(keeper: Keeper, tmp_path: Path) -> None:
    """A pause in the other would stop nobody; before that, it is simply used. How long to keep is no other ledger."""
    other = configured(tmp_path, f"sqlite:///{tmp_path}/b.db")
    keeper.refuse_other(other)
    keeper.use(other)
    assert keeper.get().place == f"{tmp_path}/b.db"
    with pytest.raises(ConfigurationError, match=r"the program keeps .*b\.db until it ends"):
        keeper.refuse_other(configured(tmp_path, f"sqlite:///{tmp_path}/a.db"))
    keeper.refuse_other(configured(tmp_path, f"{{url: 'sqlite:///{tmp_path}/b.db', keep: 200d}}"))


def test_who_asks_does_not_wait_for_a_ledger_that_hangs(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload goes on; what was opened for the configuration before is not used after it."""
    opening, goes_on = threading.Event(), threading.Event()

    def open_slowly(config: Config, environment: dict[str, str]) -> Ledger:
        opening.set()
        assert goes_on.wait(20)
        return open_ledger(config, environment)

    monkeypatch.setattr(keeper_module, "open_ledger", open_slowly)
    faults: list[str] = []

    def get() -> None:
        try:
            keeper.get()
        except LedgerError as error:
            faults.append(str(error))

    thread = threading.Thread(target=get)
    thread.start()
    assert opening.wait(20)
    other = configured(tmp_path, f"sqlite:///{tmp_path}/b.db")
    keeper.refuse_other(other)
    keeper.use(other)
    goes_on.set()
    thread.join(20)
    assert faults == [f"{tmp_path}/a.db: another ledger is configured by now, and is opened next"]
    assert keeper.get().place == f"{tmp_path}/b.db"
