"""The quickstarts are followed as they are written, from top to bottom, against real servers.

Only what they call by an example's name is replaced. Left out is how Queuemedic is installed, which `tests/pythons.sh`
does from the wheel.
"""

import getpass
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import installed
from tests.lab import matomo, programs
from tests.lab.mariadb import MariaDb
from tests.lab.meltano import STATE_ID, Project
from tests.lab.pages import ROOT, Walk, walking
from tests.lab.ports import free_port
from tests.lab.postgres import Postgres
from tests.lab.queuemedic import QUEUEMEDIC

QUICKSTARTS: Final = ROOT / "docs" / "quickstart"
INSTALLS: Final = re.compile(r"python3 -m venv |/opt/queuemedic/bin/pip |export PATH=|queuemedic --version")
SCRAPE: Final = "curl -s http://127.0.0.1:9847/metrics | grep"
CONFIG_INI: Final = """\
; <?php exit; ?> DO NOT REMOVE THIS LINE
[database]
host = "127.0.0.1"
port = {port}
username = "root"
password = ""
dbname = "matomo"
tables_prefix = "matomo_"
"""


@contextmanager
def walk(folder: Path, replace: dict[str, str], **options: Any) -> Iterator[Walk]:
    """Walk with what all pages call by the same names; Prometheus' own check reads what they make."""
    with installed():
        promtool = programs.program("promtool", package="prometheus")
        programs.program("curl", package="curl")
    (folder / "prometheus").mkdir()
    port = free_port()
    names = {
        "/etc/prometheus": str(folder / "prometheus"),
        "promtool ": f"{promtool} ",
        "http://127.0.0.1:9847": f"http://127.0.0.1:{port}",
        **replace,
    }
    more = {"queuemedic.yml": f"web: {{listen: 127.0.0.1:{port}}}\n"}
    path = str(QUEUEMEDIC.parent)
    with walking(folder, replace=names, path=path, add=more, is_skipped=INSTALLS.match, **options) as made:
        yield made


def check_rules(walked: Walk) -> None:
    """See that Prometheus would take configuration and rules."""
    said = walked.output["promtool check config /etc/prometheus/prometheus.yml"]
    assert "8 rule files found" in said
    assert "FAILED" not in said


def test_matomo(tmp_path: Path, private_mariadb: Callable[..., MariaDb]) -> None:
    """With Matomo's own account first, and then with one that can do nothing else; three jobs are stuck."""
    server = private_mariadb()
    server.sql("CREATE DATABASE matomo")
    matomo.create_tables(server, "matomo")
    stuck = {"status": 1, "ts_started": timedelta(hours=3), "processing_host": "web02", "process_id": "20894"}
    matomo.insert_rows(server, "matomo", stuck, stuck, stuck, {}, {})
    (tmp_path / "site" / "config").mkdir(parents=True)
    (tmp_path / "site" / "config" / "config.ini.php").write_text(CONFIG_INI.format(port=server.port))
    names = {"/path/to/matomo": str(tmp_path / "site"), "@db01/": f"@{server.host}:{server.port}/"}
    with walk(tmp_path, names, run_sql=lambda text: server.script(text, "matomo")) as walked:
        walked.follow(QUICKSTARTS / "matomo.md")
        said = walked.output
    for check in ("cd /path/to/matomo && queuemedic check", "queuemedic check"):
        assert "3 of 3 started jobs stuck, 2 waiting" in said[check]
        assert "on web02: ps -o pid,lstart,args -p 20894" in said[check]
    scraped = said[f"{SCRAPE} '^queuemedic_jobs{{'"]
    assert 'queuemedic_jobs{kind="day",queue="analytics",state="waiting"} 2.0' in scraped
    check_rules(walked)


@pytest.mark.timeout(300)  # the first test to need a release of Meltano installs it
def test_meltano(tmp_path: Path, meltano_project: Callable[..., Project]) -> None:
    """A run is under way, and its process is found."""
    project = meltano_project()
    names = {
        "/srv/meltano": str(project.folder),
        "app01: {via: local}": f"{socket.gethostname()}: {{via: local, pid_namespace: own}}",
        "[app01]": f"[{socket.gethostname()}]",
        "workers_user: meltano": f"workers_user: {getpass.getuser()}",
    }
    with project.run(), walk(tmp_path, names) as walked:
        project.begun()
        walked.follow(QUICKSTARTS / "meltano.md")
        said = walked.output
    assert "meltano (meltano): nothing stuck; 1 started, 0 waiting" in said["cd /srv/meltano && queuemedic check"]
    assert said["queuemedic hosts check"] == f"✓ {socket.gethostname()}: answers\n"
    assert "alive (running)" in said["queuemedic check"]
    scraped = said[f"{SCRAPE} '^queuemedic_meltano_runs_total'"]
    assert f'{{kind="{STATE_ID}",outcome="success",queue="pipelines"}} 0.0' in scraped
    check_rules(walked)


def test_any_table(tmp_path: Path) -> None:
    """The table that the page makes, with the job that is stuck in it."""
    with installed(), Postgres() as server:
        server.sql("CREATE DATABASE shop")
        names = {"@db01/": f"@{server.host}:{server.port}/"}
        with walk(tmp_path, names, run_sql=lambda text: server.sql(text, database="shop")) as walked:
            walked.follow(QUICKSTARTS / "any-table.md")
            said = walked.output
    assert "mails (table): 1 of 1 started job stuck, 20 waiting" in said["queuemedic check"]
    scraped = said[f"{SCRAPE} '^queuemedic_stuck_jobs.* 1.0'"]
    assert 'queuemedic_stuck_jobs{host="web02",queue="mails",reason="over_age"} 1.0' in scraped
    check_rules(walked)
