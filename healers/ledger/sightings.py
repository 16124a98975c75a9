"""What was seen of attempts and hosts, kept so that a restart forgets nothing.

Only what changed is written. Several instances may learn on one ledger: of an attempt, what either saw first stays, and
an enrolment is never replaced by none. When a host last answered is written each time: after a restart, a reboot is
known by an uptime that is shorter than the time since then; were that too long, a clone could pass for one.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, insert, select

from exporter.errors import LedgerError
from exporter.jobs import AttemptKey, QueueName
from exporter.store import Store

from ..sightings import (
    AttemptSighting,
    Boot,
    Enrolment,
    Learned,
    Retired,
    Sightings,
    latest_machines,
    latest_workers,
    merge,
)
from .chain import read_head
from .encoding import decode_key, digest_of, encode_key, from_text, instant, read_instant, to_text
from .tables import RETIRED, SIGHTINGS

TURN_SECONDS: Final = 30.0
AT_ONCE: Final = 500
ATTEMPTS_AT_ONCE: Final = 2000
ATTEMPT, BOOTS, PROVEN, WORKER = "attempt", "boots", "proven", "worker"


class SeenBefore:
    """The sightings of one ledger, for any number of threads. Every method raises LedgerError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._kept = Sightings()

    def load(self) -> Sightings:
        """Return all that is remembered."""
        with self._in_turn():
            with self._store.reading() as connection:
                rows = connection.execute(
                    select(SIGHTINGS.c.sort, SIGHTINGS.c.known).order_by(SIGHTINGS.c.learned_at)
                ).all()
                retired = connection.execute(select(RETIRED)).mappings().all()
            found: dict[str, list[Any]] = {ATTEMPT: [], BOOTS: [], PROVEN: [], WORKER: []}
            for sort, known in rows:
                found[sort].append(from_text(known))
            self._kept = Sightings(
                attempts=MappingProxyType({decode_key(row["key"]): _read_sighting(row) for row in found[ATTEMPT]}),
                boots=MappingProxyType({host: tuple(map(_read_boot, boots)) for host, boots in found[BOOTS]}),
                retired=MappingProxyType({from_text(row["host"]): _read_retired(row) for row in retired}),
                proven=latest_machines((QueueName(queue), machine_id) for queue, machine_id in found[PROVEN]),
                workers=latest_workers((QueueName(queue), host, pid) for queue, host, pid in found[WORKER]),
            )
            return self._kept

    def learn(self, learned: Learned, *, at: datetime) -> None:
        """Remember what is new; costs nothing where nothing is.

        Thousands of attempts take several transactions, each with a limit of its own: what is kept stays so, whatever
        becomes of the rest. Hosts come first, since without them nobody could tell a reboot that attempts have seen.
        """
        with self._in_turn():
            new = self._changes(learned)
            if new == Learned():
                return
            keys = list(new.attempts)
            for begin in range(0, len(keys) or 1, ATTEMPTS_AT_ONCE):
                attempts = {key: new.attempts[key] for key in keys[begin : begin + ATTEMPTS_AT_ONCE]}
                self._write(replace(new if begin == 0 else Learned(), attempts=attempts), at)

    def _write(self, new: Learned, at: datetime) -> None:
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            new = replace(new, attempts=_merged(connection, new.attempts))
            rows = [*_rows(new)]
            _delete(connection, [(ATTEMPT, _digest(encode_key(key))) for key in new.gone])
            _delete(connection, [(row["sort"], row["digest"]) for row in rows])
            for host in new.returned:
                connection.execute(delete(RETIRED).where(RETIRED.c.digest == _digest(host)))
            if rows:
                connection.execute(insert(SIGHTINGS), [{**row, "learned_at": instant(at)} for row in rows])
        self._kept = self._kept.learn(new)

    def forget(self, *, before: datetime) -> int:
        """Forget what was last learned before then, and what is no longer remembered; return how much there was."""
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            old = connection.execute(delete(SIGHTINGS).where(SIGHTINGS.c.learned_at < instant(before))).rowcount
            surplus = [*_surplus(connection, PROVEN, latest_machines), *_surplus(connection, WORKER, latest_workers)]
            _delete(connection, surplus)
            return old + len(surplus)

    def retire(self, host: str, *, why: str, actor: str, at: datetime) -> None:
        """Declare a host gone for good, for a person."""
        row = {"host": to_text(host), "why": to_text(why), "actor": to_text(actor), "at": instant(at)}
        with self._store.writing() as connection:
            read_head(connection, locks=True)
            connection.execute(delete(RETIRED).where(RETIRED.c.digest == _digest(host)))
            connection.execute(insert(RETIRED).values(digest=_digest(host), **row))

    def retired(self) -> Mapping[str, Retired]:
        """Return the hosts that a person declared gone: commands of other processes change them at any time."""
        with self._store.reading() as connection:
            rows = connection.execute(select(RETIRED)).mappings().all()
        return MappingProxyType({from_text(row["host"]): _read_retired(row) for row in rows})

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise LedgerError(f"{self._store.place}: is busy for more than {TURN_SECONDS:g} s")
        try:
            yield
        finally:
            self._turn.release()

    def _changes(self, learned: Learned) -> Learned:
        kept = self._kept
        attempts = {key: it for key, it in learned.attempts.items() if kept.attempts.get(key) != it}
        boots = {host: it for host, it in learned.boots.items() if not _are_kept(kept.boots.get(host, ()), it)}
        return Learned(
            attempts=MappingProxyType(attempts),
            boots=MappingProxyType(boots),
            proven=learned.proven - kept.proven,
            workers=learned.workers - kept.workers,
            gone=learned.gone,
            returned=learned.returned,
        )


