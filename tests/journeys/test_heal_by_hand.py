"""What a person was shown is all that is put back, and only if it is still so: with hosts that say what they are told.

The two halves of `heal` are run in this process, with a real table and ledger, so that the world can change between.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter import clock
from exporter.log import configure
from healers.filters import Filter
from healers.runs import LOST_AFTER
from healers.situation import Person
from healers.views import show_pass
from queuemedic.by_hand import ByHand, Came
from tests.builders import a_process, no_answer
from tests.lab.queuemedic import Ended, run, write_config
from tests.lab.waiting import wait_until
from tests.lab.watchdog import PlayedHost, Watchdog, let_confirm

from .test_hosts import make_queue, rows

HEALING = {"heal_after": "1s", "confirm_after": "1s", "reset": {"b": None, "host": None, "pid": None}}
FILTER = Filter(hosts=frozenset({"web1"}))


class Desk:
    """A table, one played host and a ledger, at which a person heals."""

    def __init__(self, folder: Path, **columns: str) -> None:
        configure(level=logging.CRITICAL)
        self.folder = folder
        self.file = folder / "jobs.db"
        self.host = PlayedHost("web1")
        queue = {**make_queue(self.file), "healing": HEALING}
        self.sql(*(f"ALTER TABLE jobs ADD COLUMN {column} TEXT" for column in columns.values()))
        queue["columns"] |= columns
        self.ledger = f"sqlite:///{folder}/ledger.db"
        self.config = write_config(folder, {"q": queue}, hosts={"web1": {"via": "local"}}, ledger=self.ledger)

    def sql(self, *statements: str) -> None:
        """Change the table."""
        with closing(sqlite3.connect(self.file, timeout=10)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def start(self, *pids: int) -> None:
        """Add a job for each pid, begun ten minutes ago, whose worker lives."""
        made = "INSERT INTO jobs (a, b, host, pid) VALUES ('2026-01-01', datetime('now', '-10 minutes'), 'web1', {})"
        self.sql(*(made.format(pid) for pid in pids))
        self.host.processes |= {pid: a_process(pid, argv=("the-worker",), name="the-worker") for pid in pids}

    def lose(self, *pids: int) -> None:
        """Let `serve` see all workers alive, and then these die."""
        with Watchdog(self.config, {"web1": self.host}) as served:
            served.look()
        for pid in pids:
            del self.host.processes[pid]

    def started(self) -> list[object]:
        """Return the ids of the jobs that are started."""
        return [row[0] for row in rows(self.file) if row[2] is not None]

    def by_hand(
        self, *, accepts_unknown: bool = True, wait: Callable[[timedelta, str], None] = lambda _, __: let_confirm()
    ) -> ByHand:
        """Return a run of `heal --host web1 --apply`."""
        app = Watchdog(self.config, {"web1": self.host}).app
        person = Person(commanded_at=clock.now(), is_applied=True, accepts_unknown=accepts_unknown)
        return ByHand(app, person, FILTER, wait=wait)


def results(came: list[Came]) -> dict[str, str]:
    """Return what became of each job, and of a refused one why."""
    found = {}
    for one in came:
        assert one.made is not None, one.error
        for view in show_pass(one.made.plan, one.made.concluded, one.made.candidates, now=clock.now()):
            found[view.job_id] = view.refusal or view.result or ""
    return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk."""
    return Desk(tmp_path)


def test_a_host_that_falls_silent_after_the_plan_gives_up_nobody_by_a_persons_word(desk: Desk) -> None:
    """Shown was one job as dead; that all are unknown now makes none of them one that somebody vouched for."""
    desk.start(100, 200, 201)
    desk.lose(100)

    def wait(_: timedelta, __: str) -> None:
        let_confirm()
        desk.host.silence = no_answer()

    by_hand = desk.by_hand(wait=wait)
    assert results(by_hand.look()) == {"1": "planned"}
    assert results(by_hand.act()) == {"1": "unknown"}
    assert desk.started() == [1, 2, 3]


def test_a_worker_that_turns_out_to_live_after_the_plan_is_left(desk: Desk) -> None:
    """The hosts are asked once more whatever was shown; of what was vouched for, only what is unknown still goes."""
    desk.start(100, 200)
    desk.host.silence = no_answer()
    by_hand = desk.by_hand()
    assert results(by_hand.look()) == {"1": "planned", "2": "planned"}
    desk.host.silence = None
    del desk.host.processes[100]
    [came] = by_hand.act()
    assert "2" not in results([came])
    assert (came.alive, came.moved_on) == (1, 0)
    assert 2 in desk.started()


def test_what_came_after_the_plan_or_moved_on_is_not_touched(desk: Desk) -> None:
    """A job that another worker took meanwhile, and one that is new, were not shown."""
    desk.host.silence = no_answer()
    desk.start(100, 101, 102)
    by_hand = desk.by_hand()
    assert set(results(by_hand.look())) == {"1", "2", "3"}
    desk.sql("UPDATE jobs SET b = datetime('now'), pid = '300' WHERE id = 2")
    desk.start(400)
    [came] = by_hand.act()
    assert (results([came]), came.moved_on) == ({"1": "reset", "3": "reset"}, 1)
    assert desk.started() == [2, 4]


def test_a_queue_that_was_down_at_the_look_is_not_healed_afterwards(desk: Desk) -> None:
    """Nobody was shown anything of it."""
    desk.host.silence = no_answer()
    desk.start(100)
    hidden = desk.file.rename(desk.folder / "hidden.db")
    by_hand = desk.by_hand()
    assert [came.made for came in by_hand.look()] == [None]
    hidden.rename(desk.file)
    assert [came.made for came in by_hand.act()] == [None]
    assert desk.started() == [1]


