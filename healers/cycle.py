"""One healing pass of one queue, in order: brakes, candidates, breaker, plan; then under the queue's lock reconcile,
plan again, and for each job read its row, intend, reset, conclude. The only place that strings these together.

Nothing is written to a queue before its intent is durable, and every intent is concluded by what really happened: by
this pass, or by a later one under the same lock. What cannot be read, or is in doubt, ends the pass.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import structlog

from exporter.errors import ConfigurationError, LedgerError, ReadError
from exporter.jobs import Attempt, AttemptKey, QueueName

from .asking import read_moment
from .beliefs import Moment
from .braking import Held, read_brakes, read_pause, step_breaker
from .breaker import tally
from .candidates import Candidate
from .conditions import ClockReading, Polls, compare_clocks, describe_database, follow_polls, read_clocks
from .gathering import Seen, gather
from .ledger import Ledger
from .options import HealingOptions
from .outcomes import Concluded, Outcome
from .plan import Plan, make_plan
from .reasons import Liveness
from .recording import Recorder
from .refusals import Refusal, RefusalReason, refusal
from .resets.protocol import Reset
from .resets.reconciliation import conclude, reconcile
from .situation import Person, Situation
from .tallying import Came, HealStatus, note_pass

FAILURES_END_PASS: Final = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass came to: the plan it went by, what became of its resets, and every candidate.

    `fault`: what kept the pass from going on, for people; empty where nothing did.
    """

    plan: Plan
    candidates: Mapping[AttemptKey, Candidate]
    concluded: tuple[Concluded, ...] = ()
    has_lock: bool | None = None
    fault: str = ""


@dataclass(slots=True)
class _Work:
    """What a pass has done so far under the lock, whatever ends it."""

    plan: Plan | None = None
    has_lock: bool | None = None
    concluded: list[Concluded] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    fault: str = ""


