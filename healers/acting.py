"""What a pass does under the queue's lock: settle what was left open, plan again, put back one job after the other.

Before each job all that it rests on is looked at once more: a pass may be long, and a host that answers, a proof that
expires, a window that closes or a pause holds for the very next job. What goes wrong with one row is that row's: it is
tried last from then on, and a few of those end a pass, so that they keep no others from being put back.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog

from exporter.errors import ConfigurationError, LedgerError, ReadError
from exporter.jobs import AttemptKey, QueueName

from .beliefs import Moment
from .candidates import Candidate
from .ledger import IntentId, Ledger
from .outcomes import Concluded, Outcome
from .plan import Plan
from .recording import Recorder
from .refusals import Refusal, RefusalReason, refusal
from .resets.protocol import Reset
from .resets.reconciliation import conclude, reconcile

FAILURES_END_PASS: Final = 3
REST_SECONDS: Final = (15.0, 30.0, 60.0, 120.0)

log = structlog.get_logger()


@dataclass(slots=True)
class Work:
    """What a pass has done so far, whatever ends it; `plan` is None until the lock was asked for. `error` ended it."""

    plan: Plan | None = None
    has_lock: bool | None = None
    concluded: list[Concluded] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    fault: str = ""
    error: Exception | None = None


class Acting:
    """The hands of one healer, and what they remember from pass to pass. Not for two threads at once but for `end`."""

    def __init__(
        self,
        queue: QueueName,
        reset: Reset,
        *,
        get_ledger: Callable[[], Ledger],
        recorder: Recorder,
        note_healed: Callable[[frozenset[AttemptKey]], object],
        read_moment: Callable[[], Moment],
    ) -> None:
        self._queue = queue
        self._reset = reset
        self._get_ledger = get_ledger
        self._recorder = recorder
        self._note_healed = note_healed
        self._read_moment = read_moment
        self._has_to_end = threading.Event()
        self._failed: frozenset[AttemptKey] = frozenset()
        self._healed: frozenset[AttemptKey] = frozenset()
        self._unkept: Mapping[IntentId, Concluded] = MappingProxyType({})
        self._put_back_at: Mapping[AttemptKey, float] = MappingProxyType({})
        self._silences = 0
        self._rests_until = 0.0
        self.may_have_open_intents = True

    @property
    def unkept(self) -> frozenset[AttemptKey]:
        """The attempts of which the journal does not have yet what became of them."""
        return frozenset(concluded.key for concluded in self._unkept.values())

    @property
    def is_ailing(self) -> bool:
        """Whether the account that writes did not answer when the lock was last wanted."""
        return self._silences > 0

    def rests(self, moment: Moment) -> bool:
        """Tell whether to leave the account that writes alone for now, as it did not answer lately."""
        return moment.boottime_seconds < self._rests_until

    def end(self) -> None:
        """Begin with no other job; for any thread."""
        self._has_to_end.set()

    def is_back(self, key: AttemptKey, *, read_seconds: float) -> bool:
        """Tell whether an attempt was put back after the poll that still shows it as started."""
        return self._put_back_at.get(key, -1.0) >= read_seconds

    def forget(self, started: frozenset[AttemptKey], *, read_seconds: float) -> None:
        """Forget what is over by the latest poll."""
        self._put_back_at = {key: at for key, at in self._put_back_at.items() if at >= read_seconds}
        self._failed &= started
        self._heal(self._healed & started)

    def act(
        self,
        make_plan: Callable[[bool], tuple[Plan, str]],
        check: Callable[[Candidate, int], Refusal | None],
        *,
        wait_seconds: float,
        failures_end: int | None,
    ) -> Work:
        """Take the lock, and put back what `make_plan` plans then; raises nothing.

        `make_plan` is told whether the lock was had, and returns a fault besides; `check` is asked before each job,
        with how many were put back so far. So many `failures_end` it; for who comes but once (None) none do.
        """
        work = Work()
        try:
            with self._reset.lock(wait_seconds=wait_seconds) as has_lock:
                work.has_lock = has_lock
                if has_lock:
                    self._settle(work)
                work.plan, fault = make_plan(has_lock)
                work.fault = fault or work.fault
                self._put_back(work.plan, work, check, failures_end)
        except Exception as error:  # noqa: BLE001  what was done before it has to be told
            work.fault, work.error = str(error) or type(error).__name__, error
            work.has_lock = work.has_lock or False
        self._note_silence(work)
        return work

    def settle(self) -> Work:
        """Take the lock, if nobody else has it, only to find out what became of intents that were left open."""
        work = Work()
        try:
            with self._reset.lock(wait_seconds=0) as work.has_lock:
                if work.has_lock:
                    self._settle(work)
        except (ReadError, ConfigurationError, LedgerError) as error:
            work.fault, work.error = str(error), error
            work.has_lock = work.has_lock or False
        self._note_silence(work)
        return work

    def _note_silence(self, work: Work) -> None:
        """Rest for longer each time that the lock could not even be asked for."""
        if not work.has_lock and isinstance(work.error, ReadError):
            rest = REST_SECONDS[min(self._silences, len(REST_SECONDS) - 1)]
            self._silences += 1
            self._rests_until = self._read_moment().boottime_seconds + rest
        elif work.has_lock is not None:
            self._silences, self._rests_until = 0, 0.0

    def _settle(self, work: Work) -> None:
        """Conclude every intent that has no outcome; nobody else is at work on them, as the lock is ours."""
        journal, is_open = self._get_ledger().journal, False
        for left in journal.open_intents(self._queue):
            known = concluded = self._unkept.get(left.number)
            if concluded is None:
                try:
                    row = self._reset.reread([left.intent.key]).get(left.intent.key)
                except Exception as cause:  # noqa: BLE001  it stays open, and keeps no others so
                    work.fault, is_open = str(cause) or type(cause).__name__, True
                    continue
                concluded = reconcile(left.intent.claim, row)
            journal.conclude(left.number, concluded, at=self._read_moment().at)
            if known is None:
                work.concluded.append(concluded)
                if concluded.outcome is Outcome.RESET:
                    self._note_reset(concluded.key)
            job, outcome = concluded.key.job_id, concluded.outcome.value
            log.warning("intent.reconciled", queue=self._queue, job=job, outcome=outcome)
        self.may_have_open_intents = is_open
        self._unkept = {}

    def _put_back(
        self,
        plan: Plan,
        work: Work,
        check: Callable[[Candidate, int], Refusal | None],
        failures_end: int | None,
    ) -> None:
        waiting = sorted(plan.resets, key=lambda one: one.attempt.key in self._failed)
        done = failures = 0
        while waiting and not self._has_to_end.is_set():
            candidate = waiting.pop(0)
            try:
                refused = check(candidate, done)
                if refused is not None:
                    work.refusals.append(refused)
                    continue
                concluded = self._put_one_back(candidate, work)
            except LedgerError as cause:
                self.may_have_open_intents, work.fault = True, str(cause)
                tried = {one.key for one in work.concluded}
                rest = [one for one in (candidate, *waiting) if one.attempt.key not in tried]
                work.refusals += [refusal(one, RefusalReason.LEDGER, str(cause)) for one in rest]
                return
            done += concluded.counts
            failures += concluded.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
            if failures == failures_end:
                work.fault = concluded.detail
                work.refusals += [refusal(one, RefusalReason.LOCK, concluded.detail) for one in waiting]
                return

    def _put_one_back(self, candidate: Candidate, work: Work) -> Concluded:
        """Read the row, intend, reset, conclude; raises LedgerError, and nothing is written where that is before."""
        claim, journal = candidate.attempt.claim, self._get_ledger().journal
        try:
            row = self._reset.reread([claim.key]).get(claim.key)
        except Exception as cause:  # noqa: BLE001  whatever a driver makes of one row keeps no others waiting
            detail = str(cause) or type(cause).__name__
            return self._conclude(work, Concluded(key=claim.key, outcome=Outcome.FAILED, detail=detail))
        if row is None or not row.is_started or row.claim != claim:
            return self._conclude(work, conclude(claim, row, may_be_written=False))
        intent_id = journal.intend(self._recorder.intent(candidate, row, at=self._read_moment().at))
        self._heal(self._healed | {claim.key})
        concluded = self._conclude(work, self._reset.reset(claim))
        if concluded.outcome is Outcome.RESET:
            self._note_reset(claim.key)
        else:
            self._heal(self._healed - {claim.key})
        if concluded.outcome is Outcome.UNKNOWN:
            self.may_have_open_intents = True
        else:
            self._unkept = {**self._unkept, intent_id: concluded}
        journal.conclude(intent_id, concluded, at=self._read_moment().at)
        self._unkept = {number: kept for number, kept in self._unkept.items() if number != intent_id}
        return concluded

    def _conclude(self, work: Work, concluded: Concluded) -> Concluded:
        work.concluded.append(concluded)
        if concluded.outcome is Outcome.FAILED:
            self._failed |= {concluded.key}
        else:
            self._failed -= {concluded.key}
        return concluded

    def _note_reset(self, key: AttemptKey) -> None:
        self._put_back_at = {**self._put_back_at, key: self._read_moment().boottime_seconds}
        self._heal(self._healed | {key})

    def _heal(self, keys: frozenset[AttemptKey]) -> None:
        """Say which attempts end by a reset, before it is done: a poll right after it must find that out."""
        if keys != self._healed:
            self._healed = keys
            self._note_healed(keys)
