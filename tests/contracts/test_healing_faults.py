"""Healing while its ledger or its database fails: nothing without a durable intent, and on again once it is mended."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from healers.ledger.entries import Intent, IntentId
from healers.ledger.journal import Journal
from healers.outcomes import Outcome
from tests.lab import run
from tests.lab.mariadb import MariaDb
from tests.lab.proxy import Mode, Proxy
from tests.lab.waiting import wait_until
from tests.lab.watchdog import Watchdog, ledger_of, let_confirm, read_ledger

from .healing_benches import SYSTEMS, HealingBench, on_server, on_sqlite, opened, watch
from .test_healing_crashes import Worker

HEALERS = 8
JOBS = 5
NOBODY = 65534
EIO = "fsync,fdatasync:error=EIO:when=1+"

Events = list[MutableMapping[str, Any]]


@contextmanager
def tmpfs(folder: Path) -> Iterator[Path]:
    """Yield a folder on a disk of 4 MiB; mounting needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def blocked(dog: Watchdog) -> dict[str, float]:
    """Return what keeps jobs from being put back."""
    return {reason: number for reason, number in dog.page().values("blocked_heals", "reason").items() if number}


def names(events: Events) -> list[str]:
    """Return the names of events."""
    return [event["event"] for event in events]


def assert_put_back_once(bench: HealingBench, jobs: list[str], config: Path) -> None:
    """Hold the journal against the database: each job once, and every intent has an outcome."""
    assert bench.resets() == dict.fromkeys(jobs, 1)
    with ledger_of(config) as ledger:
        written = read_ledger(ledger)
    assert written.fault is None
    outcomes = [one.outcome for one in written.resets]
    assert set(outcomes) <= {Outcome.RESET, Outcome.FAILED, Outcome.LOST_RACE}
    assert sorted(str(one.intent.key.job_id) for one in written.resets if one.outcome is Outcome.RESET) == sorted(jobs)


def look_until_back(dog: Watchdog, bench: HealingBench, jobs: list[str]) -> None:
    """Look until the database has put all of these back."""
    dog.look_until(lambda: bench.resets().keys() >= set(jobs), what="all are put back", within=60)


def test_a_full_disk_stops_healing_until_there_is_room(tmp_path: Path) -> None:
    """The intent cannot be kept, so the job stays; the same run of the program goes on when there is room."""
    with tmpfs(tmp_path / "disk") as disk, capture_logs() as events:
        bench = on_sqlite(tmp_path / "q", ledger=disk / "ledger.db")
        jobs, before, config = bench.kill(), bench.rows(), bench.write_config()
        with watch(config) as dog:
            dog.look()
            let_confirm()
            with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
                while ballast.write(bytes(4096)):
                    pass
            dog.look()
            dog.look()
            assert bench.rows() == before
            assert blocked(dog) == {"ledger": 1}
            assert names(events).count("heal.hindered") == 1
            (disk / "ballast").unlink()
            look_until_back(dog, bench, jobs)
            dog.look()
            assert blocked(dog) == {}
        assert_put_back_once(bench, jobs, config)


def test_a_ledger_on_a_read_only_disk_stops_healing_until_it_is_writable(tmp_path: Path) -> None:
    """It cannot even be opened; polling and judging go on."""
    with tmpfs(tmp_path / "disk") as disk, capture_logs() as events:
        bench = on_sqlite(tmp_path / "q", ledger=disk / "ledger.db")
        jobs, before, config = bench.kill(), bench.rows(), bench.write_config()
        with ledger_of(config):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with watch(config) as dog:
            dog.look_twice()
            assert bench.rows() == before
            assert blocked(dog) == {"ledger": 1}
            assert dog.page().total("orphaned_jobs", queue="q") == 1
            assert names(events).count("ledger.failed") == 1
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            look_until_back(dog, bench, jobs)
            assert names(events).count("ledger.recovered") == 1
        assert_put_back_once(bench, jobs, config)


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process that runs the program."""
    with Worker() as made:
        yield made


def assert_hindered(
    worker: Worker, bench: HealingBench, mend: Callable[[], object], order: dict[str, Any]
) -> list[str]:
    """Let a process look twice, and heal once `mend` was called; return all events, and the errors of the first."""
    jobs, before, config = bench.kill(), bench.rows(), bench.write_config()
    worker.say({"config": str(config), "hinders": True, **order})
    saw = worker.hear()
    assert "ended" not in saw, worker.log[-3000:]
    assert (bench.rows(), saw["blocked"]) == (before, {"ledger": 1})
    with ledger_of(config) as ledger:
        assert read_ledger(ledger).resets == ()
    mend()
    worker.say({})
    healed = worker.hear()
    assert worker.hear() == {"ended": 0}, worker.log[-3000:]
    assert_put_back_once(bench, jobs, config)
    assert "job.reset" in healed["events"]
    return [*healed["events"], *saw["errors"]]


def test_syncs_that_fail_stop_healing_until_they_succeed(tmp_path: Path, worker: Worker) -> None:
    """An intent that is not surely on the disk is none: EIO, by strace, in a running program."""
    bench = on_sqlite(tmp_path / "q")
    with ledger_of(bench.write_config()):
        pass
    said = assert_hindered(worker, bench, lambda: None, {"inject": EIO})
    assert {"heal.hindered", "ledger.failed", "ledger.recovered"} <= set(said)
    assert any("dmesg" in text for text in said)


def test_a_ledger_of_somebody_else_stops_healing_until_it_is_given_away(worker: Worker) -> None:
    """Whose it is and how to give it away is said; it is used as soon as that was done."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    folder = run.scratch("owner")
    ledgers = folder / "state"
    ledgers.mkdir()
    bench = on_sqlite(folder / "q", ledger=ledgers / "ledger.db")
    with ledger_of(bench.write_config()):
        pass
    for path in (bench.folder, bench.folder / "jobs.db"):
        os.chown(path, NOBODY, NOBODY)

    def give_away() -> None:
        for path in (ledgers, *ledgers.iterdir()):
            os.chown(path, NOBODY, NOBODY)

    said = assert_hindered(worker, bench, give_away, {"is_nobody": True})
    assert "ledger.failed" in said
    assert any("sudo chown nobody:" in text for text in said)


