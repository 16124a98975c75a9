"""What every ledger keeps, on SQLite, MariaDB and PostgreSQL."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from exporter.address import Address
from exporter.errors import LedgerError
from exporter.jobs import AttemptKey, JobId, QueueName
from healers import sightings
from healers.ledger import Ledger, RecordedRefusal, RecordedReset
from healers.ledger import sightings as kept
from healers.outcomes import OriginalRow, Outcome
from healers.resets.reconciliation import MOVED_ON, conclude
from healers.sightings import AttemptSighting, Boot, Enrolment, Learned, Sightings
from tests.contracts.ledgers import (
    AT,
    QUEUE,
    SYSTEMS,
    a_key,
    a_refusal,
    an_intent,
    concluded,
    empty_database,
    opened,
)

HOUR = timedelta(hours=1)
STARTED = (
    None,
    7,
    "2026-10-25 02:30:00",
    b"\x00\xff",
    Decimal("1.50"),
    date(2026, 1, 2),
    datetime(2026, 10, 25, 2, 30),  # noqa: DTZ001  as a driver reads a DATETIME
    datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    timedelta(days=-1, microseconds=3),
    "\x00\x1b[31m\udcff\n{",
)


@pytest.fixture(params=SYSTEMS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """The address of a database without a ledger, on each system in turn."""
    with empty_database(
        request.param,
        tmp_path,
        mariadb=lambda: request.getfixturevalue("mariadb"),
        postgres=lambda: request.getfixturevalue("postgres"),
    ) as found:
        yield found


@pytest.fixture
def ledger(address: Address) -> Iterator[Ledger]:
    """A ledger that is open for writing."""
    with opened(address) as found:
        yield found


def test_an_intent_is_read_again_as_it_was_with_its_outcome(ledger: Ledger) -> None:
    """History gives back the attempt, the row, the proofs and the outcome, whatever bytes they hold."""
    intents = [an_intent(a_key(f"j{number}", started=started)) for number, started in enumerate(STARTED)]
    numbers = [ledger.journal.intend(intent) for intent in intents]
    assert ledger.journal.conclude(numbers[0], concluded(intents[0], Outcome.RESET, "x\x00\n"), at=AT)
    found = [it for it in ledger.journal.history() if isinstance(it, RecordedReset)]
    assert [it.intent for it in found] == intents
    assert (found[0].outcome, found[0].detail, found[0].concluded_at) == (Outcome.RESET, "x\x00\n", AT)
    assert found[1].outcome is None
    assert ledger.journal.verify() is None


def test_of_a_long_value_a_digest_is_kept_and_what_changes(ledger: Ledger) -> None:
    """A value over 64 KiB is in the journal as its SHA-256 and length; a shorter one whole."""
    row = {"payload": "é" * 40_000, "note": "n" * 65_536}
    ledger.journal.intend(an_intent(row=row, changing={"payload.state": "RUNNING"}))
    (found,) = ledger.journal.history()
    assert isinstance(found, RecordedReset)
    assert str(found.intent.row["payload"]).endswith(" of 80000 bytes")
    assert found.intent.row["note"] == row["note"]
    assert found.intent.changing == {"payload.state": "RUNNING"}


def test_an_intent_is_open_until_a_final_outcome(ledger: Ledger) -> None:
    """`unknown` leaves it open, the next outcome ends it, and no later one replaces that."""
    intent = an_intent()
    number = ledger.journal.intend(intent)
    assert [it.number for it in ledger.journal.open_intents(QUEUE)] == [number]
    assert ledger.journal.open_intents(QueueName("other")) == ()
    assert ledger.journal.conclude(number, concluded(intent, Outcome.UNKNOWN), at=AT)
    assert [it.outcome for it in ledger.journal.open_intents(QUEUE)] == [Outcome.UNKNOWN]
    assert ledger.journal.conclude(number, concluded(intent, Outcome.GONE), at=AT)
    assert not ledger.journal.conclude(number, concluded(intent, Outcome.RESET), at=AT)
    assert ledger.journal.open_intents(QUEUE) == ()
    (found,) = ledger.journal.history()
    assert isinstance(found, RecordedReset)
    assert found.outcome is Outcome.GONE


def test_no_outcome_without_its_intent(ledger: Ledger) -> None:
    """An outcome of nothing, or of another attempt, is refused."""
    number = ledger.journal.intend(an_intent())
    for wrong, key in ((number + 1, a_key()), (number, a_key("2"))):
        with pytest.raises(LedgerError, match="is no intent about"):
            ledger.journal.conclude(type(number)(wrong), concluded(an_intent(key), Outcome.RESET), at=AT)


def test_budgets_count_what_may_have_been_reset(ledger: Ledger) -> None:
    """Resets, unknown and open intents count, by natural key and since a time; what reset nothing does not."""
    outcomes = [Outcome.RESET, Outcome.UNKNOWN, None, Outcome.LOST_RACE, Outcome.GONE, Outcome.FAILED]
    for number, outcome in enumerate(outcomes):
        intent = an_intent(a_key(str(number)), natural_key=("site", "1"))
        entry = ledger.journal.intend(intent)
        if outcome:
            ledger.journal.conclude(entry, concluded(intent, outcome), at=AT)
    ledger.journal.intend(an_intent(a_key("old"), at=AT - HOUR))
    ledger.journal.intend(an_intent(a_key("elsewhere", queue="other")))
    ledger.journal.rehearse([an_intent(a_key("dry"))])
    assert ledger.journal.count_resets(QUEUE, since=AT) == 3
    since = AT - HOUR
    jobs = [("site", "1"), ("site", "old"), ("site", "never")]
    assert ledger.journal.resets_by_job(QUEUE, since=since, jobs=jobs) == dict(zip(jobs, (3, 1, 0), strict=True))
    assert ledger.journal.resets_by_job(QUEUE, since=since, jobs=[]) == {}


@pytest.mark.parametrize("is_there", [True, False], ids=["claimed anew", "finished"])
def test_what_may_have_been_put_back_counts_to_budgets(ledger: Ledger, *, is_there: bool) -> None:
    """An answer was lost, and the job has moved on: who put it back, if anybody did, cannot be told."""
    claim = an_intent().claim
    anew = replace(claim, key=replace(claim.key, pid_text="9"))
    row = OriginalRow(claim=anew, is_started=True, values={}) if is_there else None
    for may_be_written in (False, True):
        number = ledger.journal.intend(an_intent())
        found = conclude(claim, row, may_be_written=may_be_written, because="no answer")
        assert ledger.journal.conclude(number, found, at=AT)
        assert ledger.journal.count_resets(QUEUE, since=AT) == may_be_written
    before, after = ledger.journal.history()
    assert isinstance(before, RecordedReset)
    assert isinstance(after, RecordedReset)
    assert before.outcome is after.outcome is (Outcome.LOST_RACE if is_there else Outcome.GONE)
    assert (before.may_be_written, before.detail) == (False, "no answer")
    assert (after.may_be_written, after.detail) == (True, f"no answer; {MOVED_ON}")
    assert ledger.journal.open_intents(QUEUE) == ()


def test_a_refusal_is_recorded_once_per_attempt_and_reason(ledger: Ledger, address: Address) -> None:
    """Neither a second pass, nor a flapping reason, nor another instance records it again."""
    first, other = a_refusal(), a_refusal(reason="paused")
    assert ledger.journal.refuse([first]) == (first,)
    assert ledger.journal.refuse([first, other]) == (other,)
    assert ledger.journal.refuse([other]) == ()
    assert ledger.journal.refuse([first]) == ()
    with opened(address) as again:
        assert again.journal.refuse([replace(first, at=AT + HOUR)]) == ()
    assert list(ledger.journal.history()) == [first, other]


def test_a_dry_run_is_recorded_once_per_attempt(ledger: Ledger, address: Address) -> None:
    """It is in the history with the outcome `dry_run`, and is never an open intent."""
    intent = an_intent(mode="dry_run")
    assert ledger.journal.rehearse([intent]) == (intent,)
    with opened(address) as again:
        assert again.journal.rehearse([intent]) == ()
    (found,) = ledger.journal.history()
    assert isinstance(found, RecordedReset)
    assert found.outcome is Outcome.DRY_RUN
    assert ledger.journal.open_intents(QUEUE) == ()


def test_history_is_filtered_and_read_by_pages(ledger: Ledger) -> None:
    """By queue, time and job, newest last, over several pages; long ids that begin alike are told apart."""
    long = "x" * 300
    refusals = [a_refusal(a_key(str(number)), at=AT + timedelta(seconds=number)) for number in range(450)]
    twins = [a_refusal(a_key(long + end), at=AT - HOUR) for end in "ab"]
    ledger.journal.refuse([*twins, *refusals])
    assert list(ledger.journal.history(since=AT)) == refusals
    assert list(ledger.journal.history(job=JobId(long + "b"))) == [twins[1]]
    assert list(ledger.journal.history(queue=QueueName("other"))) == []
    found = [it.at for it in ledger.journal.history(queue=QUEUE) if isinstance(it, RecordedRefusal)]
    assert len(found) == 452


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE queuemedic_journal SET content = REPLACE(content, 'web1', 'web2') WHERE number = 2", "2 was changed"),
        ("UPDATE queuemedic_journal SET result = 'gone' WHERE number = 3", "3 was changed"),
        ("DELETE FROM queuemedic_journal WHERE number = 2", "2 is missing"),
        ("DELETE FROM queuemedic_journal WHERE number = 1", "1 is missing"),
        ("DELETE FROM queuemedic_journal WHERE number = 4", "4 is missing"),
    ],
)
def test_a_changed_journal_shows(ledger: Ledger, address: Address, statement: str, fault: str) -> None:
    """The first entry that somebody changed or took out is named."""
    for job in "1234":
        ledger.journal.intend(an_intent(a_key(job)))
    assert ledger.journal.verify() is None
    engine = create_engine(address.url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
    assert ledger.journal.verify() == f"entry {fault}"


def test_forgetting_leaves_a_chain_open_intents_and_pairs(ledger: Ledger) -> None:
    """Old entries go, but for an open intent and all after it; the rest still verifies, and can be added to."""
    first, second, third = (an_intent(a_key(job), at=AT - 2 * HOUR) for job in "123")
    ledger.journal.conclude(ledger.journal.intend(first), concluded(first, Outcome.RESET), at=AT - 2 * HOUR)
    late = ledger.journal.intend(second)
    assert ledger.journal.forget(before=AT - HOUR) == 2
    ledger.journal.conclude(late, concluded(second, Outcome.RESET), at=AT)
    assert ledger.journal.forget(before=AT - HOUR) == 0
    assert ledger.journal.forget(before=AT + HOUR) == 2
    ledger.journal.intend(third)
    assert ledger.journal.verify() is None
    assert [it.intent for it in ledger.journal.history() if isinstance(it, RecordedReset)] == [third]


def test_writers_at_the_same_time_make_one_chain(address: Address) -> None:
    """Several instances that start and write at once migrate once and leave a journal without a fault."""
    faults: list[Exception] = []

    def work(name: str) -> None:
        try:
            with opened(address) as ledger:
                for number in range(10):
                    intent = an_intent(a_key(f"{name}{number}"))
                    ledger.journal.conclude(ledger.journal.intend(intent), concluded(intent, Outcome.RESET), at=AT)
        except Exception as fault:  # noqa: BLE001 - shown below
            faults.append(fault)

    workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert faults == []
    with opened(address) as ledger:
        assert ledger.journal.verify() is None
        assert ledger.journal.count_resets(QUEUE, since=AT) == 40


def an_enrolment(ticks: int = 918273) -> Enrolment:
    return Enrolment(machine_id="m", boot_id="b", pid=4380, start_ticks=ticks, seen_at=AT)


def a_boot(last_at: datetime, boot_id: str = "b") -> Boot:
    return Boot(machine_id="m", boot_id=boot_id, first_at=AT, last_at=last_at)


def test_sightings_survive_a_restart(ledger: Ledger, address: Address) -> None:
    """Whatever was learned is loaded again, equal, keys of every type of start time among it; what is gone is not."""
    attempts = {
        a_key(str(number), started=started): AttemptSighting(
            first_seen_at=AT, asked_at=AT, enrolment=an_enrolment() if number % 2 else None, boots=("m/a", "m/b")
        )
        for number, started in enumerate(STARTED)
    }
    learned = Learned(
        attempts=attempts,
        boots={"web\n1": (a_boot(AT), replace(a_boot(AT + HOUR, "c"), is_reboot=True))},
        proven=frozenset({(QUEUE, "m")}),
        workers=frozenset({(QUEUE, "web1", 4380)}),
    )
    ledger.sightings.learn(learned, at=AT)
    ledger.sightings.retire("old\x00", why="burnt", actor="ann", at=AT)
    with opened(address) as again:
        known = again.sightings.load()
        assert replace(known, retired={}) == Sightings().learn(learned)
        assert known.retired == again.sightings.retired()
        assert known.retired["old\x00"].why == "burnt"
        again.sightings.learn(Learned(gone=frozenset([a_key("1", started=7)])), at=AT)
        again.sightings.learn(Learned(returned=frozenset(["old\x00"])), at=AT)
        assert again.sightings.retired() == {}
    assert len(ledger.sightings.load().attempts) == len(attempts) - 1


def test_what_was_kept_of_many_attempts_stays_where_the_rest_fails(
    ledger: Ledger, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take several transactions, hosts first; the next try goes on with the rest."""
    monkeypatch.setattr(kept, "ATTEMPTS_AT_ONCE", 2)
    attempts = {a_key(str(number)): AttemptSighting(first_seen_at=AT) for number in range(5)}
    learned = Learned(attempts=attempts, boots={"web1": (a_boot(AT),)})
    merged, left = kept._merged, [1, 1]

    def fail_once_in_the_middle(*arguments: Any) -> Any:
        if not left:
            left.extend([1] * 9)
            raise LedgerError("the disk is full")
        left.pop()
        return merged(*arguments)

    monkeypatch.setattr(kept, "_merged", fail_once_in_the_middle)
    with pytest.raises(LedgerError, match="the disk is full"):
        ledger.sightings.learn(learned, at=AT)
    with opened(address) as again:
        known = again.sightings.load()
        assert (len(known.attempts), set(known.boots)) == (4, {"web1"})
        ledger.sightings.learn(learned, at=AT)
        assert again.sightings.load().attempts == attempts


