"""What a ledger still holds, and what it says, when its process, its disk or its server fails."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.errors import LedgerError
from exporter.store import Store
from healers.ledger import Ledger, RecordedReset
from healers.outcomes import Outcome
from tests.contracts.ledgers import QUEUE, a_key, address_of, an_intent, opened
from tests.lab.mariadb import MariaDb
from tests.lab.programs import NotInstalled, program
from tests.lab.proxy import Proxy

INTENTS = 3
MOST_SYNCS = 60
ROOT = Path(__file__).parents[2]


def worker(url: str, name: str, intents: int, *wrapped: str) -> subprocess.CompletedProcess[str]:
    """Run a process that writes to a ledger, and return what it said."""
    command = [*wrapped, sys.executable, "-m", "tests.contracts.ledger_worker", url, name, str(intents)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, cwd=ROOT, env=environment)


def strace(*injected: str) -> list[str]:
    """Return the command before a command that makes its system calls fail."""
    try:
        found = program("strace", package="strace")
    except NotInstalled as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    calls = "fsync,fdatasync"  # --seccomp-bpf would be quicker, but strace 6.1 then injects no signals
    return [found, "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", *injected]


def is_killed(ran: subprocess.CompletedProcess[str], url: str) -> bool:
    """Check what a killed writer has left, and tell whether it was killed before its end."""
    said = [(word, job) for word, _, job in (line.partition(" ") for line in ran.stdout.splitlines())]
    if ("done", "") in said:
        return False
    assert ran.returncode != 0, ran
    assert "Error" not in ran.stderr, ran.stderr
    with opened(address_of(url)) as ledger:
        assert ledger.journal.verify() is None
        found = {str(it.intent.key.job_id): it for it in ledger.journal.history() if isinstance(it, RecordedReset)}
        assert {job for word, job in said if word == "intended"} <= found.keys()
        assert {found[job].outcome for word, job in said if word == "concluded"} <= {Outcome.RESET}
        assert len(ledger.journal.open_intents(QUEUE)) <= 1
    return True


def test_a_writer_killed_at_any_sync_loses_no_intent(tmp_path: Path) -> None:
    """At each of them: the ledger opens, holds every intent that was said to be there, and its chain is whole."""

    def run(sync: int) -> subprocess.CompletedProcess[str]:
        return worker(url(sync), "j", INTENTS, *strace(f"inject=fsync,fdatasync:signal=KILL:when={sync}"))

    def url(sync: int) -> str:
        return f"sqlite:///{tmp_path}/{sync}.db"

    killed = 0
    with ThreadPoolExecutor(2) as pool:
        for begin in range(1, MOST_SYNCS, 2):
            syncs = (begin, begin + 1)
            ends = [is_killed(ran, url(sync)) for sync, ran in zip(syncs, pool.map(run, syncs), strict=True)]
            killed += sum(ends)
            if not all(ends):
                break
    assert 2 * INTENTS < killed < MOST_SYNCS


def test_no_intent_is_said_to_be_there_when_the_disk_fails(tmp_path: Path) -> None:
    """Where a sync fails, `intend` raises; what was said before is there."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert "done" in worker(url, "first", 1).stdout
    ran = worker(url, "second", INTENTS, *strace("inject=fsync,fdatasync:error=EIO:when=1+"))
    assert ran.stdout == ""
    assert "LedgerError" in ran.stderr
    assert "dmesg" in ran.stderr
    with opened(address_of(url)) as ledger:
        assert ledger.journal.verify() is None


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a folder on a disk of 256 KiB; mounting needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_intending_raises_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """The message says what to do; nothing that was said to be there is lost, and the chain is whole."""
    with small_disk(tmp_path / "disk") as disk:
        said = 0
        with opened(address_of(f"sqlite:///{disk}/ledger.db")) as ledger:
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - 16_384))
            with pytest.raises(LedgerError, match=r"make room|dmesg"):  # noqa: PT012  when it is full is not known
                for number in range(1000):
                    ledger.journal.intend(an_intent(a_key(str(number))))
                    said += 1
            ballast.unlink()
            ledger.journal.intend(an_intent(a_key("after")))
            assert ledger.journal.verify() is None
            assert len(list(ledger.journal.history())) == said + 1