def test_nobody_can_vouch_for_a_worker_whose_heart_beats(tmp_path: Path) -> None:
    """Heartbeats are watched first, for as long as one may be late; what stood still meanwhile may be put back."""
    desk = Desk(tmp_path, heartbeat_at="beat")
    desk.host.silence = no_answer()
    desk.start(100, 101, 102)
    desk.sql("UPDATE jobs SET beat = datetime('now', '-5 minutes') WHERE id < 3")
    waited: list[timedelta] = []

    def wait(span: timedelta, _: str) -> None:
        waited.append(span)
        due = clock.monotonic_seconds() + span.total_seconds()
        wait_until(lambda: clock.monotonic_seconds() >= due, within=2 * span.total_seconds(), what="the wait is over")
        desk.sql("UPDATE jobs SET beat = datetime('now') WHERE id = 2")

    by_hand = desk.by_hand(wait=wait)
    assert results(by_hand.look()) == {"1": "planned", "2": "unknown", "3": "planned"}
    assert [span >= LOST_AFTER for span in waited] == [True]
    assert results(by_hand.act()) == {"1": "reset", "2": "unknown", "3": "reset"}
    assert desk.started() == [2]


def test_without_a_ledger_a_second_round_proves_a_host(desk: Desk) -> None:
    """The worker that lives shows that the host is the one that the rows mean, which counts from the next round on."""
    desk.start(100, 101)
    del desk.host.processes[101]
    by_hand = desk.by_hand(accepts_unknown=False)
    assert results(by_hand.look()) == {"2": "planned"}
    assert results(by_hand.act()) == {"2": "reset"}
    assert desk.started() == [1]


class Tables:
    """Several queues, each with three jobs on a host that nobody can ask."""

    def __init__(self, folder: Path, *names: str, **sections: dict[str, Any]) -> None:
        self.files = {name: folder / f"{name}.db" for name in (*names, *sections)}
        queues = {name: {**make_queue(file), "healing": HEALING} for name, file in self.files.items()}
        for name, file in self.files.items():
            queues[name] |= sections.get(name, {})
            with closing(sqlite3.connect(file)) as connection, connection:
                began = "INSERT INTO jobs (a, b, host) VALUES ('2026-01-01', datetime('now', '-10 minutes'), 'away')"
                connection.executescript(f"{began};" * 3)
        self.config = write_config(folder, queues, ledger=f"sqlite:///{folder}/ledger.db")

    def heal(self, *arguments: str) -> Ended:
        """Vouch for all of them."""
        return run("--config", self.config, "heal", "--host", "away", "--accept-unknown", *arguments)

    def started(self) -> dict[str, int]:
        """Count the jobs that are started."""
        return {name: sum(row[2] is not None for row in rows(file)) for name, file in self.files.items()}


def counted(ended: Ended) -> Counter[tuple[str, str]]:
    """Count the results of each queue."""
    return Counter((one["queue"], one["result"]) for one in ended.json["heals"])


def test_the_limit_is_of_all_queues_together(tmp_path: Path) -> None:
    """What one queue takes is gone for the next."""
    tables = Tables(tmp_path, "a", "b", "c")
    looked = tables.heal("--limit", "4", "--json")
    assert counted(looked)["a", "planned"] == 3
    assert counted(looked)["b", "planned"] == 1
    done = tables.heal("--limit", "4", "--apply", "--yes", "--json")
    assert (done.code, tables.started()) == (0, {"a": 0, "b": 2, "c": 3})
    assert sum(one["refusal"] == "rate" for one in done.json["heals"]) == 5


def test_what_keeps_one_queue_keeps_no_other(tmp_path: Path) -> None:
    """Each says why; the exit code is of what is worst: 2, then 3."""
    tables = Tables(tmp_path, "a", "linked", "z", query={"from": {"sql": "SELECT * FROM jobs"}, "healing": {}})
    (tmp_path / "linked.db.queuemedic-lock").symlink_to(tmp_path / "nowhere")
    (tmp_path / "z.db").rename(tmp_path / "hidden.db")
    done = tables.heal("--apply", "--yes", "--json")
    found = counted(done)
    assert (found["a", "reset"], found["linked", "refused"], found["query", "refused"]) == (3, 3, 3)
    assert done.code == 2
    for said in ("linked.db.queuemedic-lock: the lock of healers", "query: queues.query.healing: ", "z: "):
        assert said in done.err
    (tmp_path / "hidden.db").rename(tmp_path / "z.db")
    assert tables.started() == {"a": 0, "linked": 3, "query": 3, "z": 3}


def test_a_queue_that_can_only_be_watched_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    """As nothing else is to be put back, nobody is."""
    tables = Tables(tmp_path, query={"from": {"sql": "SELECT * FROM jobs"}, "healing": {}})
    assert tables.heal().code == 1
    done = tables.heal("--apply")
    assert (done.code, done.err) == (2, "")
    assert "3 refused" in done.out
    assert "can only be watched; name a table" in done.out


def test_json_says_on_the_side_which_queue_is_down(tmp_path: Path) -> None:
    """Results are results; what could not be read is on standard error, with exit code 3."""
    tables = Tables(tmp_path, "a", "z")
    (tmp_path / "z.db").unlink()
    looked = tables.heal("--json")
    assert (looked.code, counted(looked)) == (3, {("a", "planned"): 3})
    assert looked.err.startswith("z: ")
    assert "z.db" in looked.err
