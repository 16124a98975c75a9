"""A Matomo and a Meltano at work, with something of all that panels show: slow, stuck, orphaned, put back, failed.

Matomo is its tables of 5.7 on MariaDB, read through its own configuration; Meltano is its table on SQLite. Workers are
processes of this machine, and really die.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from exporter.queues.matomo.statements import SIGNALS
from tests.contracts.benches import SELECT, MatomoBench
from tests.contracts.meltano_bench import MeltanoBench, SqliteDatabase
from tests.contracts.reset_benches import MATOMO_GRANTS
from tests.lab import matomo
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import FAST, HEALING, HOST, HOSTS, Worker

VIEW = "CREATE SQL SECURITY DEFINER VIEW matomo_queuemedic_signals AS " + SIGNALS.format(option="matomo_option")
INI = """; <?php exit; ?>
[database]
host = "127.0.0.1"
port = {port}
username = "{username}"
password = "{password}"
dbname = "{database}"
tables_prefix = "matomo_"
[General]
maintenance_mode = 0
"""
OPTIONS = {
    "SharedSiteIdsToArchive_AllWebsites": "2,3",
    "ReArchiveList": "[1, 2, 3]",
    "report_to_invalidate_3_2026-10-31_435": "1",
}
SEEN_AT = ("LastFullArchivingStartTime", "LastCompletedFullArchiving", "CronArchive.lastInvalidationTime")
ELSEWHERE = "web09"
WORKER_BYTES = 64 << 20


class BusyQueues:
    """Both queues; `step` does a little work in each."""

    def __init__(self, server: MariaDb, database: str, folder: Path) -> None:
        self._server, self._database, self._folder = server, database, folder
        matomo.create_tables(server, database, version="5.7")
        self._sql(VIEW)
        for name, value in {**OPTIONS, **dict.fromkeys(SEEN_AT, str(int(time.time()) - 60))}.items():
            self._sql("INSERT INTO matomo_option (option_name, option_value) VALUES (%s, %s)", name, value)
        self._archives = MatomoBench(server, database)
        self._runs = MeltanoBench(SqliteDatabase(folder / "meltano.db"))
        self._held: list[str] = []
        self._run = self._runs.add("dev:tap-a-to-target")

    @contextmanager
    def workers(self) -> Iterator[Worker]:
        """Have one that lives, one that nobody can judge, and give one to be killed, whose job is then put back."""
        with Worker() as living, Worker() as dying:
            self._overlap()
            self._begin(host=HOST, pid=str(living.pid), ago="1s")
            self._begin(host=ELSEWHERE, pid="4711", ago="3m")
            self._begin(host=HOST, pid=str(dying.pid), ago="1s")
            yield dying

    def section(self) -> dict[str, Any]:
        """Return the configuration of both, and of this machine."""
        url = make_url(
            self._server.account(
                self._database,
                [SELECT, "SELECT ON matomo_queuemedic_signals", "SELECT ON matomo_archiving_metrics"],
            )
        )
        ini = self._folder / "config.ini.php"
        ini.write_text(
            INI.format(port=self._server.port, username=url.username, password=url.password, database=self._database)
        )
        healing = {**HEALING, "write_url": self._server.account(self._database, MATOMO_GRANTS)}
        limits = {"stuck_after": "2m", "timeout_after": "2m"}
        return {
            "queues": {
                "analytics": {
                    "system": "matomo",
                    "matomo_config": str(ini),
                    "breakdown_every": "1s",
                    "healing": healing,
                    **limits,
                    **FAST,
                },
                "pipelines": {"system": "meltano", "url": self._runs.database.url, "workers_on": [HOST], **FAST},
            },
            "hosts": {HOST: {**HOSTS[HOST], "worker_memory_limit": WORKER_BYTES}},
            "ledger": f"sqlite:///{self._folder}/ledger.db",
        }

    def step(self) -> None:
        """End what was begun at the last step, and begin anew; runs of Meltano succeed and fail in turn."""
        for job in self._held:
            self._archives.finish(job)
        self._held = self._archives.enqueue(3)
        for job in self._held[:2]:
            self._archives.start(job, host=ELSEWHERE, pid="4712", ago="1s")
        self._sql(
            "INSERT INTO matomo_archiving_metrics (idarchive, idsite, archive_name, date1, date2, period, ts_started,"
            " ts_finished, total_time, total_time_exclusive) VALUES (1, 1, 'done', '2026-01-01', '2026-01-01', 1,"
            " UTC_TIMESTAMP(), UTC_TIMESTAMP(), 1500, 1500)"
        )
        self._runs.end(self._run, "SUCCESS")
        self._runs.end(self._runs.add("dev:tap-b-to-target"), "FAIL")
        self._run = self._runs.add("dev:tap-a-to-target", started="4s")

    def _overlap(self) -> None:
        """Leave a week waiting that overlaps the overdue day, and a job that builds one report."""
        week = {"period": 2, "date1": "2025-12-29", "date2": "2026-01-04"}
        report = {"name": "donea5b0f2d4c8e7a9b1c3d5e7f9a1b3c5d7.Actions", "report": "Actions.getPageUrls"}
        matomo.insert_rows(self._server, self._database, week, report)

    def _begin(self, *, host: str, pid: str, ago: str) -> None:
        (job,) = self._archives.enqueue()
        self._archives.start(job, host=host, pid=pid, ago=ago)

    def _sql(self, statement: str, *values: object) -> None:
        self._server.sql(statement, *values, database=self._database)
