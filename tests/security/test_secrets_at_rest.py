"""Where secrets could be left: a core file, a file that everybody may read, a list of processes, a log, an answer."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
import yaml

from queuemedic.exposed import find_exposed
from queuemedic.startup import load_config
from tests.lab import queuemedic
from tests.lab.sqlite_queue import FAST, make_queue
from tests.lab.waiting import wait_until

SECRET = "s3cret-of-the-url"
URL = f"mysql://reader:{SECRET}@127.0.0.1:9/jobs"
UNEXPECTED = """
import pymysql.connections
def fail(connection, *_, password, **others):
    raise RuntimeError("nobody expects this")
pymysql.connections.Connection.__init__ = fail
"""
"""An error in the middle of the driver, which has the password at hand, as has the code that called it."""


@pytest.fixture
def cores_allowed() -> Iterator[None]:
    """Whatever is started may leave a core file, as far as this account may allow it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.usefixtures("cores_allowed")
def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """Neither as a file nor in what a program is handed that `core_pattern` names."""
    config = queuemedic.write_config(tmp_path, {"q": make_queue(tmp_path / "q.db")})
    with queuemedic.serving(config, tmp_path) as served:
        process = Path(f"/proc/{served.process.pid}")
        [limit] = [line for line in (process / "limits").read_text().splitlines() if line.startswith("Max core")]
        assert limit.split()[-3:] == ["0", "0", "bytes"]
        assert int((process / "coredump_filter").read_text(), 16) == 0
        assert served.stop(signal.SIGABRT) == -signal.SIGABRT
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("core")] == []


def test_a_secret_from_a_file_is_nowhere_else(tmp_path: Path) -> None:
    """Neither in the environment nor in the arguments of the program, nor in a log, a page, a list or an error of it.

    The database cannot be reached, so each poll fails and is told.
    """
    (tmp_path / "url").write_text(URL + "\n")
    queues = {"lost": {"system": "matomo", "url_file": "url", **FAST}, "q": make_queue(tmp_path / "q.db")}
    config = queuemedic.write_config(tmp_path, queues, hosts={"web1": {"via": "local"}})
    ran = [queuemedic.run("--config", config, *words) for words in (["config", "show"], ["check"], ["check", "--json"])]
    with queuemedic.serving(config, tmp_path) as served:
        wait_until(lambda: "poll.failed" in served.log, within=20, what="a poll has failed")
        process = Path(f"/proc/{served.process.pid}")
        shown = [(process / name).read_text(errors="replace") for name in ("cmdline", "environ")]
        paths = ["/", "/queues/lost", "/metrics", "/api/v1/queues", "/api/v1/queues/lost/attempts", "/-/ready"]
        shown += [served.get(path).text for path in paths]
        shown += [served.log, *(one.out + one.err for one in ran)]
    assert any("127.0.0.1:9" in one for one in shown)
    assert not any(SECRET in one for one in shown)


def test_a_traceback_holds_no_secret(tmp_path: Path) -> None:
    """An error that nobody expects is told with its place in the code, and with nothing of what was at hand there."""
    (tmp_path / "sitecustomize.py").write_text(UNEXPECTED)
    (tmp_path / "url").write_text(URL)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    queues = {"lost": {"system": "matomo", "url_file": "url", "tables_prefix": "", **FAST}}
    config = queuemedic.write_config(tmp_path, queues)
    with queuemedic.serving(config, tmp_path, environment={"PYTHONPATH": path}) as served:
        wait_until(lambda: "RuntimeError: nobody expects this" in served.log, within=20, what="a poll has failed")
        assert "Traceback" in served.log
        assert ", in fail\n" in served.log
        assert SECRET not in served.log


def test_a_secret_from_the_environment_stays_there_for_all_of_this_account(tmp_path: Path) -> None:
    """Which is why the documents advise files: whoever may read the environment of a process has what is in it."""
    queues = {"q": {**make_queue(tmp_path / "q.db")}, "lost": {"system": "matomo", "url": "${URL}", **FAST}}
    config = queuemedic.write_config(tmp_path, queues)
    with queuemedic.serving(config, tmp_path, environment={"URL": URL}) as served:
        assert SECRET in Path(f"/proc/{served.process.pid}/environ").read_text()
        assert SECRET not in served.log + served.get("/").text


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own is its owner's alone."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def exposed(folder: Path, sections: object, *, mode: int = 0o640) -> list[str]:
    """Return what is said of the files of a configuration, without the folder."""
    file = folder / "queuemedic.yml"
    file.write_text(yaml.safe_dump(sections))
    file.chmod(mode)
    return [found.replace(f"{folder}/", "") for found in find_exposed(load_config(file))]


def test_files_that_everybody_may_open_are_named(folder: Path) -> None:
    """To read, where they hold a secret, and to write to, where they decide something; with the command that helps."""
    for name, mode in {"url": 0o644, "write": 0o604, "ledger.db": 0o646, "known": 0o666, "web.yml": 0o644}.items():
        (folder / name).touch()
        (folder / name).chmod(mode)
    (folder / "own").touch(0o600)
    host = {"via": "ssh", "address": "10.0.0.1", "user": "q", "key_file": "own", "known_hosts": "known"}
    healing = {"mode": "reset", "write_url_file": "write"}
    sections = {
        "queues": {
            "q": {"system": "matomo", "url_file": "url", "tables_prefix": "", "healing": healing},
            "r": {"system": "matomo", "url_file": "own", "tables_prefix": ""},
        },
        "hosts": {"web1": host},
        "ledger": f"sqlite:///{folder}/ledger.db",
        "web": {"config_file": "web.yml"},
    }
    assert exposed(folder, sections) == [
        "url: holds a secret, and everybody may read it (mode 0644); chmod o-r url",
        "write: holds a secret, and everybody may read it (mode 0604); chmod o-r write",
        "known: everybody may write to it (mode 0666); chmod o-w known",
        "ledger.db: everybody may write to it (mode 0646); chmod o-w ledger.db",
    ]


@pytest.mark.parametrize("password", ["p@ss", "plain"])
def test_a_configuration_with_a_password_in_it_is_a_secret(password: str, folder: Path) -> None:
    """Not so one that names a variable; and of a folder that others may not enter nothing is said."""
    sections = {"queues": {"q": {"system": "matomo", "url": f"mysql://r:{quote(password)}@db/m"}}}
    without = {"queues": {"q": {"system": "matomo", "url": "mysql://db/m"}}}
    said = "queuemedic.yml: holds a secret, and everybody may read it (mode 0644); chmod o-r queuemedic.yml"
    assert exposed(folder, sections, mode=0o644) == [said]
    assert exposed(folder, without, mode=0o644) == []
    folder.chmod(0o700)
    assert exposed(folder, sections, mode=0o644) == []


def test_what_is_exposed_is_told_at_the_start_and_by_the_check(folder: Path) -> None:
    """And is no fault: the program runs, and the check ends with 0."""
    (folder / "url").write_text(URL)
    (folder / "url").chmod(0o644)
    queues = {"q": {"system": "matomo", "url_file": "url", "tables_prefix": "", **FAST}}
    config = queuemedic.write_config(folder, queues)
    said = queuemedic.run("--config", config, "config", "check")
    assert said.code == 0
    url = folder / "url"
    assert said.err == f"warning: {url}: holds a secret, and everybody may read it (mode 0644); chmod o-r {url}\n"
    with queuemedic.serving(config, folder) as served:
        assert served.log.count("file.exposed") == 1