def test_what_is_kept_is_not_written_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round every few seconds teaches the same of thousands of attempts; only what is other is written."""
    written: list[Learned] = []
    write = ledger.sightings._write

    def note_and_write(new: Learned, at: datetime) -> None:
        written.append(new)
        write(new, at)

    monkeypatch.setattr(ledger.sightings, "_write", note_and_write)
    one, two = (a_key(job) for job in "12")
    seen = AttemptSighting(first_seen_at=AT)
    workers, proven = frozenset({(QUEUE, "web1", 1)}), frozenset({(QUEUE, "m")})
    learned = Learned(attempts={one: seen}, boots={"web1": (a_boot(AT),)}, workers=workers, proven=proven)
    for _ in range(2):
        ledger.sightings.learn(learned, at=AT)
    assert written == [learned]
    ledger.sightings.learn(replace(learned, attempts={one: seen, two: seen}), at=AT)
    assert written[1:] == [Learned(attempts={two: seen})]


def test_of_machines_and_workers_only_the_latest_are_kept(
    ledger: Ledger, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run of an archiver is another worker: of a queue, those that nobody remembers are forgotten."""
    monkeypatch.setattr(sightings, "WORKERS_REMEMBERED", 2)
    monkeypatch.setattr(sightings, "MACHINES_REMEMBERED", 1)
    other = QueueName("other")
    ledger.sightings.learn(Learned(workers=frozenset({(other, "web1", 1)})), at=AT)
    for number in (3, 1, 5, 2, 4):  # the wall clock may be set, and a database has an order of its own
        at = AT + timedelta(seconds=6 - number)
        workers, proven = frozenset({(QUEUE, "web1", number)}), frozenset({(QUEUE, f"m{number}")})
        ledger.sightings.learn(Learned(workers=workers, proven=proven), at=at)
    remembered = {(QUEUE, "web1", 1), (QUEUE, "web1", 2), (other, "web1", 1)}
    for forgotten in (0, 7):
        with opened(address) as again:
            known = again.sightings.load()
            assert (set(known.workers), set(known.proven)) == (remembered, {(QUEUE, "m1")})
            assert ledger.forget(before=AT) == 7 - forgotten


