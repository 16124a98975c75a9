"""What is configured as nothing, or not at all, heals nothing: no statement that writes reaches the queue's table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.lab.watchdog import Watchdog

from .healing_benches import HOST, HealingBench, on_sqlite, played_host

WRITING = ("INSERT INTO jobs", "UPDATE jobs", "DELETE FROM jobs", 'UPDATE "jobs"')


@contextmanager
def spying() -> Iterator[list[str]]:
    """Gather the statements that write to the queue's table, whoever runs them."""
    found: list[str] = []

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith(WRITING):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def look_at(bench: HealingBench, *, changes: dict[str, Any], hosts: dict[str, Any], healing: dict[str, Any]) -> None:
    """Look three times, with time for both proofs."""
    config = bench.write_config(changes=changes, more_hosts=hosts, **healing)
    probes = {} if HOST in hosts else {HOST: played_host()}
    with Watchdog(config, probes) as dog:
        dog.look_twice()


NOTHING: dict[str, dict[str, Any]] = {
    "no mode": {"healing": {"mode": None}},
    "no windows at all": {"healing": {"windows": []}},
    "nobody is asked": {"hosts": {HOST: {}}},
    "no healing": {"changes": {"healing": {}}},
}


@pytest.mark.parametrize("given", NOTHING)
def test_nothing_is_not_everything(given: str, tmp_path: Path) -> None:
    """Two jobs have a dead worker, and stay."""
    bench = on_sqlite(tmp_path / "q")
    bench.kill(2)
    file = bench.folder / "jobs.db"
    before = file.read_bytes()
    with spying() as written:
        look_at(bench, **{"changes": {}, "hosts": {}, "healing": {}, **NOTHING[given]})
    assert written == []
    assert bench.table.file.read_bytes() == before  # type: ignore[attr-defined]


def test_an_empty_table_is_left_as_it_is(tmp_path: Path) -> None:
    """There is nothing to choose from."""
    bench = on_sqlite(tmp_path / "q")
    bench.table.sql("DELETE FROM jobs")
    with spying() as written:
        look_at(bench, changes={}, hosts={}, healing={})
    assert (written, bench.rows()) == ([], {})


def test_what_is_written_would_be_seen(tmp_path: Path) -> None:
    """One row a statement, and the two that are dead."""
    bench = on_sqlite(tmp_path / "q")
    dead = bench.kill(2)
    with spying() as written:
        look_at(bench, changes={}, hosts={}, healing={})
    assert bench.resets() == dict.fromkeys(dead, 1)
    assert len([one for one in written if "1 = 0" not in one]) == len(dead)
    assert all("id" in one for one in written if "1 = 0" not in one)
