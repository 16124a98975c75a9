"""Two watchdogs on one ledger: how soon the other goes on when the one that has the lock dies, freezes or is cut off.

Rows that somebody has locked keep the leader in the middle of its pass, with an intent that has no outcome yet. Who it
is, the server says: each watchdog writes by an account of its own. Where the server has no locks for healers (a node of
Galera), the ledger lends a lease, and says who has it.
"""

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from exporter.address import Address, normalise
from exporter.jobs import QueueName
from exporter.openers import IDLE_SECONDS
from healers.ledger import Ledger, RecordedReset
from healers.options import HealingOptions
from healers.outcomes import Outcome
from healers.resets.compare_and_set import SqlReset
from healers.resets.locks import MysqlLock
from healers.resets.matomo import make_matomo_reset
from healers.resets.table import TableHealing, make_table_reset
from tests.contracts.ledgers import address_of
from tests.contracts.reset_benches import BACK, MatomoResets
from tests.contracts.test_reset_lease import one_node
from tests.lab import matomo, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import FAST, HOST, HOSTS, OrphanQueue, Worker, on_mariadb, on_postgres
from tests.lab.queuemedic import Serving, serving
from tests.lab.waiting import wait_until

from .ways import Way

pytestmark = pytest.mark.timeout(240)

QUEUE = QueueName("q")
JOBS = 4
LIMIT_SECONDS = 2
AT_ONCE_SECONDS = 20.0
"""Two proofs were had by then: what is left is a poll, a pass and the rest after one that failed, on a busy machine."""
LEFT_SECONDS = 2 * LIMIT_SECONDS + IDLE_SECONDS
SEEN_SECONDS = 60.0
SOON = (("mariadb", "killed"),)
"""What is tried each time; the rest takes half a minute each."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """One watchdog, the account that it writes by, and its way to the server."""

    served: Serving
    account: str
    way: Way


@contextmanager
def queue_on(system: str, request: pytest.FixtureRequest) -> Iterator[OrphanQueue]:
    """Give a queue on a server of a system."""
    if system == "postgresql":
        with on_postgres(request.getfixturevalue("postgres")) as queue:
            yield queue
        return
    options = {"options": one_node()} if system == "lease" else {}
    server: MariaDb = request.getfixturevalue("private_mariadb")(**options)
    with server.database() as database:
        matomo.create_tables(server, database)
        with on_mariadb(server, database) as queue:
            yield queue


@contextmanager
def two_instances(queue: OrphanQueue, folder: Path) -> Iterator[list[Instance]]:
    """Run two watchdogs on one ledger."""
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    with ExitStack() as undo:
        made = []
        for number in range(2):
            way = undo.enter_context(Way(queue.server.port))
            own = folder / str(number)
            own.mkdir()
            url = make_url(queue.account(*queue.grants)).set(port=way.port)
            write_url = url.render_as_string(hide_password=False)
            section = queue.section(write_url=write_url, max_resets_per_job={"resets": 100})
            section |= {**FAST, "poll_timeout": f"{LIMIT_SECONDS}s"}
            config = queuemedic.write_config(own, {QUEUE: section}, hosts=HOSTS, ledger={"url": ledger})
            served = undo.enter_context(serving(config, own))
            made.append(Instance(served=served, account=str(url.username), way=way))
        yield made


@contextmanager
def rows_locked(queue: OrphanQueue) -> Iterator[Callable[[], None]]:
    """Keep every row locked until it is called."""
    with ExitStack() as undo:
        if isinstance(queue.server, MariaDb):
            connection = undo.enter_context(queue.server.connect(queue.database))
            connection.begin()
            connection.cursor().execute("SELECT * FROM matomo_archive_invalidations FOR UPDATE")
        else:
            url = queue.server.root_url(queue.database).replace("+psycopg", "")
            session = undo.enter_context(psycopg.connect(url))
            session.execute("SELECT * FROM jobs FOR UPDATE")
        yield undo.close


def leader_of(queue: OrphanQueue, instances: list[Instance], ledger: Path | None) -> Instance | None:
    """Return who holds the lock; `ledger` where it is a lease."""
    if ledger is not None:
        with closing(sqlite3.connect(ledger, timeout=10)) as connection:
            leases = connection.execute("SELECT holder, ends_at_ms FROM queuemedic_leases").fetchall()
        held = {pid_of(holder) for holder, ends_at in leases if ends_at > time.time() * 1000}
        return next((one for one in instances if one.served.process.pid in held), None)
    if isinstance(queue.server, MariaDb):
        lock = MysqlLock(Address(url=normalise(make_url(queue.url))), "`matomo_archive_invalidations`")
        statement = "SELECT user FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)"
        rows = [str(user) for (user,) in queue.server.sql(statement, lock._bound["name"])]
    else:
        statement = "SELECT usename FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
        rows = [str(user) for (user,) in queue.server.sql(statement)]
    return next((one for one in instances if one.account in rows), None)


def pid_of(holder: str) -> int:
    """Return the pid in the name of who has a lease: `host:pid/…`."""
    return int(holder.rpartition(":")[2].partition("/")[0])


def kill(leader: Instance) -> None:
    """SIGKILL: the system closes its connections."""
    leader.served.process.kill()
    leader.served.process.wait()


def freeze(leader: Instance) -> None:
    """SIGSTOP: its connections stay open, and its system goes on acknowledging what comes."""
    leader.served.process.send_signal(signal.SIGSTOP)


def cut_off(leader: Instance) -> None:
    """Nothing it sends arrives any more, and nobody tells the server."""
    leader.way.cut_off()


FATES: dict[str, tuple[Callable[[Instance], None], float]] = {
    "killed": (kill, AT_ONCE_SECONDS),
    "frozen": (freeze, LEFT_SECONDS + AT_ONCE_SECONDS),
    "cut off": (cut_off, LEFT_SECONDS + AT_ONCE_SECONDS),
}
"""What happens to the leader, and within how many seconds the other has put everything back."""


@pytest.mark.parametrize(
    ("system", "fate"),
    [
        pytest.param(system, fate, marks=() if (system, fate) in SOON else pytest.mark.long)
        for system in ("mariadb", "postgresql", "lease")
        for fate in FATES
    ],
)
def test_the_other_goes_on(system: str, fate: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Each job is put back once, and no intent is left without an outcome, whatever the old leader does later."""
    befall, within = FATES[fate]
    if system == "lease":
        within = LEFT_SECONDS + AT_ONCE_SECONDS
    with ExitStack() as undo:
        queue = undo.enter_context(queue_on(system, request))
        worker = undo.enter_context(Worker())
        jobs = [queue.start(worker.pid) for _ in range(JOBS)]
        instances = undo.enter_context(two_instances(queue, tmp_path))
        for one in instances:
            labels = {"host": HOST, "verdict": "alive", "reason": "running"}
            one.served.scrape_until("worker_verdicts", JOBS, within=SEEN_SECONDS, queue=QUEUE, **labels)
        let_go = undo.enter_context(rows_locked(queue))
        worker.kill()
        ledger = tmp_path / "ledger.db"
        find = partial(leader_of, queue, instances, ledger if system == "lease" else None)
        leader = wait_until(lambda: find() if open_intents(ledger) else None, within=SEEN_SECONDS, what="one leads")
        befall(leader)
        began = time.monotonic()
        let_go()
        wait_until(lambda: is_all_back(queue, jobs), within=within, what="the other has put all back")
        took = time.monotonic() - began
        print(f"{system}, {fate}: {took:.1f} s")
        if leader.served.process.poll() is None:
            leader.way.mend()
            leader.served.process.send_signal(signal.SIGCONT)
            outlive(leader)
        wait_until(lambda: not open_intents(ledger), within=within, what="every intent has an outcome")
        with closing(Ledger.open(address_of(f"sqlite:///{ledger}"))) as opened:
            resets = [one for one in opened.journal.history(queue=QUEUE) if isinstance(one, RecordedReset)]
            assert opened.journal.verify() is None
        done = Counter(str(one.intent.key.job_id) for one in resets if one.outcome is Outcome.RESET)
        assert done == dict.fromkeys(jobs, 1)


