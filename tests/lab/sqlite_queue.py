"""Job tables on SQLite, and their sections of the configuration: a queue for tests that need many, or no server."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

FAST = {"poll_every": "1s", "poll_timeout": "2s", "stale_after": "6s", "max_duty": 1}


def make_queue(file: Path, *, waiting: int = 1, **options: Any) -> dict[str, Any]:
    """Make a table with jobs that wait, and return its section."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b TEXT, host TEXT)")
    add_jobs(file, waiting)
    return {
        "system": "table",
        "url": f"sqlite:///{file}",
        "from": "jobs",
        "columns": {"id": "id", "enqueued_at": "a", "started_at": "b", "host": "host"},
        "waiting_when": "b IS NULL",
        "started_when": "b IS NOT NULL",
        **FAST,
        **options,
    }


def add_jobs(file: Path, waiting: int = 0, *, started_on: str | None = None) -> None:
    """Add jobs that wait, and one that is started on a host."""
    with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        connection.executemany("INSERT INTO jobs (a) VALUES (datetime('now'))", [()] * waiting)
        if started_on:
            started = "INSERT INTO jobs (a, b, host) VALUES (datetime('now'), datetime('now'), ?)"
            connection.execute(started, (started_on,))
