"""What was intended, done and refused, in order: entries are added, never changed, and forgotten when old.

An intent is durable when `intend` returns; where it raises, nothing may be written to a queue. An outcome belongs to
an intent; `unknown` is not final. Budgets are counted here, so that a restart refills none: an intent counts unless it
is known that it reset nothing.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, delete, exists, func, or_, select, update

from exporter.errors import LedgerError
from exporter.jobs import AttemptKey, JobId, QueueName
from exporter.store import Store

from ..outcomes import Concluded, Outcome
from . import chain
from .encoding import escape, from_text, instant, job_column, key_digest, read_instant, to_text
from .entries import (
    Act,
    Intent,
    IntentId,
    Recorded,
    RecordedRefusal,
    RecordedReset,
    read_intent,
    read_refusal,
    write_intent,
    write_refusal,
)
from .tables import HEAD, JOURNAL

PAGE: Final = 200
FORGET_AT_ONCE: Final = 5000
MAY_BE_WRITTEN: Final = "may_be_written"
"""In the place of an outcome that leaves open whether its job was put back."""

T = TypeVar("T")
OUTCOMES: Final = JOURNAL.alias("outcomes")
IS_FINAL: Final = and_(
    OUTCOMES.c.intent == JOURNAL.c.number, OUTCOMES.c.act == Act.OUTCOME, OUTCOMES.c.result != Outcome.UNKNOWN
)


class Journal:
    """The journal of one ledger. Every method raises LedgerError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorded: dict[Hashable, frozenset[tuple[AttemptKey, str]]] = {}

    def intend(self, intent: Intent) -> IntentId:
        """Record what is about to be tried; it is on the disk when this returns."""
        with self._store.writing() as connection:
            number = chain.append(connection, [_row(Act.INTENT, intent, result="")])[0]
        return IntentId(number)

    def conclude(self, intent_id: IntentId, concluded: Concluded, *, at: datetime) -> bool:
        """Record what became of an intent; tells whether it was open: a final outcome is never replaced."""
        with self._store.writing() as connection:
            chain.read_head(connection, locks=True)
            is_it = and_(JOURNAL.c.number == intent_id, JOURNAL.c.act == Act.INTENT)
            intent = connection.execute(select(JOURNAL).where(is_it)).mappings().one_or_none()
            if intent is None or intent["attempt"] != key_digest(concluded.key):
                raise LedgerError(f"{self._store.place}: entry {intent_id} is no intent about {concluded.key}")
            if connection.execute(select(OUTCOMES.c.number).join(JOURNAL, IS_FINAL).where(is_it)).first():
                return False
            content = {"outcome": concluded.outcome, "detail": concluded.detail, "at": instant(at)}
            result = MAY_BE_WRITTEN if concluded.may_be_written else concluded.outcome
            kept = {name: intent[name] for name in ("queue", "job", "attempt", "natural_key")}
            row = {"act": Act.OUTCOME, "at": instant(at), "intent": intent_id, "result": result, **kept}
            chain.append(connection, [{**row, "content": to_text(content)}])
        return True

    def open_intents(self, queue: QueueName) -> tuple[RecordedReset, ...]:
        """Return the intents of a queue that have no final outcome, the oldest first.

        Held under the queue's lock, they are those that a pass left behind; else another instance may be at work.
        """
        is_open = and_(JOURNAL.c.act == Act.INTENT, JOURNAL.c.queue == escape(queue), ~exists().where(IS_FINAL))
        with self._store.reading() as connection:
            return tuple(_read_page(connection, select(JOURNAL).where(is_open).order_by(JOURNAL.c.number), _reset))

    def rehearse(self, intents: Collection[Intent]) -> tuple[Intent, ...]:
        """Record what a dry run would have tried, once per attempt; return what was new."""
        return self._record_once(
            intents, act=Act.DRY_RUN, about="rehearsed", result=lambda _: Outcome.DRY_RUN, key=lambda it: it.key
        )

    def refuse(self, refusals: Collection[RecordedRefusal]) -> tuple[RecordedRefusal, ...]:
        """Record refusals, once per attempt and reason; return what was new.

        Meant to be called with all refusals of one queue at each pass: what the last call held costs nothing.
        """
        return self._record_once(
            refusals, act=Act.REFUSAL, about="refused", result=lambda refusal: refusal.reason, key=lambda it: it.key
        )

    def count_resets(self, queue: QueueName, *, since: datetime) -> int:
        """Count the intents of a queue that may have reset a job."""
        with self._store.reading() as connection:
            return int(connection.execute(_may_have_reset(queue, since, func.count())).scalar_one())

    def resets_by_job(
        self, queue: QueueName, *, since: datetime, jobs: Iterable[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], int]:
        """Count the intents that may have reset each of these jobs, which are named by their natural keys."""
        texts = {to_text(job): job for job in jobs}
        counted = _may_have_reset(queue, since, JOURNAL.c.natural_key, func.count()).group_by(JOURNAL.c.natural_key)
        numbers = dict.fromkeys(texts.values(), 0)
        with self._store.reading() as connection:
            numbers.update((texts[text], number) for text, number in connection.execute(counted) if text in texts)
        return MappingProxyType(numbers)

    def history(
        self, *, queue: QueueName | None = None, since: datetime | None = None, job: JobId | None = None
    ) -> Iterator[Recorded]:
        """Yield resets, dry runs and refusals, the newest last; reads a page at a time."""
        wanted: list[ColumnElement[bool]] = [JOURNAL.c.act != Act.OUTCOME]
        if queue is not None:
            wanted.append(JOURNAL.c.queue == escape(queue))
        if since is not None:
            wanted.append(JOURNAL.c.at >= instant(since))
        if job is not None:
            wanted.append(JOURNAL.c.job == job_column(job))
        number: int | None = 0
        while number is not None:
            query = select(JOURNAL).where(*wanted, JOURNAL.c.number > number).order_by(JOURNAL.c.number).limit(PAGE)
            with self._store.reading() as connection:
                page = _read_page(connection, query, lambda row, outcome: (row["number"], _recorded(row, outcome)))
            number = page[-1][0] if len(page) == PAGE else None
            for _, recorded in page:
                key = recorded.intent.key if isinstance(recorded, RecordedReset) else recorded.key
                if job is None or key.job_id == job:  # the column holds only what a long id begins with
                    yield recorded

    def latest(self, number: int) -> tuple[Recorded, ...]:
        """Return so many of the latest resets, dry runs and refusals, the newest last."""
        query = select(JOURNAL).where(JOURNAL.c.act != Act.OUTCOME).order_by(JOURNAL.c.number.desc()).limit(number)
        with self._store.reading() as connection:
            return tuple(reversed(_read_page(connection, query, _recorded)))

    def verify(self) -> str | None:
        """Return what is wrong with the first entry that is not as it was written; None where all are.

        Reads a page at a time; what is added meanwhile is left for the next time.
        """
        with self._store.reading() as connection:
            head = chain.read_head(connection, locks=False)
        fault = chain.first_fault(self._entries(up_to=head.number), head)
        if fault is None:
            with self._store.reading() as connection:
                last = connection.execute(select(func.max(JOURNAL.c.number))).scalar() or 0
                if last > chain.read_head(connection, locks=False).number:
                    return f"entry {last} is after the last one"
        return fault

    def _entries(self, *, up_to: int) -> Iterator[RowMapping]:
        number = 0
        while True:
            page = select(JOURNAL).where(JOURNAL.c.number > number, JOURNAL.c.number <= up_to)
            with self._store.reading() as connection:
                rows = connection.execute(page.order_by(JOURNAL.c.number).limit(PAGE)).mappings().all()
            yield from rows
            if len(rows) < PAGE:
                return
            number = rows[-1]["number"]

    def forget(self, *, before: datetime) -> int:
        """Forget the oldest entries, up to the first that is not from before; return how many there were.

        Open intents stay, and an outcome keeps its intent. The chain goes on from the last that was forgotten.
        """
        forgotten = 0
        while True:
            with self._store.writing() as connection:
                head = chain.read_head(connection, locks=True)
                last = min(_last_old(connection, head, before=before), head.forgotten_number + FORGET_AT_ONCE)
                last = _spare_pairs(connection, head, last=last)
                if last <= head.forgotten_number:
                    return forgotten
                digest = connection.execute(select(JOURNAL.c.digest).where(JOURNAL.c.number == last)).scalar_one()
                forgotten += connection.execute(delete(JOURNAL).where(JOURNAL.c.number <= last)).rowcount
                connection.execute(update(HEAD).values(forgotten_number=last, forgotten_digest=digest))

    def _record_once(
        self,
        items: Collection[T],
        *,
        act: Act,
        about: str,
        result: Callable[[T], str],
        key: Callable[[T], AttemptKey],
    ) -> tuple[T, ...]:
        by_mark = {(key(item), result(item)): item for item in items}
        queues = {mark[0].queue for mark in by_mark}
        known = frozenset[tuple[AttemptKey, str]]().union(*(self._recorded.get((about, it), ()) for it in queues))
        new = {mark: item for mark, item in by_mark.items() if mark not in known}
        if new:
            with self._store.writing() as connection:
                chain.read_head(connection, locks=True)
                there = _recorded_marks(connection, act, [key_digest(attempt) for attempt, _ in new])
                new = {mark: item for mark, item in new.items() if (key_digest(mark[0]), mark[1]) not in there}
                chain.append(connection, [_row(act, item, result=mark[1]) for mark, item in new.items()])
        for queue in queues:
            self._recorded[about, queue] = frozenset(mark for mark in by_mark if mark[0].queue == queue)
        return tuple(new.values())