def test_on_a_read_only_disk_intending_raises(tmp_path: Path) -> None:
    """A disk that turned read-only is named; a ledger there cannot be opened for writing either."""
    with small_disk(tmp_path / "disk") as disk:
        address = address_of(f"sqlite:///{disk}/ledger.db")
        with opened(address):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(LedgerError, match="mounted read-only"):
            Ledger.open(address)


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    """Garbage under the ledger's name is no ledger, neither at the start nor while it is open."""
    path = tmp_path / "ledger.db"
    address = address_of(f"sqlite:///{path}")
    with opened(address) as ledger:
        ledger.journal.intend(an_intent())
        garbage = tmp_path / "garbage"
        garbage.write_bytes(b"garbage " * 1000)
        garbage.rename(path)
        for _ in range(2):
            with pytest.raises(LedgerError, match="was moved or replaced while it was open"):
                ledger.journal.intend(an_intent(a_key("2")))
    for beside in tmp_path.glob("ledger.db-*"):
        beside.unlink()
    for start in (Ledger.open, Ledger.open_read_only):
        with pytest.raises(LedgerError, match="not a database"):
            start(address)
    path.unlink()
    with opened(address) as ledger:
        assert list(ledger.journal.history()) == []


def test_a_missing_folder_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    """Nothing is made where nobody expects it."""
    with pytest.raises(LedgerError, match="there is no such folder; sudo install -d"):
        Ledger.open(address_of(f"sqlite:///{tmp_path}/missing/ledger.db"))


def test_a_ledger_of_somebody_else_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    """Who may not write to it reads whose it is, and how to change that."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    path = tmp_path / "ledger.db"
    with opened(address_of(f"sqlite:///{path}")):
        pass
    tmp_path.chmod(0o777)
    script = (
        "import os, sys; from tests.contracts.ledgers import address_of; from healers.ledger import Ledger\n"
        "from exporter.errors import LedgerError\n"
        "import healers.ledger.migrations\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: Ledger.open(address_of('sqlite:///ledger.db'))\n"
        "except LedgerError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "belongs to root" in ran.stdout
    assert "sudo chown nobody: ledger.db" in ran.stdout


def test_what_root_makes_belongs_to_whom_the_folder_does(tmp_path: Path) -> None:
    """A command run with sudo before the service's first start does not lock the service out."""
    if os.geteuid() != 0:
        pytest.skip("giving away needs root")
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with opened(address_of(f"sqlite:///{folder}/ledger.db")):
        assert {file.stat().st_uid for file in folder.iterdir()} == {65534}
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    """Both write all that they have to, to one chain, from the very making of the file."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with ThreadPoolExecutor(2) as pool:
        for ran in pool.map(lambda name: worker(url, name, 20), "ab"):
            assert "done" in ran.stdout, ran.stderr
    with opened(address_of(url)) as ledger:
        assert ledger.journal.verify() is None
        assert len(list(ledger.journal.history())) == 40


def test_a_lost_commit_leaves_the_intent_open(private_mariadb: Callable[..., MariaDb]) -> None:
    """Where the answer to COMMIT is lost `intend` raises; the ledger then works again, and its chain is whole."""
    server = private_mariadb()
    with server.database() as name, Proxy(server.port) as proxy:
        direct = server.root_url(name)
        through = address_of(direct.replace(f":{server.port}", f":{proxy.port}"))
        with opened(through):
            pass
        ledger = Ledger(Store(through, limit=timedelta(seconds=2)))
        ledger.journal.intend(an_intent(a_key("1")))
        proxy.drop_replies_to(b"\x03COMMIT")
        with pytest.raises(LedgerError, match="no answer within"):
            ledger.journal.intend(an_intent(a_key("2")))
        ledger.close()
        with opened(address_of(direct)) as ledger:
            assert [it.intent.key.job_id for it in ledger.journal.open_intents(QUEUE)] == ["1", "2"]
            assert ledger.journal.verify() is None


def test_a_server_that_is_killed_loses_no_intent(private_mariadb: Callable[..., MariaDb]) -> None:
    """While it is down `intend` raises; once it is back the same ledger goes on, with all that it had said."""
    server = private_mariadb()
    with server.database() as name, opened(address_of(server.root_url(name))) as ledger:
        for job in "12":
            ledger.journal.intend(an_intent(a_key(job)))
        server.kill()
        with pytest.raises(LedgerError):
            ledger.journal.intend(an_intent(a_key("3")))
        server.start()
        ledger.journal.intend(an_intent(a_key("4")))
        assert [it.intent.key.job_id for it in ledger.journal.open_intents(QUEUE)] == ["1", "2", "4"]
        assert ledger.journal.verify() is None