class Healer:
    """Heals one queue. `run` is for any thread, in turn; `status` is for all at any time."""

    def __init__(
        self,
        queue: QueueName,
        options: HealingOptions,
        *,
        reset: Reset | None,
        get_ledger: Callable[[], Ledger],
        recorder: Recorder,
        note_healed: Callable[[frozenset[AttemptKey]], object] = lambda _: None,
        read_moment: Callable[[], Moment] = read_moment,
    ) -> None:
        """Without a `reset`, plans are made and nothing more. `note_healed` is told which attempts end by a reset."""
        self.queue = queue
        self.status = HealStatus(queue=queue, mode=options.mode)
        self._options = options
        self._reset = reset
        self._get_ledger = get_ledger
        self._recorder = recorder
        self._note_healed = note_healed
        self._read_moment = read_moment
        self._turn = threading.Lock()
        self._has_to_end = threading.Event()
        self._polls = Polls()
        self._clocks: ClockReading | None = None
        self._may_have_open_intents = True
        self._failed: frozenset[AttemptKey] = frozenset()
        self._healed: frozenset[AttemptKey] = frozenset()
        self._unkept: frozenset[AttemptKey] = frozenset()
        self._put_back_at: Mapping[AttemptKey, float] = {}

    def run(
        self,
        seen: Seen,
        *,
        person: Person | None = None,
        wants: Callable[[Attempt], bool] = lambda _: True,
        wait_seconds: float = 0.0,
    ) -> Pass:
        """Make one pass.

        `wants` chooses what is planned; the breaker looks at all. `wait_seconds`: how long to wait for the lock. Where
        it cannot be asked for, a person's pass raises ReadError or ConfigurationError.
        """
        with self._turn:
            return self._run(seen, person, wants, wait_seconds)

    def reconcile(self) -> None:
        """Find out what became of intents that were left open, where the queue could not be read yet.

        They may be why: of a SQLite database whose writer was killed, only who may write restores the last state.
        """
        with self._turn:
            reset, at = self._reset, self._read_moment().at
            if reset is None or not self._may_have_open_intents:
                return
            brakes = read_brakes(
                self._get_ledger, self.queue, self._options, now=at, counts=False, looks_for_open_intents=True
            )
            if not brakes.has_open_intents:
                return
            work = _Work()
            try:
                with reset.lock(wait_seconds=0) as work.has_lock:
                    if work.has_lock:
                        self._reconcile(reset, work)
            except (ReadError, ConfigurationError, LedgerError) as cause:
                work.fault = str(cause)
            came = Came(
                plan=Plan(resets=(), refusals=(), is_dry_run=False),
                candidates=MappingProxyType({}),
                concluded=tuple(work.concluded),
                is_paused=bool(brakes.is_paused),
                has_lock=work.has_lock,
            )
            self._tell(came, fault=work.fault)

    def end(self, *, within_seconds: float) -> bool:
        """End the pass under way before its next reset, and make no more; False if it has not ended in time."""
        self._has_to_end.set()
        has_ended = self._turn.acquire(timeout=within_seconds)
        if has_ended:
            self._turn.release()
        return has_ended

    def _run(self, seen: Seen, person: Person | None, wants: Callable[[Attempt], bool], wait_seconds: float) -> Pass:
        self._polls = follow_polls(self._polls, seen.status, at=seen.moment.at)
        read_seconds = seen.held.watched.read_seconds
        self._put_back_at = {key: at for key, at in self._put_back_at.items() if at >= read_seconds}
        brakes = self._read_brakes(seen, person)
        candidates = gather(seen, count_resets=brakes.count_resets)
        situation = self._look(seen, brakes, candidates, person)
        wanted = self._choose(candidates, wants)
        plan = make_plan(wanted, situation)
        work = _Work(plan=plan, fault=brakes.fault)
        if self._reset is not None and not plan.is_dry_run and (plan.resets or brakes.has_open_intents):
            work = self._act(self._reset, seen, situation, wants, wait_seconds)
        plan = work.plan or make_plan(wanted, replace(situation, has_lock=None))
        done = Pass(
            plan=replace(plan, refusals=(*plan.refusals, *work.refusals)),
            candidates=MappingProxyType({one.attempt.key: one for one in candidates}),
            concluded=tuple(work.concluded),
            has_lock=work.has_lock,
            fault=work.fault,
        )
        if person is None or person.is_applied:
            self._note(done, seen, situation)
        return done

    def _read_brakes(self, seen: Seen, person: Person | None) -> Held:
        """Read the budgets only where something may be put back: an idle pass costs the ledger next to nothing."""
        is_idle = all(verdict.value is Liveness.ALIVE for verdict in seen.held.verdicts.values())
        brakes = read_brakes(
            self._get_ledger,
            self.queue,
            self._options,
            now=seen.moment.at,
            counts=person is not None or not is_idle,
            looks_for_open_intents=self._may_have_open_intents and self._reset is not None,
        )
        self._may_have_open_intents &= brakes.has_open_intents or not brakes.is_usable
        return brakes

    def _choose(self, candidates: Iterable[Candidate], wants: Callable[[Attempt], bool]) -> list[Candidate]:
        """Return what is to be planned: not what was put back after the poll that still shows it as started."""
        return [one for one in candidates if wants(one.attempt) and one.attempt.key not in self._put_back_at]

    def _look(self, seen: Seen, brakes: Held, candidates: Iterable[Candidate], person: Person | None) -> Situation:
        last, self._clocks = self._clocks, read_clocks(seen.status, seen.moment)
        reading = seen.status.reading
        breaker = step_breaker(
            self._get_ledger,
            self.queue,
            tally(candidates),
            self._options,
            now=seen.moment.at,
            keeps=person is None or person.is_applied,
        )
        return Situation(
            queue=self.queue,
            now=seen.moment.at,
            read_at=reading.snapshot.read_at if reading else seen.moment.at,
            options=self._options,
            is_paused=brakes.is_paused,
            pause_detail=brakes.pause_detail,
            resets_last_hour=brakes.resets_last_hour,
            breaker=breaker,
            database=describe_database(self._polls, seen.status),
            clocks=compare_clocks(last, self._clocks),
            is_ledger_usable=brakes.is_usable and breaker is not None,
            has_lock=True,
            loads=seen.loads,
            by_person=person,
        )

    def _act(
        self,
        reset: Reset,
        seen: Seen,
        situation: Situation,
        wants: Callable[[Attempt], bool],
        wait_seconds: float,
    ) -> _Work:
        """Take the lock, look again, and put back what is planned then."""
        work = _Work()
        try:
            with reset.lock(wait_seconds=wait_seconds) as has_lock:
                work.has_lock = has_lock
                if has_lock:
                    self._reconcile(reset, work)
                seen = replace(seen, moment=self._read_moment())
                brakes = self._read_brakes(seen, situation.by_person)
                candidates = gather(seen, count_resets=brakes.count_resets)
                situation = replace(
                    situation,
                    now=seen.moment.at,
                    is_paused=brakes.is_paused,
                    pause_detail=brakes.pause_detail,
                    resets_last_hour=brakes.resets_last_hour,
                    is_ledger_usable=brakes.is_usable and situation.breaker is not None,
                    has_lock=has_lock,
                )
                plan = make_plan(self._choose(candidates, wants), situation)
                work.plan, work.fault = plan, brakes.fault
                self._put_back(reset, plan, work)
        except (ReadError, ConfigurationError, LedgerError) as cause:
            if situation.by_person is not None and work.plan is None:
                raise
            work.fault = str(cause)
        return work

    def _reconcile(self, reset: Reset, work: _Work) -> None:
        """Find out what became of every intent that has no outcome; nobody else is at work, as the lock is ours."""
        journal = self._get_ledger().journal
        for left in journal.open_intents(self.queue):
            row = reset.reread([left.intent.key]).get(left.intent.key)
            concluded = reconcile(left.intent.claim, row)
            journal.conclude(left.number, concluded, at=self._read_moment().at)
            work.concluded.append(concluded)
            log.warning(
                "intent.reconciled", queue=self.queue, job=concluded.key.job_id, outcome=concluded.outcome.value
            )
        self._may_have_open_intents, self._unkept = False, frozenset()

    def _put_back(self, reset: Reset, plan: Plan, work: _Work) -> None:
        """Put back one after the other; a few that cannot be written, tried last, must not keep all others from it."""
        ledger, failures = self._get_ledger(), 0
        waiting = sorted(plan.resets, key=lambda one: one.attempt.key in self._failed)
        while waiting and not self._has_to_end.is_set():
            candidate = waiting[0]
            try:
                is_paused, detail = read_pause(ledger, self.queue)
                if is_paused:
                    work.refusals += [refusal(one, RefusalReason.PAUSED, detail) for one in waiting]
                    return
                concluded = self._put_one_back(reset, ledger, candidate, work)
            except LedgerError as cause:
                self._may_have_open_intents = True
                work.fault = str(cause)
                tried = {one.key for one in work.concluded}
                rest = [one for one in waiting if one.attempt.key not in tried]
                work.refusals += [refusal(one, RefusalReason.LEDGER, str(cause)) for one in rest]
                return
            failures += concluded.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
            waiting = waiting[1:]
            if failures >= FAILURES_END_PASS:
                work.fault = concluded.detail
                work.refusals += [refusal(one, RefusalReason.LOCK, concluded.detail) for one in waiting]
                return

    def _put_one_back(self, reset: Reset, ledger: Ledger, candidate: Candidate, work: _Work) -> Concluded:
        claim = candidate.attempt.claim
        row = reset.reread([claim.key]).get(claim.key)
        if row is None or not row.is_started or row.claim != claim:
            concluded = conclude(claim, row, may_be_written=False)
            work.concluded.append(concluded)
            return concluded
        intent_id = ledger.journal.intend(self._recorder.intent(candidate, row, at=self._read_moment().at))
        self._heal(self._healed | {claim.key})
        concluded = reset.reset(claim)
        work.concluded.append(concluded)
        if concluded.outcome is Outcome.RESET:
            self._put_back_at = {**self._put_back_at, claim.key: self._read_moment().boottime_seconds}
        else:
            self._heal(self._healed - {claim.key})
        if concluded.outcome is Outcome.UNKNOWN:
            self._may_have_open_intents = True
        self._unkept |= {claim.key}
        ledger.journal.conclude(intent_id, concluded, at=self._read_moment().at)
        self._unkept -= {claim.key}
        return concluded

    def _heal(self, keys: frozenset[AttemptKey]) -> None:
        """Say which attempts end by a reset, before it is done: a poll right after it must find that out."""
        self._healed = keys
        self._note_healed(keys)

    def _note(self, done: Pass, seen: Seen, situation: Situation) -> None:
        """Count, record and tell what the pass came to."""
        facts = seen.status.reading.facts if seen.status.reading else None
        stuck = facts.stuck if facts else {}
        told = tuple(
            one
            for one in done.plan.refusals
            if done.candidates[one.key].verdict.value is Liveness.DEAD or one.key in stuck
        )
        came = Came(
            plan=done.plan,
            candidates=done.candidates,
            concluded=done.concluded,
            refusals=told,
            is_paused=bool(situation.is_paused),
            breaker=situation.breaker,
            has_lock=done.has_lock,
            unkept=self._unkept,
        )
        self._tell(came, fault=done.fault)
        outcomes = {one.key: one.outcome for one in done.concluded}
        failed = {key for key, outcome in outcomes.items() if outcome is Outcome.FAILED}
        self._failed = frozenset((self._failed - outcomes.keys() | failed) & done.candidates.keys())
        reset = {key for key, outcome in outcomes.items() if outcome is Outcome.RESET}
        self._heal(frozenset((self._healed & done.candidates.keys()) | reset))

    def _tell(self, came: Came, *, fault: str) -> None:
        before, now = self.status, self._read_moment().at
        self._recorder.tell(came, before, at=now, fault=fault)
        self.status = note_pass(before, came, self._options, at=now)
