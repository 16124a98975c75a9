"""What a running program shows: from memory and at once, whatever its ledger does; and what is stale is not up."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter import clock
from exporter.errors import LedgerError
from exporter.showing import Glance
from exporter.views import ListedQueueView
from exporter.web.source import LookBack
from healers.ledger import Ledger
from queuemedic.app import App
from queuemedic.shown import FIRST_LOOK_SECONDS, LookingBack, make_source
from queuemedic.startup import load_config
from tests.lab.queuemedic import write_config
from tests.lab.sqlite_queue import add_jobs, make_queue
from tests.lab.waiting import wait_until


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A program that has read two queues once; only the first is healed, in rehearsal."""
    queues = {
        "first": make_queue(tmp_path / "first.db", waiting=2, stale_after="3s", healing={"mode": "dry_run"}),
        "second": make_queue(tmp_path / "second.db", waiting=0, stale_after="3s"),
    }
    for host in ("web1", "web1", "web2"):
        add_jobs(tmp_path / "first.db", started_on=host)
    with closing(sqlite3.connect(tmp_path / "first.db")) as connection, connection:
        connection.execute("UPDATE jobs SET b = datetime('now', '-3 hours') WHERE host = 'web2'")
    config = write_config(tmp_path, queues, ledger=f"sqlite:///{tmp_path}/ledger.db")
    made = App(load_config(config))
    made.poll_once()
    yield made
    made.close(within_seconds=5)


def settle(looking_back: LookingBack, *, is_fault: bool = False) -> LookBack:
    """Look until it has been looked."""

    def has_settled() -> LookBack | None:
        found = looking_back.get()
        return found if (found.fault is not None) == is_fault else None

    return wait_until(has_settled, within=10, what="the ledger was read")


def test_the_ledger_is_read_while_somebody_looks(app: App) -> None:
    """Not before, not for each look, and for reading only."""
    opened: list[Ledger] = []
    app.healing.keeper.get().brakes.pause(None, why="deploying", actor="anna", at=clock.now())

    def open_ledger() -> Ledger:
        opened.append(Ledger.open_read_only(app.healing.keeper.get()._store.address))
        return opened[-1]

    looking_back = LookingBack(app, open_ledger=open_ledger)
    assert opened == []
    wait_until(lambda: looking_back.get().pauses, within=10, what="the pause is seen")
    for _ in range(10):
        looking_back.get()
        wait_until(
            lambda: "looking-back" not in {one.name for one in threading.enumerate()}, within=10, what="it is read"
        )
    assert len(opened) == 1
    [pause] = looking_back.get().pauses
    assert (pause.queue, pause.why, pause.actor) == (None, "deploying", "anna")
    with pytest.raises(LedgerError, match="for reading only"):
        opened[0].brakes.resume(None)


def test_a_ledger_that_hangs_keeps_nobody(app: App) -> None:
    """Who looks sees what it said last, and one thread waits for it, however often is looked."""
    may_go_on, threads = threading.Event(), threading.active_count()

    def open_ledger() -> Ledger:
        may_go_on.wait(20)
        raise LedgerError("gone")

    looking_back = LookingBack(app, open_ledger=open_ledger)
    began = time.monotonic()
    for _ in range(100):
        assert looking_back.get() == LookBack(is_read=False)
    assert time.monotonic() - began < 10 * FIRST_LOOK_SECONDS
    assert threading.active_count() <= threads + 1
    may_go_on.set()
    assert settle(looking_back, is_fault=True).fault == "gone"
    assert looking_back.get().is_read


def test_nothing_is_opened_where_nothing_is_healed(tmp_path: Path) -> None:
    """And the page says so."""
    config = write_config(tmp_path, {"q": make_queue(tmp_path / "q.db")})
    app = App(load_config(config))
    looking_back = LookingBack(app, open_ledger=lambda: pytest.fail("opened"))
    assert looking_back.get() == LookBack(is_kept=False)
    app.close(within_seconds=5)


def test_queues_are_shown_as_they_are(app: App) -> None:
    """All of them listed, one with its jobs, the worst jobs first; of no other name anything."""
    source = make_source(app, LookingBack(app))
    first, second = source.list_queues()
    assert (first.queue, first.up, first.waiting, first.started, first.stuck) == ("first", True, 2, 3, 1)
    assert (first.orphaned, first.unjudged, first.stuck_alive) == (0, 3, 0)
    assert (first.healing is not None and first.healing.mode, second.healing and second.healing.mode) == (
        "dry_run",
        "disabled",
    )
    shown = source.show_queue("first")
    assert shown is not None
    assert {attempt.host for attempt in shown.attempts} == {"web1", "web2"}
    assert {attempt.verdict_reason for attempt in shown.attempts} == {"no_worker"}
    assert [attempt.host for attempt in source.worst_attempts("first", 2)] == ["web2", "web1"]
    assert [point.waiting for point in source.points("first")] == [2]
    assert source.show_queue("nobody") is None
    assert (len(source.worst_attempts("nobody", 5)), len(source.points("nobody"))) == (0, 0)


def test_a_glance_says_what_the_view_says(app: App, tmp_path: Path) -> None:
    """Of a queue in which something is stuck, one that is only watched, and one that was never read."""
    unread = App(load_config(write_config(tmp_path, {"unread": make_queue(tmp_path / "unread.db")})))
    same = [name for name in ListedQueueView.model_fields if name in Glance.__slots__ and name != "hosts"]
    for one in (app, unread):
        source = make_source(one, LookingBack(one))
        for seen, view in zip(source.glances(), source.list_queues(), strict=True):
            assert source.glance(view.queue) == seen
            assert {name: getattr(seen, name) for name in same} == {name: getattr(view, name) for name in same}
            ages = [kind.oldest_waiting_age_seconds for kind in view.kinds]
            assert seen.oldest_waiting_age_seconds == max(filter(None, ages), default=None)
            assert {host: (load.started, sum(load.stuck.values())) for host, load in seen.hosts.items()} == {
                load.host: (load.started, load.stuck) for load in view.hosts
            }
        assert source.glance("nobody") is None
    unread.close(within_seconds=5)


def test_what_is_stale_is_not_up(app: App) -> None:
    """Although no poll has failed; the last figures stay, and a reason is there."""
    source = make_source(app, LookingBack(app))
    assert source.list_queues()[0].up
    wait_until(lambda: not source.list_queues()[0].up, within=15, what="it is stale")
    for view in (source.list_queues()[0], source.show_queue("first"), source.glance("first")):
        assert view is not None
        assert (view.up, view.waiting) == (False, 2)
        assert view.error == "the last snapshot is stale, and no poll has ended since"