def _are_kept(kept: tuple[Boot, ...], boots: tuple[Boot, ...]) -> bool:
    return [_write_boot(boot) for boot in boots] == [_write_boot(boot) for boot in kept]


def _surplus(
    connection: Connection, sort: str, latest: Callable[[Iterable[Any]], Collection[Any]]
) -> Iterator[tuple[str, str]]:
    """Find the rows of a sort that are left out where only the latest are remembered."""
    rows = select(SIGHTINGS.c.digest, SIGHTINGS.c.known).where(SIGHTINGS.c.sort == sort)
    found = {
        tuple(from_text(known)): digest for digest, known in connection.execute(rows.order_by(SIGHTINGS.c.learned_at))
    }
    remembered = latest(found)
    yield from ((sort, digest) for known, digest in found.items() if known not in remembered)


def _merged(
    connection: Connection, attempts: Mapping[AttemptKey, AttemptSighting]
) -> Mapping[AttemptKey, AttemptSighting]:
    """Return sightings with what another instance has seen of the same attempts."""
    digests = [_digest(encode_key(key)) for key in attempts]
    there: dict[AttemptKey, AttemptSighting] = {}
    for begin in range(0, len(digests), AT_ONCE):
        query = select(SIGHTINGS.c.known).where(
            SIGHTINGS.c.sort == ATTEMPT, SIGHTINGS.c.digest.in_(digests[begin : begin + AT_ONCE])
        )
        for known in connection.execute(query).scalars():
            row = from_text(known)
            there[decode_key(row["key"])] = _read_sighting(row)
    return MappingProxyType({key: merge(there.get(key), it) for key, it in attempts.items()})


def _rows(learned: Learned) -> Iterator[dict[str, str]]:
    for key, sighting in learned.attempts.items():
        yield _row(ATTEMPT, encode_key(key), _write_sighting(key, sighting))
    for host, boots in learned.boots.items():
        yield _row(BOOTS, host, [host, [_write_boot(boot) for boot in boots]])
    for machine in learned.proven:
        yield _row(PROVEN, list(machine), list(machine))
    for worker in learned.workers:
        yield _row(WORKER, list(worker), list(worker))


def _row(sort: str, identity: object, known: object) -> dict[str, str]:
    return {"sort": sort, "digest": _digest(identity), "known": to_text(known)}


def _digest(identity: object) -> str:
    return digest_of(to_text(identity))


def _delete(connection: Connection, rows: list[tuple[str, str]]) -> None:
    by_sort: dict[str, list[str]] = {}
    for sort, digest in rows:
        by_sort.setdefault(sort, []).append(digest)
    for sort, digests in by_sort.items():
        for begin in range(0, len(digests), AT_ONCE):
            some = SIGHTINGS.c.digest.in_(digests[begin : begin + AT_ONCE])
            connection.execute(delete(SIGHTINGS).where(SIGHTINGS.c.sort == sort, some))


def _write_sighting(key: AttemptKey, sighting: AttemptSighting) -> dict[str, Any]:
    enrolment = sighting.enrolment
    return {
        "key": encode_key(key),
        "first_seen_at": instant(sighting.first_seen_at),
        "asked_at": None if sighting.asked_at is None else instant(sighting.asked_at),
        "boots": list(sighting.boots),
        "enrolment": None
        if enrolment is None
        else {
            "machine_id": enrolment.machine_id,
            "boot_id": enrolment.boot_id,
            "pid": enrolment.pid,
            "start_ticks": enrolment.start_ticks,
            "seen_at": instant(enrolment.seen_at),
        },
    }


def _read_sighting(row: Mapping[str, Any]) -> AttemptSighting:
    enrolment = row["enrolment"]
    return AttemptSighting(
        first_seen_at=read_instant(row["first_seen_at"]),
        asked_at=None if row["asked_at"] is None else read_instant(row["asked_at"]),
        enrolment=None
        if enrolment is None
        else Enrolment(**{**enrolment, "seen_at": read_instant(enrolment["seen_at"])}),
        boots=tuple(row["boots"]),
    )


def _write_boot(boot: Boot) -> list[Any]:
    return [boot.machine_id, boot.boot_id, instant(boot.first_at), instant(boot.last_at), boot.is_reboot]


def _read_boot(row: list[Any]) -> Boot:
    machine_id, boot_id, first_at, last_at, is_reboot = row
    return Boot(
        machine_id=machine_id,
        boot_id=boot_id,
        first_at=read_instant(first_at),
        last_at=read_instant(last_at),
        is_reboot=is_reboot,
    )


def _read_retired(row: RowMapping) -> Retired:
    return Retired(at=read_instant(row["at"]), why=from_text(row["why"]), actor=from_text(row["actor"]))
