"""What people write into the ledger: into the one that `serve` reads, and so that it counts."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from healers.ledger.migrations import VERSION, VERSION_TABLE
from tests.lab.queuemedic import Ended, run, serving, write_config
from tests.lab.waiting import wait_until

from .test_healing_ledger import MAKE
from .test_hosts import make_queue, rows, start_job

HEALING = {"heal_after": "1s", "confirm_after": "1s", "reset": {"b": None, "host": None, "pid": None}}


class Site:
    """A table with a job of a host that nobody can ask, and nothing that was ever seen of it."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.file = folder / "jobs.db"
        self.queue = {**make_queue(self.file), "healing": HEALING}
        self.config = write_config(folder, {"q": self.queue}, **sections)
        start_job(self.file, 100, host="old-web")

    def run(self, *arguments: str) -> Ended:
        """Run a command as the service's own account."""
        return run("--config", self.config, *arguments, environment={"STATE_DIRECTORY": str(self.state)})


def with_ledger(folder: Path) -> Site:
    """Return a site whose configuration names its ledger."""
    return Site(folder, ledger=f"sqlite:///{folder}/ledger.db")


def test_a_host_that_nobody_watched_can_be_given_up(tmp_path: Path) -> None:
    """Its jobs are seen first, so that they are known to have been there when it was."""
    site = with_ledger(tmp_path)
    retired = site.run("hosts", "retire", "old-web", "--why", "scrapped")
    assert (retired.code, retired.err) == (0, "")
    assert retired.out == "old-web is retired, with 1 started job; an answer from it ends that\n"
    start_job(site.file, 101, host="old-web")
    done = site.run("heal", "--apply", "--yes", "--json")
    assert {one["job_id"]: one["result"] for one in done.json["heals"]} == {"1": "reset", "2": "refused"}
    assert [row[0] for row in rows(site.file) if row[2]] == [2]


def test_a_name_that_no_job_records_is_told(tmp_path: Path) -> None:
    """It may be mistyped; and a database that is down does not stop anybody."""
    site = with_ledger(tmp_path)
    retired = site.run("hosts", "retire", "odl-web", "--why", "scrapped")
    assert retired.code == 0
    assert "no started job records it: look whether the name is as rows write it (old-web)" in retired.out
    site.file.unlink()
    retired = site.run("hosts", "retire", "old-web", "--why", "scrapped")
    assert retired.code == 0
    assert retired.err.startswith("q: could not be read: ")


@pytest.mark.parametrize(
    "arguments", [["pause", "--why", "x"], ["resume"], ["hosts", "retire", "old-web", "--why", "x"]]
)
def test_a_ledger_that_nobody_named_is_not_begun_where_nobody_would_read_it(
    arguments: list[str], tmp_path: Path
) -> None:
    """A pause in a file of one's own stops nobody; where there is one at the default place, that is it."""
    site = Site(tmp_path)
    refused = site.run(*arguments)
    ledger = site.state / "ledger.db"
    right = "write ledger: in the configuration, so that serve and this command share one"
    assert (refused.code, refused.out, refused.err) == (2, "", f"{ledger}: there is no ledger; {right}\n")
    assert not site.state.exists()
    assert site.run("heal", "--host", "old-web", "--accept-unknown", "--apply", "--yes").code in (0, 4)
    assert ledger.exists()
    assert site.run(*arguments).code == 0


def test_history_can_tell_whether_anybody_changed_it(tmp_path: Path) -> None:
    """Entries are chained; what was changed by hand is named, with exit code 3."""
    site = with_ledger(tmp_path)
    missing = site.run("history", "--verify")
    assert missing.code == 3
    assert "there is no ledger yet" in missing.err
    wait_until(
        lambda: site.run("heal", "--host", "old-web", "--accept-unknown", "--apply", "--yes").code == 0,
        within=30,
        what="the job is old enough",
    )
    whole = site.run("history", "--verify")
    assert (whole.code, whole.out, whole.err) == (0, "the journal is whole\n", "")
    with closing(sqlite3.connect(tmp_path / "ledger.db", timeout=10)) as connection, connection:
        [(number,)] = connection.execute("SELECT min(number) FROM queuemedic_journal WHERE act = 'intent'").fetchall()
        connection.execute("UPDATE queuemedic_journal SET content = '{}' WHERE number = ?", (number,))
    changed = site.run("history", "--verify")
    assert (changed.code, changed.out) == (3, f"the journal is not whole: entry {number} was changed\n")
    assert "leave the others out" in site.run("history", "--verify", "--json").err


COMMANDS = (
    ["check"],
    ["history"],
    ["heal"],
    ["heal", "--host", "old-web", "--accept-unknown", "--apply", "--yes"],
    ["pause", "--why", "x"],
    ["resume"],
    ["hosts", "retire", "old-web", "--why", "x"],
)


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade every command says what would be right, and `serve` watches and heals nothing."""
    site = with_ledger(tmp_path)
    assert site.run("hosts", "retire", "old-web", "--why", "scrapped").code == 0
    ledger = tmp_path / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before, jobs = dump(ledger), rows(site.file)
    what = f"{ledger}: is a ledger of version 9999, made by a newer Queuemedic; this one knows up to {VERSION}: "
    right = "install the newer one, or restore a copy of the ledger from before"
    for command in COMMANDS:
        assert site.run(*command) == Ended(code=3, out="", err=f"{what}{right}\n")
    queue = {**site.queue, "healing": {**HEALING, "mode": "reset"}}
    config = write_config(tmp_path, {"q": queue}, ledger=f"sqlite:///{ledger}")
    with serving(config, tmp_path) as served:
        wait_until(lambda: "heal.hindered" in served.log, within=30, what="a pass has come to the ledger")
        polls = served.scrape().value("polls_total", queue="q", outcome="ok")
        assert polls is not None
        wait_until(
            lambda: (served.scrape().value("polls_total", queue="q", outcome="ok") or 0) > polls,
            within=30,
            what="it goes on watching",
        )
        assert served.log.count(right) >= 2
        assert served.stop() == 0
    assert (dump(ledger), rows(site.file)) == (before, jobs)


def dump(file: Path) -> list[str]:
    """Return all that is in a SQLite file."""
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_the_guide_grants_what_a_ledger_needs() -> None:
    """No less, and no more, than what was found to be enough on each server."""
    guide = Path("docs/howto/heal.md").read_text()
    for grant in (*MAKE["mariadb"], *MAKE["postgres"]):
        assert f"GRANT {grant.replace('ON *', 'ON queuemedic.*')} TO " in guide