def open_intents(ledger: Path) -> int:
    """Count the intents that have no outcome, beside the running programs."""
    with closing(Ledger.open_read_only(address_of(f"sqlite:///{ledger}"))) as opened:
        return len(opened.journal.open_intents(QUEUE))


def is_all_back(queue: OrphanQueue, jobs: list[str]) -> bool:
    """Tell whether every job was put back."""
    return all(queue.bench.is_back(job) for job in jobs)


def outlive(leader: Instance) -> None:
    """Wait until who led before has polled and passed again."""
    after = time.time() + 3
    wait_until(
        lambda: (leader.served.scrape().value("heal_pass_timestamp_seconds", queue=QUEUE) or 0) > after,
        within=SEEN_SECONDS,
        what="it goes on",
    )


@pytest.mark.long
@pytest.mark.parametrize("system", ["mariadb", "postgresql"])
def test_a_lock_is_not_kept_by_who_says_nothing(system: str, request: pytest.FixtureRequest) -> None:
    """Frozen between two transactions, a healer would keep it for the hours for which servers keep a silent session."""
    with queue_on(system, request) as queue:
        frozen, other = (reset_of(queue) for _ in range(2))
        with frozen.lock(wait_seconds=0) as is_had:
            assert is_had
            with other.lock(wait_seconds=1) as is_had_too:
                assert not is_had_too
            with other.lock(wait_seconds=LEFT_SECONDS + AT_ONCE_SECONDS) as is_had_too:
                assert is_had_too


def reset_of(queue: OrphanQueue) -> SqlReset:
    """Return the write half of one healer, with a short limit."""
    limit = {"poll_timeout": timedelta(seconds=LIMIT_SECONDS)}
    bench = queue.bench
    if isinstance(bench, MatomoResets):
        healing = HealingOptions(mode="reset", write_url=make_url(bench.write_url))
        return make_matomo_reset(bench.options.model_copy(update=limit), healing)
    options = TableHealing.model_validate({"write_url": bench.write_url, "reset": BACK})
    return make_table_reset(bench.bench.options.model_copy(update=limit), options)
