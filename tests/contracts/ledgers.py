"""Ledgers on every database, and the entries that tests put into them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from exporter.address import Address, normalise
from exporter.jobs import AttemptKey, Claim, DriverValue, JobId, Kind, QueueName
from healers.ledger import Intent, Ledger, RecordedRefusal
from healers.outcomes import Concluded, Outcome
from healers.verdicts import Liveness, Reason, Verdict
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUEUE = QueueName("analytics")
SYSTEMS = ("sqlite", "mariadb", "postgresql")


def address_of(url: str) -> Address:
    """Return the address that a configured URL comes to."""
    return Address(url=normalise(make_url(url)))


@contextmanager
def empty_database(
    system: str, folder: Path, *, mariadb: Callable[[], MariaDb], postgres: Callable[[], Postgres]
) -> Iterator[Address]:
    """Yield the address of a database without a ledger."""
    if system == "sqlite":
        yield address_of(f"sqlite:///{folder / 'ledger.db'}")
        return
    server = mariadb() if system == "mariadb" else postgres()
    with server.database() as name:
        yield address_of(server.root_url(name))


@contextmanager
def opened(address: Address) -> Iterator[Ledger]:
    """Yield a ledger that is open for writing, and close it."""
    ledger = Ledger.open(address)
    try:
        yield ledger
    finally:
        ledger.close()


def a_key(job: str = "1", *, started: DriverValue = AT, pid: str | None = "4380", queue: str = QUEUE) -> AttemptKey:
    """Return the key of an attempt."""
    return AttemptKey(queue=QueueName(queue), job_id=JobId(job), started=started, host="web1", pid_text=pid)


def an_intent(key: AttemptKey | None = None, *, at: datetime = AT, **changes: Any) -> Intent:
    """Return an intent about an attempt that was judged dead twice."""
    key = key or a_key()
    proof = Verdict(
        key=key, value=Liveness.DEAD, reason=Reason.NO_PROCESS, seen_at=at, evidence={"boot_id": "b", "uptime": 5}
    )
    given: dict[str, Any] = {
        "claim": Claim(key=key, rests_on=(Decimal("1.50"), None)),
        "natural_key": ("site", key.job_id),
        "kind": Kind("day"),
        "row": {"id": 1, "name": "done\n\x00'; DROP TABLE", "blob": b"\xff\x00", "at": key.started},
        "proofs": (proof, proof),
        "first_dead_at": at,
        "actor": "serve",
        "instance": "med1:77",
        "mode": "reset",
        "config_digest": "c0ffee",
        "at": at,
    }
    return Intent(**{**given, **changes})


def a_refusal(key: AttemptKey | None = None, *, reason: str = "rate", at: datetime = AT) -> RecordedRefusal:
    """Return a refusal."""
    key = key or a_key()
    return RecordedRefusal(
        key=key,
        natural_key=("site", key.job_id),
        kind=Kind("day"),
        reason=reason,
        detail="500 of 500 in the last hour",
        actor="serve",
        instance="med1:77",
        at=at,
        evidence={"load": None},
    )


def concluded(intent: Intent, outcome: Outcome, detail: str = "") -> Concluded:
    """Return how an intent ended."""
    return Concluded(key=intent.key, outcome=outcome, detail=detail)
