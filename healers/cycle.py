"""One healing pass of one queue, in order: brakes, candidates, breaker, plan; then under the queue's lock the same once
more, and each job on its own (`acting`). The only place that strings these together.

Nothing is written to a queue before its intent is durable, and every intent is concluded by what really happened: by
this pass, or by a later one under the same lock. What cannot be read, or is in doubt, is not put back.
"""

import threading
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from exporter.errors import QueuemedicError
from exporter.jobs import Attempt, AttemptKey, QueueName

from .acting import FAILURES_END_PASS, Acting, Work
from .asking import read_moment
from .beliefs import Moment, QueueBeliefs
from .braking import BudgetClock, Held, read_brakes, read_pause, step_breaker
from .breaker import tally
from .candidates import Candidate
from .conditions import ClockReading, Polls, compare_clocks, describe_database, follow_polls, read_clocks
from .gathering import Seen, gather, renew
from .guards import refuse
from .ledger import Ledger
from .options import HealingOptions
from .outcomes import Concluded
from .plan import Plan, make_plan
from .reasons import Liveness, Reason
from .recording import Recorder
from .refusals import Refusal, RefusalReason, refusal
from .resets.protocol import Reset
from .situation import Person, Situation
from .tallying import Came, HealStatus, note_pass
from .verdicts import Verdict


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How one pass is made: for whom, of what, by what is believed meanwhile, and how long it waits for the lock."""

    person: Person | None
    wants: Callable[[Attempt], bool]
    believe: Callable[[], QueueBeliefs | None]
    wait_seconds: float

    @property
    def is_kept(self) -> bool:
        """Whether what comes of it is counted and recorded: a person may only want to see it."""
        return self.person is None or self.person.is_applied


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
        self._get_ledger = get_ledger
        self._recorder = recorder
        self._read_moment = read_moment
        self._budget_clock = BudgetClock(options, read_moment())
        self._acting: Acting | None = None
        if reset is not None:
            self._acting = Acting(
                queue,
                reset,
                get_ledger=get_ledger,
                recorder=recorder,
                note_healed=note_healed,
                read_moment=read_moment,
            )
        self._turn = threading.Lock()
        self._polls = Polls()
        self._clocks: ClockReading | None = None
        self._fault = ""

    @property
    def is_ailing(self) -> bool:
        """Whether the account that writes did not answer when it was last wanted."""
        return self._acting is not None and self._acting.is_ailing

    def run(
        self,
        seen: Seen,
        *,
        person: Person | None = None,
        wants: Callable[[Attempt], bool] = lambda _: True,
        believe: Callable[[], QueueBeliefs | None] | None = None,
        wait_seconds: float = 0.0,
    ) -> Pass:
        """Make one pass.

        `wants` chooses what is planned; the breaker looks at all. `believe` returns what is held of the queue by then,
        for the look before each reset; without it that does not change. `wait_seconds`: how long to wait for the lock.
        Where it cannot be asked for, a person's pass raises ReadError or ConfigurationError.
        """
        order = Order(person=person, wants=wants, believe=believe or (lambda: seen.held), wait_seconds=wait_seconds)
        with self._turn:
            return self._run(seen, order)

    def reconcile(self) -> None:
        """Find out what became of intents that were left open, where the queue could not be read yet.

        They may be why: of a SQLite database whose writer was killed, only who may write restores the last state.
        """
        with self._turn:
            acting = self._acting
            if acting is None or not acting.may_have_open_intents:
                return
            brakes = self._read_ledger()
            if brakes.has_open_intents and not acting.rests(self._read_moment()):
                work = acting.settle()
                self._tell(
                    Came(
                        plan=Plan(resets=(), refusals=(), is_dry_run=False),
                        candidates=MappingProxyType({}),
                        concluded=tuple(work.concluded),
                        is_paused=brakes.is_paused,
                        has_lock=work.has_lock,
                    ),
                    fault=work.fault,
                )

    def use(self, config_digest: str) -> None:
        """Take note that a configuration is in force which leaves this queue as it was."""
        self._recorder.use(config_digest)

    def end(self, *, within_seconds: float) -> bool:
        """End the pass under way before its next reset, and put nothing back any more; False if it did not in time."""
        if self._acting is not None:
            self._acting.end()
        has_ended = self._turn.acquire(timeout=within_seconds)
        if has_ended:
            self._turn.release()
        return has_ended

    def _run(self, seen: Seen, order: Order) -> Pass:
        self._polls = follow_polls(self._polls, seen.status)
        brakes = self._read_brakes(seen, order)
        candidates = gather(seen, count_resets=brakes.count_resets)
        known = {one.attempt.key: one for one in candidates}
        situation = self._look(seen, brakes, candidates, order)
        wanted = self._choose(candidates, seen, order)
        plan = make_plan(wanted, situation)
        work = Work(plan=plan, fault=brakes.fault)
        if self._acting is not None and not plan.is_dry_run and (plan.resets or brakes.has_open_intents):
            if order.person is None and self._acting.rests(seen.moment):
                work = Work(fault=self._fault, has_lock=False)
            else:
                work = self._act(self._acting, seen, situation, order, known)
        plan = work.plan or make_plan(wanted, replace(situation, has_lock=None))
        self._fault = work.fault
        done = Pass(
            plan=replace(plan, refusals=(*plan.refusals, *work.refusals)),
            candidates=MappingProxyType(known),
            concluded=tuple(work.concluded),
            has_lock=work.has_lock,
            fault=work.fault,
        )
        if order.is_kept:
            self._note(done, seen, situation)
        _raise(work, order.person)
        return done

    def _act(
        self, acting: Acting, seen: Seen, situation: Situation, order: Order, known: dict[AttemptKey, Candidate]
    ) -> Work:
        """Act under the lock; a poll may have ended meanwhile, and brings candidates that were not `known`."""

        def plan_again(has_lock: bool) -> tuple[Plan, str]:
            now = replace(seen, moment=self._read_moment(), held=order.believe() or seen.held)
            brakes = self._read_brakes(now, order)
            candidates = gather(now, count_resets=brakes.count_resets)
            known.update((one.attempt.key, one) for one in candidates)
            latest = replace(
                situation,
                now=now.moment.at,
                is_paused=brakes.is_paused,
                pause_detail=brakes.pause_detail,
                resets_last_hour=brakes.resets_last_hour,
                is_ledger_usable=brakes.is_usable and situation.breaker is not None,
                has_lock=has_lock,
            )
            return make_plan(self._choose(candidates, now, order), latest), brakes.fault

        def check(candidate: Candidate, done: int) -> Refusal | None:
            held, moment = order.believe(), self._read_moment()
            fresh = renew(candidate, held, boottime_seconds=moment.boottime_seconds) if held else None
            if fresh is None:
                return refusal(candidate, RefusalReason.UNCONFIRMED, "nothing is held of this attempt any more")
            is_paused, detail = read_pause(self._get_ledger(), self.queue)
            latest = replace(situation, now=moment.at, is_paused=is_paused, pause_detail=detail, planned=done)
            return refuse(fresh, latest)

        failures_end = FAILURES_END_PASS if order.person is None else None
        return acting.act(plan_again, check, wait_seconds=order.wait_seconds, failures_end=failures_end)

    def _read_brakes(self, seen: Seen, order: Order) -> Held:
        """Read the budgets only where something may be put back: an idle pass costs the ledger next to nothing."""
        is_idle = all(verdict.value is Liveness.ALIVE for verdict in seen.held.verdicts.values())
        if is_idle and order.person is None:
            return self._read_ledger()
        return self._read_ledger({attempt.natural_key for attempt in seen.held.watched.started})

    def _read_ledger(self, jobs: Collection[tuple[str, ...]] | None = None) -> Held:
        acting = self._acting
        brakes = read_brakes(
            self._get_ledger,
            self.queue,
            self._options,
            now=self._budget_clock.read(self._read_moment()),
            jobs=jobs,
            looks_for_open_intents=acting is not None and acting.may_have_open_intents,
        )
        if acting is not None:
            acting.may_have_open_intents &= brakes.has_open_intents or not brakes.is_usable
        return brakes

    def _choose(self, candidates: Iterable[Candidate], seen: Seen, order: Order) -> list[Candidate]:
        """Return what is to be planned: not what was put back after the poll that still shows it as started."""
        read_seconds, acting = seen.held.watched.read_seconds, self._acting
        return [
            one
            for one in candidates
            if order.wants(one.attempt) and not (acting and acting.is_back(one.attempt.key, read_seconds=read_seconds))
        ]

    def _look(self, seen: Seen, brakes: Held, candidates: Iterable[Candidate], order: Order) -> Situation:
        last, self._clocks = self._clocks, read_clocks(seen.status, seen.moment)
        reading = seen.status.reading
        breaker = step_breaker(
            self._get_ledger,
            self.queue,
            tally(candidates),
            self._options,
            now=seen.moment.at,
            keeps=order.is_kept,
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
            by_person=order.person,
        )

    def _note(self, done: Pass, seen: Seen, situation: Situation) -> None:
        """Count, record and tell what the pass came to."""
        facts = seen.status.reading.facts if seen.status.reading else None
        stuck = facts.stuck if facts else {}
        told = tuple(one for one in done.plan.refusals if _is_told(done.candidates[one.key].verdict, stuck))
        acting = self._acting
        came = Came(
            plan=done.plan,
            candidates=done.candidates,
            concluded=done.concluded,
            refusals=told,
            is_paused=situation.is_paused,
            breaker=situation.breaker,
            has_lock=done.has_lock,
            unkept=acting.unkept if acting else frozenset(),
        )
        self._tell(came, fault=done.fault)
        if acting is not None:
            acting.forget(frozenset(done.candidates), read_seconds=seen.held.watched.read_seconds)

    def _tell(self, came: Came, *, fault: str) -> None:
        before, now = self.status, self._read_moment().at
        self._recorder.tell(came, before, at=now, fault=fault)
        self.status = note_pass(before, came, self._options, at=now)


def _is_told(verdict: Verdict, stuck: Container[AttemptKey]) -> bool:
    """Tell whether a refusal is counted and recorded: once for an attempt, so not before somebody was asked."""
    return verdict.value is Liveness.DEAD or (verdict.key in stuck and verdict.reason is not Reason.NOT_ASKED)


def _raise(work: Work, person: Person | None) -> None:
    """Raise what nobody expected, and what a person has to know: that the lock could not be asked for."""
    is_ours = isinstance(work.error, QueuemedicError)
    if work.error is not None and (not is_ours or (person is not None and work.plan is None)):
        raise work.error
