"""A Matomo queue that `serve` heals: a database and a ledger of its own, and all that a test looks at.

    with Site(mariadb, tmp_path) as site:
        job = site.claim("web03", pid)
        with site.healing({"web03": web.options(**ASKED)}) as served:
            ...

Limits are as short as they may be, so that a wrong reset comes within `WITHIN_SECONDS` of whatever led to it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql.cursors

from exporter.jobs import JobId, QueueName
from healers.ledger import Ledger, RecordedRefusal, RecordedReset
from healers.outcomes import Outcome
from healers.probes.local import SCRIPT
from tests.contracts.ledgers import address_of
from tests.contracts.reset_benches import MATOMO_GRANTS
from tests.lab import matomo
from tests.lab.hosts import Host, Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Page, Serving, serving, write_config
from tests.lab.waiting import wait_until

QUEUE = QueueName("q")
TABLE = "matomo_archive_invalidations"
HEAL_AFTER_SECONDS, CONFIRM_AFTER_SECONDS, EVERY_SECONDS = 1, 2, 1
WITHIN_SECONDS = HEAL_AFTER_SECONDS + CONFIRM_AFTER_SECONDS + 2 * EVERY_SECONDS
SLACK_SECONDS = 15
"""For a busy machine: logins, polls and passes take their time."""
SEEN_SECONDS = 60.0
ASKED = {"pid_namespace": "own", "ask_every": f"{EVERY_SECONDS}s", "timeout": "3s"}

CONSOLE = "/srv/matomo/console"
NEVER = "/etc/never"
WORKER = ("sh", "-c", f"read line <{NEVER}", CONSOLE, "core:archive")
"""A process with an archiver's command line, and without children: it opens a pipe that nobody writes to."""

Row = dict[str, Any]


