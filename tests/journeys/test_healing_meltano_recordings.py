"""System databases of real Meltano releases under healing: dead runs fail as Meltano itself fails a stale one.

All recordings are watched by one run of the program, side by side, so that their silence is waited for once.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from healers.outcomes import Outcome
from healers.probes.protocol import RunTrace, Trace
from healers.resets.meltano import ERROR
from healers.verdicts import Liveness, Reason
from tests.contracts.reset_benches import MELTANO_GRANTS
from tests.lab import queuemedic
from tests.lab.postgres import Postgres
from tests.lab.recordings import shared_or_skip
from tests.lab.watchdog import HEALING, PlayedHost, Watchdog, Written

LOST = (Liveness.DEAD, Reason.HEARTBEAT_LOST)
NEVER = (Liveness.DEAD, Reason.NEVER_INITIALISED)
ALIVE = (Liveness.ALIVE, Reason.RUNNING)
JUDGED = {
    "3.6.0-killed": {"1": LOST},
    "4.4.1-killed": {"2": LOST},
    "3.6.0-noheartbeat": {"2": NEVER},
    "4.4.1-noheartbeat": {"2": NEVER},
    "4.4.1-dblocked": {"2": LOST},
    "4.4.1-forced": {"2": LOST},
    "4.4.1-history": {"9": LOST},
    "4.4.1-postgres15": {"3": LOST, "4": LOST},
    "3.6.0-running": {"1": ALIVE},
    "4.4.1-running": {"2": ALIVE},
    "4.4.1-resurrected": {},
    "4.4.1-stalefailed": {},
}
HEALED = {name: set(judged) for name, judged in JUDGED.items() if LOST in judged.values() or NEVER in judged.values()}
LEFT = sorted(JUDGED.keys() - HEALED.keys())
DEAD_HOST, LIVE_HOST = "app01", "app02"
POSTGRES = "4.4.1-postgres15"
MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")

Rows = dict[str, dict[str, Any]]


class Database:
    """A copy of one recording: what is in it, by plain SQL."""

    def __init__(self, name: str, folder: Path) -> None:
        self.file = folder / f"{name}.db"
        shutil.copy(shared_or_skip("meltano") / f"meltano-{name}.db", self.file)
        self.section: dict[str, Any] = {"url": f"sqlite:///{self.file}"}

    def runs(self) -> Rows:
        """Return the runs."""
        with closing(sqlite3.connect(self.file)) as connection:
            connection.row_factory = sqlite3.Row
            return {str(row["id"]): dict(row) for row in connection.execute("SELECT * FROM runs")}

    def others(self) -> list[str]:
        """Return everything else."""
        with closing(sqlite3.connect(self.file)) as connection:
            return [line for line in connection.iterdump() if not line.startswith('INSERT INTO "runs"')]


class PostgresDatabase(Database):
    """The recorded dump, in a database of its own."""

    def __init__(self, server: Postgres, database: str) -> None:
        self._url = server.root_url(database).replace("+psycopg", "")
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute((shared_or_skip("meltano") / f"meltano-{POSTGRES}.sql").read_bytes())
        url, write_url = (server.account(database, grants) for grants in (["SELECT ON runs"], MELTANO_GRANTS))
        self.section = {"url": url, "healing": {"write_url": write_url}}

    def runs(self) -> Rows:
        with psycopg.connect(self._url, row_factory=dict_row) as connection:
            return {str(row["id"]): row for row in connection.execute("SELECT * FROM runs")}

    def others(self) -> list[str]:
        with psycopg.connect(self._url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            names = [name for (name,) in tables if name != "runs"]
            return [repr(connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall()) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """All recordings, before and after one run of the program, and what it has written down."""

    before: dict[str, Rows]
    after: dict[str, Rows]
    others_before: dict[str, list[str]]
    others_after: dict[str, list[str]]
    verdicts: dict[str, dict[str, tuple[Liveness, Reason]]]
    written: Written
    page: queuemedic.Page
    ended_at: datetime


def queue_of(name: str) -> str:
    """Name the queue of a recording."""
    return f"meltano-{name}"


def a_trace(run_id: str) -> RunTrace:
    """Return a process that has the log of a run open."""
    return RunTrace(pid=4711, trace=Trace.LOG, run=str(UUID(run_id)), states="S")


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Healed]:
    """Watch all recordings until those that are dead are put right, and look twice more."""
    folder = tmp_path_factory.mktemp("recordings")
    with ExitStack() as undo:
        # 30 s of silence are the unit tests' business; here a second is enough.
        undo.enter_context(pytest.MonkeyPatch.context()).setattr("healers.runs.LOST_AFTER", timedelta(seconds=1))
        databases = {name: Database(name, folder) for name in JUDGED if name != POSTGRES}
        databases[POSTGRES] = PostgresDatabase(postgres, undo.enter_context(postgres.database()))
        before = {name: database.runs() for name, database in databases.items()}
        others = {name: database.others() for name, database in databases.items()}
        live = PlayedHost(LIVE_HOST)
        running = {name: [run for run in before[name].values() if run["state"] == "RUNNING"] for name in JUDGED}
        live.traces = tuple(a_trace(run["run_id"]) for name in LEFT for run in running[name])
        queues = {
            queue_of(name): {
                "system": "meltano",
                "poll_every": "1s",
                "max_duty": 1,
                "workers_on": [LIVE_HOST if name in LEFT else DEAD_HOST],
                **database.section,
                "healing": {**HEALING, **database.section.get("healing", {})},
            }
            for name, database in databases.items()
        }
        hosts = {host: {"via": "local"} for host in (DEAD_HOST, LIVE_HOST)}
        config = queuemedic.write_config(folder, queues, hosts=hosts, ledger=f"sqlite:///{folder}/ledger.db")
        with Watchdog(config, {DEAD_HOST: PlayedHost(DEAD_HOST), LIVE_HOST: live}) as dog:
            verdicts: dict[str, dict[str, tuple[Liveness, Reason]]] = {name: {} for name in JUDGED}

            def all_are_put_right() -> bool:
                for name, found in verdicts.items():
                    found.update({str(job): it for job, it in dog.verdicts(queue_of(name)).items()})
                states = [databases[name].runs()[run]["state"] for name, runs in HEALED.items() for run in runs]
                return set(states) == {"FAIL"}

            dog.look_until(all_are_put_right, within=60, what="the dead runs have failed")
            dog.look_twice()
            yield Healed(
                before=before,
                after={name: database.runs() for name, database in databases.items()},
                others_before=others,
                others_after={name: database.others() for name, database in databases.items()},
                verdicts=verdicts,
                written=dog.written(),
                page=dog.page(),
                ended_at=datetime.now(UTC),
            )


@pytest.mark.parametrize("name", JUDGED)
def test_each_run_is_judged_by_its_hosts(healed: Healed, name: str) -> None:
    """Dead where every host says that nobody is at work on it, alive where one does."""
    assert healed.verdicts[name] == JUDGED[name]


@pytest.mark.parametrize("name", HEALED)
def test_a_dead_run_fails_as_meltano_fails_it(healed: Healed, name: str) -> None:
    """State, end and error are set, the bookmarks stay, and so does everything else of the row and of the database."""
    for run, row in healed.before[name].items():
        after = healed.after[name][run]
        if run not in HEALED[name]:
            assert after == row
            continue
        ended, payload = after["ended_at"], json.loads(after["payload"])
        if name != POSTGRES:
            assert MICROSECONDS.fullmatch(ended)
            ended = datetime.fromisoformat(ended)
        assert timedelta(0) <= healed.ended_at - ended.replace(tzinfo=UTC) < timedelta(minutes=2)
        assert payload == {**json.loads(row["payload"]), "error": ERROR}
        assert after == {**row, "state": "FAIL", "ended_at": after["ended_at"], "payload": after["payload"]}
    assert healed.others_after[name] == healed.others_before[name]


@pytest.mark.parametrize("name", LEFT)
def test_a_run_that_is_alive_or_over_is_left(healed: Healed, name: str) -> None:
    """However old its heartbeat; one that failed while alive, and went on, is over."""
    assert healed.after[name] == healed.before[name]
    assert healed.others_after[name] == healed.others_before[name]


def test_the_killed_run_is_left_as_meltano_left_it(healed: Healed) -> None:
    """The same run, failed by `meltano schedule list`: other words and another time, and nothing else differs."""
    by_meltano, by_us = healed.before["4.4.1-stalefailed"]["2"], healed.after["4.4.1-killed"]["2"]
    differing = {column for column in by_us if by_us[column] != by_meltano[column]}
    assert differing == {"ended_at", "payload"}
    payloads = [json.loads(row["payload"]) for row in (by_meltano, by_us)]
    assert [list(payload) for payload in payloads] == [["singer_state", "error"]] * 2
    assert payloads[0]["singer_state"] == payloads[1]["singer_state"]


def test_the_journal_has_one_reset_for_each(healed: Healed) -> None:
    """And nothing else; its chain is whole, and the page says the same."""
    expected = {(queue_of(name), run) for name, runs in HEALED.items() for run in runs}
    resets = healed.written.resets
    assert {(one.intent.queue, one.intent.key.job_id) for one in resets} == expected
    assert ({one.outcome for one in resets}, len(resets)) == ({Outcome.RESET}, len(expected))
    assert healed.written.fault is None
    assert healed.page.total("heals_total", outcome="reset") == len(expected)
