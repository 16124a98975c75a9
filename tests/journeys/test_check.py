"""`check` and `config` as they are installed: what a person sees, and the exit code that a script goes by."""

import os
import re
import signal
import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.contracts.benches import SELECT
from tests.contracts.meltano_bench import MeltanoBench, SqliteDatabase
from tests.lab import matomo, queuemedic
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import QUEUEMEDIC

HOURS = timedelta(hours=3)


def insert_stuck(mariadb: MariaDb, database: str, **values: object) -> None:
    """Insert one waiting job and one that is started since three hours."""
    stuck = {"status": 1, "ts_started": HOURS, "processing_host": "web1", "process_id": "4380", **values}
    matomo.insert_rows(mariadb, database, {}, stuck)


def configure(mariadb: MariaDb, database: str, folder: Path) -> Path:
    """Write a configuration for the database, with an account that may only read."""
    url = mariadb.account(database, [SELECT])
    return queuemedic.write_config(folder, {"analytics": {"system": "matomo", "url": url}})


def test_nothing_stuck_is_exit_code_0(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """The first line says how it is."""
    matomo.insert_rows(mariadb, matomo_database, {}, {"status": 1, "ts_started": timedelta(minutes=1)})
    ended = queuemedic.run("--config", configure(mariadb, matomo_database, tmp_path), "check")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == "✓ analytics (matomo): nothing stuck; 1 started, 1 waiting"
    assert ended.err == ""


def test_a_stuck_job_is_exit_code_1_and_is_shown(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """With host, pid, age, and what it is about."""
    insert_stuck(mariadb, matomo_database, name="done.Actions", report="Actions_hits")
    ended = queuemedic.run("--config", configure(mariadb, matomo_database, tmp_path), "check")
    assert ended.code == 1, ended.err
    assert ended.out.splitlines()[0] == "✗ analytics (matomo): 1 of 1 started job stuck, 1 waiting"
    words = " ".join(ended.out.split())
    for word in ("web1", "4380", "3h ago", "site 1", "Actions_hits", "longer than 2h"):
        assert word in words
    assert "    on web1: ps -o pid,lstart,args -p 4380\n" in ended.out


def test_what_is_stuck_fits_80_columns_and_comes_first(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """Ten rows, how many more, and where to look for which processes; nothing that is not stuck among them."""
    for pid in range(4380, 4392):
        insert_stuck(mariadb, matomo_database, process_id=str(pid))
    insert_stuck(mariadb, matomo_database, ts_started=None, processing_host="web2", process_id="77")
    insert_stuck(mariadb, matomo_database, ts_started=timedelta(minutes=1), processing_host="web3")
    config = configure(mariadb, matomo_database, tmp_path)
    ended = queuemedic.run("--config", config, "check", environment={"COLUMNS": "80"})
    jobs = ended.out.split("\n\n")[0]
    assert jobs.splitlines()[0] == "✗ analytics (matomo): 13 of 14 started jobs stuck, 14 waiting"
    assert max(len(line) for line in ended.out.splitlines() if "ps -o" not in line) <= 80
    assert "… and 3 more stuck jobs; --json shows them all" in jobs
    assert "no start time" in jobs.splitlines()[3]
    assert "on web2: ps -o pid,lstart,args -p 77" in jobs
    assert "on web1: ps -o pid,lstart,args -p 4380,4381,4382,4383,4384,4385,4386,4387,4388,4389" in jobs
    assert "web3" not in jobs


@pytest.mark.parametrize(
    ("dimension", "names"),
    [("site", ["2", "1", "3"]), ("report", ["Actions.Actions_hits", "all reports"]), ("host", ["web2", "web1"])],
)
def test_started_jobs_are_grouped_by_what_is_asked(
    mariadb: MariaDb, matomo_database: str, tmp_path: Path, dimension: str, names: list[str]
) -> None:
    """The most stuck first; reports with the waiting ones."""
    report = {"name": "done.Actions", "report": "Actions_hits"}
    for site in (1, 2, 2):
        insert_stuck(mariadb, matomo_database, idsite=site, processing_host=f"web{site}", **report)
    minute = {"status": 1, "ts_started": timedelta(minutes=1), "processing_host": "web1", "process_id": "1"}
    matomo.insert_rows(mariadb, matomo_database, {**minute, "idsite": 3})
    config = configure(mariadb, matomo_database, tmp_path)
    ended = queuemedic.run("--config", config, "check", "--by", dimension)
    lines = ended.out.splitlines()
    assert (ended.code, lines[0]) == (1, "✗ analytics (matomo): 3 of 4 started jobs stuck, 3 waiting")
    assert [line.split("  ")[0].strip() for line in lines[3:] if line.strip()] == names
    (view,) = queuemedic.run("--config", config, "check", "--by", dimension, "--json").json["queues"]
    assert [group["name"] for group in view["groups"]] == names
    assert (sum(group["started"] for group in view["groups"]), sum(group["stuck"] for group in view["groups"])) == (
        4,
        3,
    )
    waiting = [group["waiting"] for group in view["groups"]]
    assert waiting == ([0, 3] if dimension == "report" else [None] * len(names))


def test_of_many_kinds_the_busiest_are_shown(tmp_path: Path) -> None:
    """And how many more there are."""
    meltano_folder(tmp_path)
    bench = MeltanoBench(SqliteDatabase(tmp_path / ".meltano" / "meltano.db"), is_new=False)
    for number in range(12):
        bench.add(f"job{number:02d}")
    bench.add("job11")
    shown = queuemedic.run("check", folder=tmp_path).out.splitlines()
    begin = next(index for index, line in enumerate(shown) if line.startswith(" kind "))
    assert shown[begin + 2].split()[:3] == ["job11", "0", "2"]
    assert shown[begin + 12] == "  … and 3 more kinds; --json shows them all"


def test_jobs_that_have_no_site_are_not_grouped_by_it(tmp_path: Path) -> None:
    """It says so."""
    meltano_folder(tmp_path)
    ended = queuemedic.run("check", "--by", "site", folder=tmp_path)
    assert (ended.code, ended.out.splitlines()[1]) == (1, "  Nothing to group: no started job has a site.")
    assert queuemedic.run("check", "--by", "colour", folder=tmp_path).code == 2
    shown = queuemedic.run("check", folder=tmp_path)
    assert re.search(r"dev:tap-to-target +1m\b.* ago +no heartbeat for \d+s *$", shown.out, re.MULTILINE)


def test_a_database_that_does_not_answer_is_exit_code_3(tmp_path: Path) -> None:
    """The other queues are shown all the same, and it goes before a stuck job."""
    config = queuemedic.write_config(
        tmp_path, {"gone": {"system": "matomo", "url": "mysql://u:hush@127.0.0.1:9/matomo", "poll_timeout": "1s"}}
    )
    ended = queuemedic.run("--config", config, "check")
    assert ended.code == 3
    assert "gone (matomo): could not be read" in ended.out
    assert "hush" not in ended.out + ended.err
    (view,) = queuemedic.run("--config", config, "check", "--json").json["queues"]
    assert (view["up"], view["read_at"], view["waiting"], view["attempts"]) == (False, None, None, [])
    assert view["error"]


def test_what_a_terminal_cannot_show_changes_no_exit_code(tmp_path: Path) -> None:
    """In a locale other than UTF-8 there are question marks, and no error that looks like a stuck job."""
    bench = MeltanoBench(SqliteDatabase(tmp_path / "meltano.db"))
    bench.add("dev:日本", heartbeat="0s")
    config = queuemedic.write_config(tmp_path, {"p": {"system": "meltano", "url": bench.database.url}})
    ended = queuemedic.run("--config", config, "check", environment={"PYTHONIOENCODING": "latin-1"})
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("? p (meltano): nothing stuck; 1 started, 0 waiting\n")
    assert "dev:??" in ended.out


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """Also while a database does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mysql://u:p@127.0.0.1:{silent.getsockname()[1]}/d"
        config = queuemedic.write_config(tmp_path, {"q": {"system": "matomo", "url": url}})
        with subprocess.Popen([QUEUEMEDIC, "--config", config, "check"], stderr=subprocess.PIPE) as check:
            connection, _ = silent.accept()
            with connection:
                check.send_signal(signal.SIGINT)
                assert check.wait(5) == 130


def test_a_fault_in_the_configuration_is_exit_code_2(tmp_path: Path) -> None:
    """Every fault with file, line and path, on standard error."""
    config = queuemedic.write_config(
        tmp_path, {"q": {"system": "matomo", "url": "mysql://h/d", "stuck_after": "5 min"}}
    )
    for command in (["check"], ["serve"], ["config", "check"], ["config", "show"]):
        ended = queuemedic.run("--config", config, *command)
        assert (ended.code, ended.out) == (2, "")
        assert re.search(r"queuemedic\.yml:\d+: queues\.q\.stuck_after: '5 min' is not a duration", ended.err)


def test_a_queue_that_is_not_there_is_exit_code_2(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """And it says which there are."""
    config = configure(mariadb, matomo_database, tmp_path)
    ended = queuemedic.run("--config", config, "check", "--queue", "analytcs")
    assert (ended.code, ended.out) == (2, "")
    assert "analytics" in ended.err
    assert queuemedic.run("--config", config, "check", "--queue", "analytics").code == 0


def test_hostile_rows_do_not_steer_the_terminal(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """Control characters are shown as codes, markup as it is."""
    insert_stuck(mariadb, matomo_database, processing_host="\x1b]0;owned\x07[bold]x\n\u202e", process_id="\x1b[2J")
    ended = queuemedic.run("--config", configure(mariadb, matomo_database, tmp_path), "check")
    assert ended.code == 1
    assert not any(char in ended.out for char in ("\x1b", "\x07", "\u202e"))
    assert "\\x1b" in ended.out


def matomo_folder(mariadb: MariaDb, database: str, folder: Path) -> Path:
    """Make a folder as Matomo's, with a configuration as its installer writes it."""
    url = make_url(mariadb.account(database, [SELECT, "UPDATE ON matomo_archive_invalidations"]))
    config = folder / "config"
    config.mkdir()
    (config / "config.ini.php").write_text(
        f"""; <?php exit; ?> DO NOT REMOVE THIS LINE
; file automatically generated or modified by Matomo
[database]
host = "127.0.0.1"
port = {mariadb.port}
username = "{url.username}"
password = "{url.password}"
dbname = "{database}"
tables_prefix = "matomo_"
charset = "utf8mb4"

[General]
maintenance_mode = 1
trusted_hosts[] = "analytics.example"
"""
    )
    return folder


def meltano_folder(folder: Path) -> None:
    """Make a folder a Meltano project with a run that was killed."""
    (folder / "meltano.yml").write_text("version: 1\n")
    (folder / ".meltano").mkdir()
    MeltanoBench(SqliteDatabase(folder / ".meltano" / "meltano.db")).add(heartbeat="40s")


def test_a_matomo_folder_needs_no_configuration(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """`check`, `config show` and `serve` take what Matomo's own configuration says."""
    insert_stuck(mariadb, matomo_database)
    folder = matomo_folder(mariadb, matomo_database, tmp_path)
    (view,) = queuemedic.run("check", "--json", folder=folder).json["queues"]
    assert (view["queue"], view["waiting"], view["stuck"]) == ("matomo", 1, 1)
    assert view["signals"]["matomo_maintenance_mode"] == 1
    shown = queuemedic.run("config", "show", folder=folder)
    assert (shown.code, "config.ini.php" in shown.out) == (0, True)
    meltano_folder(folder)  # on a small machine both can be in one
    with queuemedic.serving(None, folder) as server:
        server.scrape_until("up", 1, queue="meltano")
        page = server.scrape_until("up", 1, queue="matomo")
        assert page.value("stuck_jobs", queue="meltano", host="none", reason="heartbeat_lost") == 1
        assert page.value("stuck_jobs", queue="matomo", host="web1", reason="over_age") == 1
        assert page.value("matomo_maintenance_mode", queue="matomo") == 1
        assert "account.found_writable" in server.log


def test_a_meltano_folder_needs_no_configuration(tmp_path: Path) -> None:
    """`check` and `config show` find the system database as Meltano does."""
    meltano_folder(tmp_path)
    ended = queuemedic.run("check", "--json", folder=tmp_path)
    (view,) = ended.json["queues"]
    assert (ended.code, view["queue"], view["stuck"]) == (1, "meltano", 1)
    shown = queuemedic.run("config", "show", folder=tmp_path)
    assert (shown.code, f"project: {tmp_path}\n" in shown.out) == (0, True)


def test_where_there_is_nothing_to_watch_it_says_what_to_do(tmp_path: Path) -> None:
    """No configuration, no Matomo."""
    for command in ("check", "serve"):
        ended = queuemedic.run(command, folder=tmp_path)
        assert ended.code == 2
        assert "queuemedic.yml" in ended.err
        assert "config.ini.php" in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away, and lay down the right to read it")
def test_an_unreadable_matomo_configuration_says_what_helps(tmp_path: Path) -> None:
    """A service account usually may not read it."""
    file = tmp_path / "config" / "config.ini.php"
    file.parent.mkdir()
    file.write_text("[database]\n")
    file.chmod(0o600)
    os.chown(file, 65534, 65534)
    without_rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    for mode in (0o755, 0o700):
        file.parent.chmod(mode)
        os.chown(file.parent, 65534, 65534)
        done = subprocess.run(
            [*without_rights, QUEUEMEDIC, "check"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert str(file.parent) in done.stderr
        assert "url_file" in done.stderr


def test_config_check_finds_what_would_fail_at_the_start(tmp_path: Path) -> None:
    """Files that are named have to be there, and a database of another kind is refused."""
    queue = {"system": "matomo", "url": "mysql://h/d", "tls": {"ca_file": "gone.pem"}}
    for command in (["config", "check"], ["check"], ["serve"]):
        ended = queuemedic.run("--config", queuemedic.write_config(tmp_path, {"q": queue}), *command)
        assert (ended.code, ended.out) == (2, "")
        assert "queues.q: tls:" in ended.err
        assert "gone.pem" in ended.err
    for url in ("postgresql://h/d", "mysql://h/d?ssl_ca=x.pem", "oracle://h/d"):
        config = queuemedic.write_config(tmp_path, {"q": {"system": "matomo", "url": url}})
        ended = queuemedic.run("--config", config, "config", "check")
        assert (ended.code, ended.out) == (2, "")
        assert re.search(r"queuemedic\.yml:\d+: queues\.q", ended.err)


def test_a_port_in_use_is_said_before_anything_begins(mariadb: MariaDb, matomo_database: str, tmp_path: Path) -> None:
    """Exit code 2, and no poll."""
    config = configure(mariadb, matomo_database, tmp_path)
    with queuemedic.serving(config, tmp_path) as server:
        server.scrape_until("up", 1, queue="analytics")
        ended = queuemedic.run("--config", config, "serve")
    assert ended.code == 2
    assert "another program listens there" in ended.err


def test_help_is_quick_and_lists_every_command() -> None:
    """Nothing heavy is imported for it."""
    ended = queuemedic.run("--help")
    assert ended.code == 0
    for command in ("serve", "check", "config", "demo"):
        assert command in ended.out
        assert queuemedic.run(command, "--help").code == 0