def test_another_instance_takes_no_enrolment_away(ledger: Ledger, address: Address) -> None:
    """Of two that learn of one attempt, the earlier instants, the enrolment and every boot stay."""
    key = a_key()
    first = AttemptSighting(first_seen_at=AT, asked_at=AT, enrolment=an_enrolment(), boots=("m/a", "m/b"))
    ledger.sightings.learn(Learned(attempts={key: first}), at=AT)
    with opened(address) as other:
        later = AttemptSighting(first_seen_at=AT + HOUR, asked_at=AT + HOUR, boots=("m/b", "m/c"))
        other.sightings.learn(Learned(attempts={key: later}), at=AT)
    expected = replace(first, boots=("m/a", "m/b", "m/c"))
    assert ledger.sightings.load().attempts == {key: expected}


def test_when_a_host_last_answered_is_written_each_time(ledger: Ledger, address: Address) -> None:
    """A restart must not believe that a host was silent for longer than it was; our boot clock is not kept."""
    with opened(address) as reader:
        for seconds in (0, 15, 30):
            boot = a_boot(AT + timedelta(seconds=seconds))
            ledger.sightings.learn(Learned(boots={"web1": (replace(boot, last_seconds=5.0),)}), at=AT)
            assert reader.sightings.load().boots["web1"] == (boot,)


