"""Every SQL statement of the runbooks runs as it is written, on recorded states of a real Matomo and a real Meltano."""

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from tests.lab.mariadb import MariaDb
from tests.lab.recordings import load, recording, shared_or_skip

from .shipped import RUNBOOKS, read_rules

BLOCK: Final = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_MELTANO: Final = frozenset(rule.alert for rule in read_rules() if rule.subject == "meltano")
PAGES: Final = tuple(page for page in sorted(RUNBOOKS.glob("*.md")) if BLOCK.search(page.read_text()))
# Of the tables that the runbooks ask, the recordings leave this one out: as Matomo 5.3 creates it.
SEGMENT: Final = """\
CREATE TABLE matomo_segment (
  idsegment INT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255) NOT NULL, definition TEXT NOT NULL,
  hash CHAR(32) NULL, login VARCHAR(100) NOT NULL, enable_all_users TINYINT NOT NULL DEFAULT 0,
  enable_only_idsite INTEGER UNSIGNED NULL, auto_archive TINYINT NOT NULL DEFAULT 0, ts_created TIMESTAMP NULL,
  ts_last_edit TIMESTAMP NULL, deleted TINYINT NOT NULL DEFAULT 0
)
"""


def statements(page: Path) -> list[str]:
    """Return the statements of a page in order."""
    text = ";".join(BLOCK.findall(page.read_text()))
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in OF_MELTANO], ids=lambda page: page.stem)
@pytest.mark.parametrize("state", ["backlog", "running-three-hung"])
def test_the_sql_of_matomos_runbooks_runs(state: str, page: Path, matomo_database: str, mariadb: MariaDb) -> None:
    """With a queue that is full, and with archivers that hang."""
    load(mariadb, matomo_database, recording(state))
    mariadb.sql(SEGMENT, database=matomo_database)
    for statement in statements(page):
        mariadb.sql(statement, database=matomo_database)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in OF_MELTANO], ids=lambda page: page.stem)
def test_the_sql_of_meltanos_runbooks_ends_the_run(page: Path, tmp_path: Path) -> None:
    """The one that never had a heartbeat, by the id that it has."""
    file = tmp_path / "meltano.db"
    shutil.copy(shared_or_skip("meltano") / "meltano-3.6.0-noheartbeat.db", file)
    with sqlite3.connect(file) as database:
        (job_id,) = database.execute(
            "SELECT id FROM runs WHERE state = 'RUNNING' AND last_heartbeat_at IS NULL"
        ).fetchone()
        changed = [database.execute(statement.replace("4711", str(job_id))).rowcount for statement in statements(page)]
        states = database.execute("SELECT state FROM runs WHERE id = ?", (job_id,)).fetchall()
    database.close()
    assert (changed, states) == ([1], [("FAIL",)])