class Site:
    """One Matomo of a test; its reader and its writer may do what documentation says that they have to."""

    def __init__(self, server: MariaDb, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.ledger = f"sqlite:///{folder / 'ledger.db'}"
        self.claimed = 0
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        self.database = self._undo.enter_context(self.server.database())
        matomo.create_tables(self.server, self.database)
        self.url = self.server.account(self.database, ["SELECT ON *"])
        self.write_url = self.server.account(self.database, MATOMO_GRANTS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    # Rows

    def claim(self, host: str | None, pid: int | str | None, **row: object) -> int:
        """Add a job that a worker has just started, and return its id; no two are the same job to Matomo."""
        self.claimed += 1
        claimed = {"status": 1, "ts_started": timedelta(0), "processing_host": host, "process_id": pid}
        name = f"done{self.claimed:032x}"
        return matomo.insert_rows(self.server, self.database, {"name": name, **claimed, **row})[0]

    def add_bystanders(self) -> None:
        """Add jobs that nothing may happen to: one that waits, and those whose workers nobody can judge."""
        matomo.insert_rows(self.server, self.database, {"name": f"done{'b' * 32}"})
        self.claim("elsewhere", 4380)
        self.claim(None, None)
        self.claim("elsewhere", "no pid")
        self.claim("elsewhere", 4381, ts_started=None)

    def row(self, job: int) -> Row:
        """Return the whole row of a job."""
        with self.server.connect(self.database) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"SELECT * FROM {TABLE} WHERE idinvalidation = %s", (job,))
            (row,) = cursor.fetchall()
            return dict(row)

    def remove(self, job: int) -> None:
        """Delete a row, as Matomo does when the job is done."""
        self.server.sql(f"DELETE FROM {TABLE} WHERE idinvalidation = %s", job, database=self.database)

    def contents(self, *, put_back: tuple[int, ...] = ()) -> dict[str, object]:
        """Return every row of every table, and the server's checksum of those tables that are as they were.

        `put_back`: jobs that are told as a reset would leave them.
        """
        return self.contents_on(self.server, put_back=put_back)

    def contents_on(self, server: MariaDb, *, put_back: tuple[int, ...] = ()) -> dict[str, object]:
        """Return the same of another server."""
        found: dict[str, object] = {}
        for (table,) in server.sql("SHOW TABLES", database=self.database):
            found[table] = sorted(map(repr, self._rows(server, table, put_back if table == TABLE else ())))
            if not put_back or table != TABLE:
                found[f"checksum of {table}"] = server.sql(f"CHECKSUM TABLE `{table}` EXTENDED", database=self.database)
        return found

    def _rows(self, server: MariaDb, table: str, put_back: tuple[int, ...]) -> Iterator[Row]:
        with server.connect(self.database) as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"SELECT * FROM `{table}`")
            for row in cursor.fetchall():
                is_back = row.get("idinvalidation") in put_back
                unset = {"status": 0, "ts_started": None, "processing_host": None, "process_id": None}
                yield {**row, **(unset if is_back else {})}

    # The program

    @contextmanager
    def healing(
        self,
        hosts: Mapping[str, Mapping[str, Any]],
        *,
        queue: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Iterator[Serving]:
        """Run `serve` on this queue; it has not met an exception until the end."""
        config = self.configure(hosts, queue=queue, **options)
        with serving(config, self.folder, environment=environment) as served:
            yield served
            assert "Traceback" not in served.log

    def configure(
        self, hosts: Mapping[str, Mapping[str, Any]], *, queue: Mapping[str, Any] | None = None, **options: Any
    ) -> Path:
        """Write the configuration; `options` are of healing, `queue` what else is to be said of the queue."""
        sections: dict[str, Any] = {QUEUE: self.section(**options) | dict(queue or {})}
        return write_config(self.folder, sections, hosts=dict(hosts), ledger={"url": self.ledger})

    def section(self, **options: Any) -> dict[str, Any]:
        """Return the queue's section of the configuration; every started job is stuck, so that refusals are counted."""
        return {
            "system": "matomo",
            "url": self.url,
            "poll_every": f"{EVERY_SECONDS}s",
            "poll_timeout": "10s",
            "stuck_after": "1s",
            "max_duty": 1,
            "healing": {
                "mode": "reset",
                "write_url": self.write_url,
                "heal_after": f"{HEAL_AFTER_SECONDS}s",
                "confirm_after": f"{CONFIRM_AFTER_SECONDS}s",
                **options,
            },
        }

    # The journal

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """Yield the ledger beside the running program."""
        with closing(Ledger.open(address_of(self.ledger))) as ledger:
            yield ledger

    def recorded(self, job: int) -> list[RecordedReset | RecordedRefusal]:
        """Return what the journal has about a job."""
        with self.opened() as ledger:
            return list(ledger.journal.history(queue=QUEUE, job=JobId(str(job))))

    def resets(self, job: int) -> list[RecordedReset]:
        """Return the resets of a job that were intended, whatever became of them."""
        return [one for one in self.recorded(job) if isinstance(one, RecordedReset)]

    def refusals(self, job: int) -> set[str]:
        """Return why a job was not put back."""
        return {one.reason for one in self.recorded(job) if isinstance(one, RecordedRefusal)}


def add_host(hosts: Hosts, name: str, **settings: Any) -> Host:
    """Make a host with the probe on it, and the pipe that workers wait at."""
    host = hosts.add(name, command="sh /etc/probe.sh", **settings)
    host.write("/etc/probe.sh", SCRIPT.read_text())
    host.call(["mkfifo", "--mode=644", NEVER])
    return host


def start_worker(host: Host, **how: Any) -> int:
    """Start a worker that waits for ever, and return its pid."""
    return host.spawn(WORKER, **{"user": "worker", **how})


def judged(served: Serving, host: str, verdict: str, reason: str, *, jobs: int = 1) -> Page:
    """Scrape until so many jobs of a host are judged so."""
    labels = {"host": host, "verdict": verdict, "reason": reason}
    return served.scrape_until("worker_verdicts", jobs, within=SEEN_SECONDS, queue=QUEUE, **labels)


def heals(page: Page) -> dict[str, float]:
    """Return the outcomes that happened, and how often."""
    return {outcome: number for outcome, number in page.values("heals_total", "outcome", queue=QUEUE).items() if number}


def outlast(served: Serving, *, seconds: float = WITHIN_SECONDS) -> Page:
    """Wait for a pass so much later that whatever is wrong now would have been put back; return the page after it."""
    until = time.time() + seconds

    def has_passed() -> Page | None:
        page = served.scrape()
        passed_at = page.value("heal_pass_timestamp_seconds", queue=QUEUE)
        return page if passed_at is not None and passed_at > until else None

    return wait_until(has_passed, within=seconds + SEEN_SECONDS, what="a pass long after", every_seconds=0.25)


def assert_healed_once(site: Site, served: Serving, original: Row, *, died_at: datetime, reason: str) -> RecordedReset:
    """Assert that the job of a row is put back in time, once, as the row that it was, for this reason."""
    job = original["idinvalidation"]
    (record,) = wait_until(
        lambda: [one for one in site.resets(job) if one.outcome is not None],
        within=WITHIN_SECONDS + SEEN_SECONDS,
        what=f"job {job} is put back",
    )
    assert record.outcome is Outcome.RESET
    assert record.concluded_at is not None
    assert record.concluded_at - died_at <= timedelta(seconds=WITHIN_SECONDS + SLACK_SECONDS)
    assert record.intent.reason == reason
    assert dict(record.intent.row) == original
    key = record.intent.key
    assert (key.host, key.pid_text) == (original["processing_host"], original["process_id"])
    first, second = record.intent.proofs
    assert (first.reason, second.reason) == (reason, reason)
    assert second.seen_at - first.seen_at >= timedelta(seconds=CONFIRM_AFTER_SECONDS)
    assert site.row(job) == original | {"status": 0, "ts_started": None, "processing_host": None, "process_id": None}
    page = outlast(served, seconds=2 * EVERY_SECONDS)
    assert site.resets(job) == [record]
    assert page.total("orphaned_jobs") == 0
    return record


def now() -> datetime:
    """Return the wall clock, as the journal is dated."""
    return datetime.now(UTC)


def copy_of(host: Host, hosts: Hosts, name: str, *, machine_id: str | None) -> Host:
    """Make another machine that goes by the same name and has the same host key."""
    copy = add_host(hosts, name, hostname=host.hostname, machine_id=machine_id)
    copy.copy_host_key(host)
    copy.stop_sshd()
    copy.start_sshd()
    return copy