def test_twenty_thousand_attempts_load_in_time_and_one_more_is_quick(ledger: Ledger, address: Address) -> None:
    """A start with 20,000 attempts takes less than 2 s; one more enrolment then writes one row."""
    sighting = AttemptSighting(first_seen_at=AT, asked_at=AT, enrolment=an_enrolment())
    attempts: dict[AttemptKey, AttemptSighting] = {a_key(str(number)): sighting for number in range(20_000)}
    ledger.sightings.learn(Learned(attempts=attempts), at=AT)
    with opened(address) as again:
        began = time.process_time()
        assert len(again.sightings.load().attempts) == 20_000
        assert time.process_time() - began < 2
        one_more = {**attempts, a_key("new"): sighting}
        again.sightings.learn(Learned(attempts=one_more), at=AT + HOUR)
    engine = create_engine(address.url)
    with engine.connect() as connection:
        count = text("SELECT COUNT(*) FROM queuemedic_sightings WHERE learned_at > '2026-11-24T12:30'")
        assert connection.execute(count).scalar() == 1
    engine.dispose()
    assert ledger.forget(before=AT + HOUR) == 20_000


def test_pauses_hold_for_every_instance_until_resumed(ledger: Ledger, address: Address) -> None:
    """A queue's pause and that of all are apart; `resume` without a queue ends both, and says whose they were."""
    ledger.brakes.pause(None, why="new rack\n", actor="ann (sudo)", at=AT)
    ledger.brakes.pause(QUEUE, why="look", actor="bob", at=AT)
    ledger.brakes.pause(QUEUE, why="look again", actor="bob", at=AT)
    with opened(address) as other:
        assert {name: pause.why for name, pause in other.brakes.pauses().items()} == {
            None: "new rack\n",
            QUEUE: "look again",
        }
        assert list(other.brakes.resume(QUEUE)) == [QUEUE]
        assert list(other.brakes.resume(QUEUE)) == []
        assert list(ledger.brakes.pauses()) == [None]
        other.brakes.pause(QUEUE, why="look", actor="bob", at=AT)
        assert set(other.brakes.resume(None)) == {None, QUEUE}
    assert ledger.brakes.pauses() == {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A breaker as the healer may keep it."""

    open_since: datetime | None = None
    acknowledged: frozenset[AttemptKey] = frozenset()
    hosts: int = 0


def test_a_breaker_is_kept_by_compare_and_set(ledger: Ledger, address: Address) -> None:
    """It survives a restart, and of two that change it at once the second is told to read again."""
    opened_breaker = Breaker(open_since=AT, acknowledged=frozenset([a_key("1"), a_key("2", started=None)]), hosts=3)
    assert ledger.brakes.breaker(QUEUE, Breaker) is None
    assert ledger.brakes.keep_breaker(QUEUE, opened_breaker, instead_of=None)
    with opened(address) as other:
        assert other.brakes.breaker(QUEUE, Breaker) == opened_breaker
        assert not other.brakes.keep_breaker(QUEUE, Breaker(), instead_of=Breaker(hosts=1))
        assert other.brakes.keep_breaker(QUEUE, Breaker(), instead_of=opened_breaker)
    assert ledger.brakes.breaker(QUEUE, Breaker) == Breaker()


def test_a_lease_has_one_holder_and_rising_terms(ledger: Ledger, address: Address) -> None:
    """While it lasts nobody else gets it; after its end, or its release, the next term is higher."""
    brakes = ledger.brakes
    assert brakes.lease(QUEUE, holder="a", lasts=HOUR) == 1
    with opened(address) as other:
        assert other.brakes.lease(QUEUE, holder="b", lasts=HOUR) is None
        assert not other.brakes.renew(QUEUE, holder="b", term=1, lasts=HOUR)
        assert brakes.renew(QUEUE, holder="a", term=1, lasts=-HOUR)
        assert not brakes.renew(QUEUE, holder="a", term=1, lasts=HOUR)
        assert other.brakes.lease(QUEUE, holder="b", lasts=HOUR) == 2
        brakes.release(QUEUE, holder="a", term=1)
        assert brakes.lease(QUEUE, holder="a", lasts=HOUR) is None
        other.brakes.release(QUEUE, holder="b", term=2)
    assert brakes.lease(QUEUE, holder="a", lasts=HOUR) == 3
