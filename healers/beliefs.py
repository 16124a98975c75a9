"""Hold what is believed of every started attempt, between polls that read them and hosts that are asked.

Polls bring attempts, rounds bring answers; both are judged at once, and what they teach is remembered. What is held is
replaced under one lock and never changed in place, so readers need none. Nothing is asked or written under that lock:
`keep` hands on what was learned, in the order in which it was learned, for whoever may wait for a ledger.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from exporter.collector import Reading
from exporter.jobs import AttemptKey, Claim, QueueName, WorkerSigns

from .machines import Doubt
from .probes.protocol import HostAnswer, NoAnswer, Silence
from .proofs import Proof, Suspect, follow, hosts_to_confirm, keep_claimed, prove
from .reasons import Reason
from .rounds import Heard, Host, Placement, Round, Watched, find_duplicates, plan_round, plan_unplaced
from .runs import Stillness, follow_stillness, judge_runs
from .sightings import Learned, Retired, Sightings, merge, notice
from .verdicts import Verdict, doubt_of, judge, not_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment on this machine's clocks: the wall's, and seconds of those that go on with and without its sleep."""

    at: datetime
    boottime_seconds: float
    monotonic_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBeliefs:
    """What is held of one queue: its latest reading, and a verdict and perhaps a suspicion of each of its attempts.

    `owner` is whoever reads the queue: what one has held is nothing to another of the same name.
    """

    watched: Watched
    owner: object = None
    verdicts: Mapping[AttemptKey, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    suspects: Mapping[AttemptKey, Suspect] = field(default_factory=lambda: MappingProxyType({}))
    stillness: Mapping[AttemptKey, Stillness] = field(default_factory=lambda: MappingProxyType({}))


class Beliefs:
    """What is held of all queues and hosts; for any thread."""

    def __init__(self, hosts: Iterable[Host], *, sightings: Sightings | None = None) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._unkept = Learned()
        self._queues: dict[QueueName, QueueBeliefs] = {}
        self._confirm_after: dict[QueueName, timedelta] = {}
        self._heard: dict[str, Heard] = {}
        self._answered_at: dict[str, datetime] = {}
        self._owners: Mapping[QueueName, object] | None = None
        self._heir: Beliefs | None = None
        self.sightings = sightings or Sightings()

    def begin_anew(self, hosts: Iterable[Host]) -> "Beliefs":
        """Return what is held where other hosts are asked: nothing but what was seen.

        What rounds that are under way still learn here, these new ones learn from then on.
        """
        with self._lock:
            anew = self._heir = Beliefs(hosts, sightings=self.sightings)
            anew._answered_at, anew._owners = dict(self._answered_at), self._owners
            anew._unkept, self._unkept = self._unkept, Learned()
        return anew

    def _inherit(self, learned: Learned) -> None:
        """Learn what an earlier asker of a host was told; what has been learned since stands."""
        with self._lock:
            known = self.sightings
            attempts = {
                key: merge(known.attempts[key], one) for key, one in learned.attempts.items() if key in known.attempts
            }
            boots = {host: one for host, one in learned.boots.items() if host not in known.boots}
            self._learn(replace(learned, attempts=attempts, boots=boots, gone=frozenset()))

    def assign(self, owners: Mapping[QueueName, object]) -> None:
        """Say who reads which queue from now on: nothing is held of any other, nor taken from it. Sightings stay."""
        with self._lock:
            self._owners = dict(owners)
            self._queues = {
                queue: held for queue, held in self._queues.items() if held.owner is owners.get(queue, self)
            }

    def of(self, queue: QueueName) -> QueueBeliefs | None:
        """Return what is held of a queue; None until it was read."""
        return self._queues.get(queue)

    def doubt_of(self, host: str) -> Silence | Doubt | None:
        """Return why the last round of a host gave no usable answer; None where it did, or there was none."""
        heard = self._heard.get(host)
        return doubt_of(heard, self._duplicates()) if heard else None

    def find_witnesses(self, queue: QueueName) -> Mapping[AttemptKey, frozenset[str]]:
        """Return, for each attempt of a queue, the hosts whose last answer is usable and is about it."""
        witnesses: defaultdict[AttemptKey, frozenset[str]] = defaultdict(frozenset)
        heard, duplicates = dict(self._heard), self._duplicates()
        for name, one in heard.items():
            if doubt_of(one, duplicates) is None:
                for key in (*one.round.attempts, *one.round.runs):
                    if key.queue == queue:
                        witnesses[key] |= {name}
        return witnesses

    def keep(self, remember: Callable[[Learned], None]) -> None:
        """Hand on what was learned since the last time; what cannot be kept is tried again, but for what is gone.

        Returns at once where another thread is at it. Raises what `remember` raises.
        """
        if not self._keeping.acquire(blocking=False):
            return
        try:
            with self._lock:
                learned, self._unkept = self._unkept, Learned()
            try:
                remember(learned)
            except BaseException:
                with self._lock:
                    holder = self._heir or self
                    holder._unkept = replace(learned, gone=frozenset()).then(holder._unkept)
                raise
        finally:
            self._keeping.release()

    def adopt(self, kept: Sightings) -> None:
        """Take up what an earlier run has seen, beneath what was seen since; all is judged anew in its light."""
        with self._lock:
            returned = frozenset(
                name
                for host in self._hosts.values()
                for name in host.names & kept.retired.keys()
                if host.name in self._answered_at and self._answered_at[host.name] > kept.retired[name].at
            )
            self.sightings = self.sightings.on_top_of(kept)
            self._learn(Learned(returned=returned))
            self._doubt(lambda _: True)

    def retire(self, retired: Mapping[str, Retired]) -> None:
        """Take up which hosts people have given up; who is held dead for that alone is judged anew."""
        with self._lock:
            self.sightings = replace(self.sightings, retired=retired)
            self._doubt(lambda verdict: verdict.reason is Reason.HOST_RETIRED)

    def _doubt(self, is_doubtful: Callable[[Verdict], bool]) -> None:
        """Hold nothing of these attempts until they are judged again."""
        for queue, held in self._queues.items():
            doubtful = {key: verdict for key, verdict in held.verdicts.items() if is_doubtful(verdict)}
            not_held = {key: not_asked(key, at=verdict.seen_at) for key, verdict in doubtful.items()}
            suspects = {key: suspect for key, suspect in held.suspects.items() if key not in doubtful}
            self._queues[queue] = replace(held, verdicts={**held.verdicts, **not_held}, suspects=suspects)

    def take(
        self,
        queue: QueueName,
        reading: Reading,
        *,
        signs: WorkerSigns,
        placement: Placement | None,
        confirm_after: timedelta,
        now: Moment,
        owner: object = None,
    ) -> None:
        """Take up the latest reading of a queue, unless its `owner` is not the one who reads it now."""
        snapshot = reading.snapshot
        watched = Watched(started=snapshot.started, signs=signs, read_seconds=reading.read_seconds, placement=placement)
        claims = {attempt.key: attempt.claim for attempt in snapshot.started}
        is_complete = not snapshot.started_left_out
        with self._lock:
            if self._owners is not None and self._owners.get(queue, self) is not owner:
                return
            last = self._queues.get(queue) or QueueBeliefs(watched=watched)
            self._confirm_after[queue] = confirm_after
            self._learn(notice(snapshot.started, self.sightings, queue=queue, at=now.at, is_complete=is_complete))
            stillness: Mapping[AttemptKey, Stillness] = {}
            if placement is not None or signs.has_heartbeats:
                stillness = follow_stillness(last.stillness, snapshot, read_seconds=now.monotonic_seconds)
            self._queues[queue] = QueueBeliefs(
                watched=watched,
                owner=owner,
                verdicts={key: last.verdicts.get(key) or not_asked(key, at=now.at) for key in claims},
                suspects=keep_claimed(last.suspects, claims),
                stillness=stillness,
            )
            self._judge_unplaced(queue, now)
            self._judge_runs(queue, now)

    def plan(self, host: str, *, boottime_seconds: float) -> tuple[Round, bool]:
        """Return what to ask of a host now, and whether over a fresh connection: some suspect waits for its proof."""
        with self._lock:
            watched = [held.watched for held in self._queues.values()]
            is_fresh = any(
                host
                in hosts_to_confirm(
                    held.suspects.values(), seconds=boottime_seconds, confirm_after=self._confirm_after[queue]
                )
                for queue, held in self._queues.items()
            )
            return plan_round(self._hosts[host], watched, self.sightings), is_fresh

    def hear(self, heard: Heard, now: Moment) -> None:
        """Judge what came of a round."""
        if heard.round.host is None:
            raise ValueError("round: nobody was asked")
        with self._lock:
            self._heard[heard.round.host.name] = heard
            if isinstance(heard.answer, HostAnswer):
                self._answered_at[heard.round.host.name] = heard.at
            self._judge(heard, now)
            for queue, held in self._queues.items():
                if held.watched.placement is not None:
                    self._judge_runs(queue, now)

    def _judge(self, heard: Heard, now: Moment) -> None:
        judgement = judge(heard, self.sightings, duplicates=self._duplicates())
        self._learn(judgement.learned)
        self._hold(judgement.verdicts, heard.round.claims(), prove([heard], seconds=now.boottime_seconds))

    def _judge_unplaced(self, queue: QueueName, now: Moment) -> None:
        """Judge the attempts of a queue that name no configured host."""
        unplaced = plan_unplaced(self._hosts.values(), [self._queues[queue].watched])
        if unplaced.attempts:
            heard = Heard(
                round=unplaced,
                answer=NoAnswer(silence=Silence.NOT_CONFIGURED, detail="the host is not configured"),
                is_fresh=True,
                at=now.at,
                began_seconds=now.boottime_seconds,
                ended_seconds=now.boottime_seconds,
            )
            self._judge(heard, now)

    def _judge_runs(self, queue: QueueName, now: Moment) -> None:
        held = self._queues[queue]
        placement = held.watched.placement
        if placement is None:
            return
        heard = {name: self._heard[name] for name in placement.workers_on if name in self._heard}
        verdicts = judge_runs(
            held.watched.started,
            placement,
            heard,
            stillness=held.stillness,
            duplicates=self._duplicates(),
            at=now.at,
        )
        claims = {attempt.key: attempt.claim for attempt in held.watched.started}
        self._hold(verdicts, claims, prove(heard.values(), seconds=now.boottime_seconds))

    def _hold(self, verdicts: Iterable[Verdict], claims: Mapping[AttemptKey, Claim], proof: Proof) -> None:
        """Hold these verdicts of the attempts that are still there."""
        by_queue: defaultdict[QueueName, list[Verdict]] = defaultdict(list)
        for verdict in verdicts:
            by_queue[verdict.key.queue].append(verdict)
        for queue, found in by_queue.items():
            held = self._queues.get(queue)
            current = [verdict for verdict in found if held is not None and verdict.key in held.verdicts]
            if held is not None and current:
                confirm_after = self._confirm_after[queue]
                self._queues[queue] = replace(
                    held,
                    verdicts={**held.verdicts, **{verdict.key: verdict for verdict in current}},
                    suspects=follow(held.suspects, current, claims=claims, proof=proof, confirm_after=confirm_after),
                )

    def _learn(self, learned: Learned) -> None:
        if self._heir is not None:
            self._heir._inherit(learned)
        self.sightings = self.sightings.learn(learned)
        self._unkept = self._unkept.then(learned)

    def _duplicates(self) -> frozenset[str]:
        answers = {name: heard.answer for name, heard in dict(self._heard).items()}
        return find_duplicates({name: answer for name, answer in answers.items() if isinstance(answer, HostAnswer)})
