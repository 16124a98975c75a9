"""States of a real Matomo, recorded from 5.3.0-rc1 and kept beside the project in ../shared/matomo.

The times in them are absolute: set the database's clock to `captured_at` and its zone to `time_zone` to see a state
as it was.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest

from .mariadb import MariaDb

SHARED = Path(__file__).resolve().parents[3] / "shared"
CAPTURED_ON = datetime(2026, 11, 22, tzinfo=UTC).date()
UTC_ZONE = "+00:00"
TIMELINES = ("healthy", "crash", "dbtz-minus5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One dump: when it was taken, in which zone the database was, and how many rows it has in each state.

    `time_zone` is what mariadbd takes as `--default-time-zone`.
    """

    name: str
    captured_at: datetime
    queued: int
    started: int
    time_zone: str = UTC_ZONE


def _recording(name: str, clock: str, *, queued: int, started: int, time_zone: str = UTC_ZONE) -> Recording:
    captured_at = datetime.combine(CAPTURED_ON, time.fromisoformat(clock), tzinfo=UTC)
    return Recording(name=name, captured_at=captured_at, queued=queued, started=started, time_zone=time_zone)


RECORDINGS = (
    _recording("backlog", "07:01:51", queued=1308, started=0),
    _recording("running", "07:02:29", queued=1174, started=3),
    _recording("orphaned", "07:02:32", queued=1168, started=3),
    _recording("orphaned-later-runs", "07:04:07", queued=12, started=3),
    _recording("idle-residual", "07:15:00", queued=3, started=0),
    _recording("running-container", "07:12:18", queued=38, started=3),
    _recording("running-dbtz-plus5", "07:11:56", queued=41, started=3, time_zone="+05:00"),
    _recording("running-dbtz-minus5", "07:12:08", queued=38, started=3, time_zone="-05:00"),
    _recording("running-three-hung", "07:21:46", queued=53, started=9),
    _recording("running-no-getmypid", "07:21:55", queued=9, started=3),
)


def recording(name: str) -> Recording:
    """Return the recording of that name."""
    return next(recording for recording in RECORDINGS if recording.name == name)


def shared_or_skip(system: str = "matomo") -> Path:
    """Return the folder of the recordings; skip the test if it is not there, but fail where CI has to bring it."""
    if SHARED.is_dir():
        return SHARED / system
    reason = f"../shared is not here: {SHARED}"
    if os.environ.get("CI"):
        raise FileNotFoundError(reason)
    pytest.skip(reason)


def load(server: MariaDb, database: str, recording: Recording) -> None:
    """Put a recorded state into a database, with its tables; they replace those of the same name."""
    dump = shared_or_skip() / f"matomo-5.3.0-rc1-{recording.name}.sql"
    server.script(dump.read_text(), database)


def timeline(name: str) -> Iterator[dict[str, Any]]:
    """Yield the samples of a run (`TIMELINES`), one each 0.2 s; the keys are those of the recording."""
    with (shared_or_skip() / f"matomo-5.3.0-rc1-timeline-{name}.jsonl").open() as lines:
        for line in lines:
            yield json.loads(line)