@contextmanager
def at_intents(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> Iterator[None]:
    """Do something after the next intent, so right before its reset."""
    intend, once = Journal.intend, threading.Event()

    def intend_and(journal: Journal, intent: Intent) -> IntentId:
        number = intend(journal, intent)
        if not once.is_set():
            once.set()
            then()
        return number

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "intend", intend_and)
        yield
    assert once.is_set()


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread, to its end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(60)


def proxied(bench: HealingBench, proxy: Proxy) -> Path:
    """Configure that what is written goes through a proxy."""
    assert bench.write_url is not None
    return bench.write_config(write_url=make_url(bench.write_url).set(port=proxy.port).render_as_string(False))


def outcomes(dog: Watchdog) -> list[Outcome | None]:
    """Return what the journal says of each intent."""
    return [one.outcome for one in dog.written().resets]


def test_a_lost_reply_to_commit_is_found_out_by_the_next_pass(
    tmp_path: Path, mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the journal says that nobody knows; the row was put back, once."""
    with on_server(mariadb, tmp_path, has_ledger=False) as bench, Proxy(mariadb.port) as proxy:
        jobs, config = bench.kill(), proxied(bench, proxy)
        with watch(config) as dog:
            dog.look()
            let_confirm()
            with at_intents(monkeypatch, lambda: proxy.drop_replies_to(b"\x03COMMIT")):
                dog.look()
            assert outcomes(dog) == [Outcome.UNKNOWN]
            assert bench.resets() == dict.fromkeys(jobs, 1)
            assert dog.page().values("heals_total", "outcome", queue="q")["reset"] == 0
            proxy.mode = Mode.FORWARD
            dog.look()
            assert outcomes(dog) == [Outcome.RESET]
            assert dog.page().values("heals_total", "outcome", queue="q")["reset"] == 1
        assert_put_back_once(bench, jobs, config)


@pytest.mark.parametrize("has_committed", [True, False])
def test_a_server_killed_in_mid_commit(
    tmp_path: Path, private_mariadb: Callable[..., MariaDb], monkeypatch: pytest.MonkeyPatch, has_committed: bool
) -> None:
    """Before it took the COMMIT, or after, and restarted: the pass ends, and a later one finds out or does it again."""
    server = private_mariadb()
    with on_server(server, tmp_path, has_ledger=False) as bench, Proxy(server.port) as proxy:
        jobs, config = bench.kill(), proxied(bench, proxy)

        def kill_and_start() -> None:
            if has_committed:
                wait_until(lambda: proxy.lost > 0, within=30, what="it has answered the COMMIT")
            else:
                wait_until(lambda: proxy.swallowed > 0, within=30, what="the COMMIT is lost")
            server.kill()
            proxy.mode = Mode.FORWARD
            server.start()

        def lose_commit() -> None:
            if has_committed:
                proxy.drop_replies_to(b"\x03COMMIT")
            else:
                proxy.swallow(b"\x03COMMIT")

        with watch(config) as dog:
            dog.look()
            let_confirm()
            with at_intents(monkeypatch, lose_commit), meanwhile(kill_and_start):
                dog.look()
            assert bench.resets().total() == (1 if has_committed else 0)
            assert len(outcomes(dog)) == 1
            look_until_back(dog, bench, jobs)
            dog.look_until(lambda: Outcome.RESET in outcomes(dog), what="the outcome is known")
            expected = [Outcome.RESET] if has_committed else [Outcome.FAILED, Outcome.RESET]
            assert outcomes(dog) == expected
        assert_put_back_once(bench, jobs, config)


@pytest.mark.parametrize("system", SYSTEMS)
def test_of_eight_healers_at_once_one_puts_each_job_back(system: str, request: pytest.FixtureRequest) -> None:
    """Each with connections of its own, on one ledger; the journal has one reset for each job, and no loose end."""
    together = threading.Barrier(HEALERS)
    with opened(system, request) as bench:
        jobs = bench.kill(JOBS)
        before, config = bench.rows(), bench.write_config()
        with ledger_of(config):
            pass

        def heal(_: int) -> None:
            with watch(config) as dog:
                dog.look()
                let_confirm()
                for _ in range(3):
                    together.wait(60)
                    dog.look()
                look_until_back(dog, bench, jobs)

        with ThreadPoolExecutor(HEALERS) as pool:
            list(pool.map(heal, range(HEALERS)))
        assert bench.rows() == bench.put_back(before, jobs)
        assert_put_back_once(bench, jobs, config)