def _row(act: Act, item: Any, *, result: str) -> dict[str, Any]:
    content = write_refusal(item) if isinstance(item, RecordedRefusal) else write_intent(item)
    return {
        "act": act,
        "at": instant(item.at),
        "queue": escape(item.key.queue),
        "job": job_column(item.key.job_id),
        "attempt": key_digest(item.key),
        "natural_key": to_text(list(item.natural_key)),
        "intent": None,
        "result": result,
        "content": to_text(content),
    }


def _may_have_reset(queue: QueueName, since: datetime, *columns: Any) -> Select[Any]:
    """Select from the intents of a queue that have reset a job, or of which that is not known."""
    return (
        select(*columns)
        .select_from(JOURNAL)
        .outerjoin(OUTCOMES, IS_FINAL)
        .where(JOURNAL.c.act == Act.INTENT, JOURNAL.c.queue == escape(queue), JOURNAL.c.at >= instant(since))
        .where(or_(OUTCOMES.c.result.is_(None), OUTCOMES.c.result.in_((Outcome.RESET, MAY_BE_WRITTEN))))
    )


def _recorded_marks(connection: Connection, act: Act, attempts: Sequence[str]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for begin in range(0, len(attempts), PAGE):
        query = select(JOURNAL.c.attempt, JOURNAL.c.result).where(
            JOURNAL.c.attempt.in_(attempts[begin : begin + PAGE]), JOURNAL.c.act == act
        )
        found.update((attempt, result) for attempt, result in connection.execute(query))
    return found


def _read_page(connection: Connection, query: Any, read: Callable[[RowMapping, RowMapping | None], T]) -> list[T]:
    """Read entries, each with its last outcome where it has one."""
    rows = connection.execute(query).mappings().all()
    outcomes: dict[int, RowMapping] = {}
    numbers = [row["number"] for row in rows if row["act"] == Act.INTENT]
    for begin in range(0, len(numbers), PAGE):
        found = select(JOURNAL).where(JOURNAL.c.intent.in_(numbers[begin : begin + PAGE])).order_by(JOURNAL.c.number)
        outcomes |= {row["intent"]: row for row in connection.execute(found).mappings()}
    return [read(row, outcomes.get(row["number"])) for row in rows]


def _recorded(row: RowMapping, outcome: RowMapping | None) -> Recorded:
    if row["act"] == Act.REFUSAL:
        return read_refusal(from_text(row["content"]))
    return _reset(row, outcome)


def _reset(row: RowMapping, outcome: RowMapping | None) -> RecordedReset:
    number, intent = IntentId(row["number"]), read_intent(from_text(row["content"]))
    if row["act"] == Act.DRY_RUN:
        return RecordedReset(number=number, intent=intent, outcome=Outcome.DRY_RUN, concluded_at=intent.at)
    if outcome is None:
        return RecordedReset(number=number, intent=intent)
    content = from_text(outcome["content"])
    return RecordedReset(
        number=number,
        intent=intent,
        outcome=Outcome(content["outcome"]),
        detail=content["detail"],
        concluded_at=read_instant(content["at"]),
        may_be_written=outcome["result"] == MAY_BE_WRITTEN,
    )


def _last_old(connection: Connection, head: chain.Head, *, before: datetime) -> int:
    first_kept = connection.execute(select(func.min(JOURNAL.c.number)).where(JOURNAL.c.at >= instant(before))).scalar()
    return head.number if first_kept is None else first_kept - 1


def _spare_pairs(connection: Connection, head: chain.Head, *, last: int) -> int:
    """Return how far may be forgotten so that no open intent goes, and no intent without its outcomes."""
    is_open = and_(JOURNAL.c.act == Act.INTENT, ~exists().where(IS_FINAL))
    first_open = connection.execute(
        select(func.min(JOURNAL.c.number)).where(is_open, JOURNAL.c.number <= last)
    ).scalar()
    last = last if first_open is None else first_open - 1
    while last > head.forgotten_number:
        kept = select(func.min(JOURNAL.c.intent)).where(JOURNAL.c.number > last, JOURNAL.c.act == Act.OUTCOME)
        first_needed = connection.execute(kept).scalar()
        if first_needed is None or first_needed > last:
            break
        last = first_needed - 1
    return last
