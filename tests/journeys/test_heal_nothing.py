"""Whoever asks for nothing gets nothing: an empty list or filter, a script's unset variable, never means everything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .test_heal import Site, Worker, hire

__all__ = ["hire"]

LIVING, DEAD = [1], [2, 3]


@pytest.fixture
def site(tmp_path: Path, hire: Callable[[], Worker]) -> Site:
    """A queue with two jobs whose workers are dead."""
    made = Site(tmp_path)
    made.lose(hire(), hire(), hire())
    return made


def test_an_empty_choice_puts_nothing_back(site: Site) -> None:
    """Each option with an empty value, alone and beside one that is not; not one row is written."""
    before = site.file.read_bytes()
    for option in ("--host", "--job", "--site", "--kind"):
        for more in ((), ("--accept-unknown",), ("--queue", "q")):
            done = site.run("heal", option, "", *more, "--apply", "--yes", "--json")
            assert (done.code, done.json["heals"]) == (0, []), (option, more, done)
    for option in ("--queue", "--started-before", "--started-after", "--date-range"):
        refused = site.run("heal", option, "", "--apply", "--yes")
        assert (refused.code, refused.out) == (2, ""), refused
    assert site.file.read_bytes() == before
    assert site.started() == [*LIVING, *DEAD]
    assert site.run("heal", "--apply", "--yes").code == 0
    assert site.started() == LIVING
