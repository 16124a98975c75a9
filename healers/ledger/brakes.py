"""What stops healing, whoever restarts what: pauses and breakers; and leases, where a server has no named locks.

Whoever cannot read these has to hold still: every method raises LedgerError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, delete, insert, select

from exporter.database import CLOCK
from exporter.jobs import QueueName
from exporter.store import Store

from .chain import read_head
from .encoding import decode, encode, escape, from_text, instant, read_instant, to_text, unescape
from .tables import BREAKERS, LEASES, PAUSES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    State = TypeVar("State", bound=DataclassInstance)

ALL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A person stopped healing."""

    why: str
    actor: str
    at: datetime


class Brakes:
    """The brakes of one ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last_read: dict[QueueName, tuple[str, Any]] = {}

    def pause(self, queue: QueueName | None, *, why: str, actor: str, at: datetime) -> None:
        """Stop healing of a queue, or of all; a pause that is there keeps nothing of its old reason."""
        row = {"queue": _name(queue), "why": to_text(why), "actor": to_text(actor), "at": instant(at)}
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            connection.execute(delete(PAUSES).where(PAUSES.c.queue == row["queue"]))
            connection.execute(insert(PAUSES).values(row))

    def resume(self, queue: QueueName | None) -> Mapping[QueueName | None, Pause]:
        """End the pause of a queue, or without one every pause; return those that were ended.

        A pause of all queues stands when one queue is resumed.
        """
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            ended = {name: it for name, it in _pauses(connection).items() if queue is None or name == queue}
            connection.execute(delete(PAUSES).where(PAUSES.c.queue.in_([_name(name) for name in ended])))
        return MappingProxyType(ended)

    def pauses(self) -> Mapping[QueueName | None, Pause]:
        """Return what is paused; None stands for all queues."""
        with self._store.reading() as connection:
            return MappingProxyType(_pauses(connection))

    def breaker(self, queue: QueueName, kind: "type[State]") -> "State | None":
        """Return the breaker of a queue as it was last kept; None where it never was."""
        with self._store.reading() as connection:
            return self._breaker(connection, queue, kind)

    def keep_breaker(self, queue: QueueName, state: "State", *, instead_of: "State | None") -> bool:
        """Keep a breaker if the one that is kept is still the one that was read; tells whether it was.

        `resume` and a pass may both change it at the same time: whoever is refused reads again.
        """
        row = {"queue": escape(queue), "state": _write_state(state)}
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            if self._breaker(connection, queue, type(state)) != instead_of:
                return False
            connection.execute(delete(BREAKERS).where(BREAKERS.c.queue == row["queue"]))
            connection.execute(insert(BREAKERS).values(row))
        self._last_read[queue] = (row["state"], state)
        return True

    def _breaker(self, connection: Connection, queue: QueueName, kind: "type[State]") -> "State | None":
        """Read a breaker; one that is as it was last read, with perhaps thousands of attempts, is not decoded again."""
        text = connection.execute(select(BREAKERS.c.state).where(BREAKERS.c.queue == escape(queue))).scalar()
        if text is None:
            return None
        last, state = self._last_read.get(queue, ("", None))
        if text == last and isinstance(state, kind):
            return state
        values: dict[str, Any] = decode(from_text(text))
        found = kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})
        self._last_read[queue] = (text, found)
        return found

    def lease(self, queue: QueueName, *, holder: str, lasts: timedelta) -> int | None:
        """Take a queue for some time, by the ledger's own clock; return the term, or None where another holds it.

        Each taking has a higher term than all before; whoever holds it already gets a new one. Like any lease it only
        elects: what a holder does late, it does without it, and safety is the compare-and-set of the reset.
        """
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            held = connection.execute(select(LEASES).where(LEASES.c.queue == escape(queue))).mappings().one_or_none()
            now = _milliseconds(connection)
            if held and held["ends_at_ms"] > now and from_text(held["holder"]) != holder:
                return None
            term = held["term"] + 1 if held else 1
            _keep_lease(connection, queue, holder=holder, term=term, ends_at_ms=now + _span(lasts))
            return term

    def renew(self, queue: QueueName, *, holder: str, term: int, lasts: timedelta) -> bool:
        """Hold a lease longer; tells whether it was still held in this term and had not ended."""
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            now = _milliseconds(connection)
            if not _holds(connection, queue, holder=holder, term=term, now=now):
                return False
            _keep_lease(connection, queue, holder=holder, term=term, ends_at_ms=now + _span(lasts))
            return True

    def release(self, queue: QueueName, *, holder: str, term: int) -> None:
        """Give a lease back, if it is still held; the number of the term stays, so that the next one is higher."""
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            now = _milliseconds(connection)
            if _holds(connection, queue, holder=holder, term=term, now=now):
                _keep_lease(connection, queue, holder=holder, term=term, ends_at_ms=now)


def _name(queue: QueueName | None) -> str:
    return ALL if queue is None else escape(queue)


def _pauses(connection: Connection) -> dict[QueueName | None, Pause]:
    return {
        None if row["queue"] == ALL else QueueName(unescape(row["queue"])): Pause(
            why=from_text(row["why"]), actor=from_text(row["actor"]), at=read_instant(row["at"])
        )
        for row in connection.execute(select(PAUSES)).mappings()
    }


def _write_state(state: "DataclassInstance") -> str:
    return to_text(encode({field.name: getattr(state, field.name) for field in fields(state)}))


def _milliseconds(connection: Connection) -> int:
    """Return the ledger's own clock."""
    dialect = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    return int(float(connection.exec_driver_sql(CLOCK[dialect]).one()[0]) * 1000)


def _span(lasts: timedelta) -> int:
    return int(lasts.total_seconds() * 1000)


def _holds(connection: Connection, queue: QueueName, *, holder: str, term: int, now: int) -> bool:
    held = connection.execute(select(LEASES).where(LEASES.c.queue == escape(queue))).mappings().one_or_none()
    return bool(held and held["term"] == term and from_text(held["holder"]) == holder and held["ends_at_ms"] > now)


def _keep_lease(connection: Connection, queue: QueueName, *, holder: str, term: int, ends_at_ms: int) -> None:
    row = {"queue": escape(queue), "holder": to_text(holder), "term": term, "ends_at_ms": ends_at_ms}
    connection.execute(delete(LEASES).where(LEASES.c.queue == row["queue"]))
    connection.execute(insert(LEASES).values(row))
