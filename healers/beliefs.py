"""Hold what is believed of every started attempt, between polls that read them and hosts that are asked.

Polls bring attempts, rounds bring answers; both are judged at once, and what they teach is remembered. What is held is
replaced under one lock and never changed in place, so readers need none. Nothing is asked, judged or written under that
lock, runs without a host aside, of which there are few; `keep` hands on what was learned, in the order in which it was
learned, for whoever may wait for a ledger.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from exporter.collector import Reading
from exporter.jobs import AttemptKey, Claim, QueueName, WorkerSigns

from .machines import Doubt, add_boot, add_machine
from .probes.protocol import HostAnswer, NoAnswer, Silence
from .proofs import Proof, Suspect, follow, hosts_to_confirm, keep_claimed, prove, seconds_to_proof
from .reasons import Liveness, Reason
from .rounds import Heard, Host, Placement, Round, Watched, find_duplicates, plan_round, plan_unplaced
from .runs import Stillness, follow_stillness, judge_runs
from .sightings import Learned, Retired, Sightings, Unkept, merge, notice
from .verdicts import Verdict, doubt_of, judge, not_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment on this machine's clocks: the wall's, and seconds of those that go on with and without its sleep."""

    at: datetime
    boottime_seconds: float
    monotonic_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBeliefs:
    """What is held of one queue: its latest reading, and a verdict and perhaps a suspicion of each of its attempts."""

    watched: Watched
    verdicts: Mapping[AttemptKey, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    suspects: Mapping[AttemptKey, Suspect] = field(default_factory=lambda: MappingProxyType({}))
    stillness: Mapping[AttemptKey, Stillness] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def owner(self) -> object:
        """Whoever reads the queue: what one has held is nothing to another of the same name."""
        return self.watched.owner


NOBODY: Final = frozenset[str]()


class Beliefs:
    """What is held of all queues and hosts; for any thread, but no two rounds of one host at once.

    A round may be about thousands of attempts. So it is planned and judged without the lock, by what was remembered
    when that began; where what people or the ledger say has changed meanwhile, it is judged once more.
    """

    def __init__(self, hosts: Iterable[Host], *, sightings: Sightings | None = None) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._named: defaultdict[str | None, list[Host]] = defaultdict(list)
        for host in self._hosts.values():
            for name in host.names:
                self._named[name].append(host)
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._unkept = Unkept()
        self._queues: dict[QueueName, QueueBeliefs] = {}
        self._confirm_after: dict[QueueName, timedelta] = {}
        self._heard: Mapping[str, Heard] = {}
        self._duplicates: frozenset[str] = frozenset()
        self._answered_at: dict[str, datetime] = {}
        self._owners: Mapping[QueueName, object] | None = None
        self._heir: Beliefs | None = None
        self._said_otherwise = 0
        self.sightings = sightings or Sightings()

    def begin_anew(self, hosts: Iterable[Host]) -> "Beliefs":
        """Return what is held where other hosts are asked: nothing but what was seen.

        What rounds that are under way still learn here, these new ones learn from then on.
        """
        with self._lock:
            anew = self._heir = Beliefs(hosts, sightings=self.sightings)
            anew._answered_at, anew._owners = dict(self._answered_at), self._owners
            anew._unkept, self._unkept = self._unkept, Unkept()
        return anew

    def _inherit(self, learned: Learned) -> None:
        """Learn what an earlier asker of a host was told; what has been learned since stands."""
        with self._lock:
            known = self.sightings
            attempts = {
                key: merge(known.attempts[key], one) for key, one in learned.attempts.items() if key in known.attempts
            }
            boots = {host: add_boot(known.boots.get(host, ()), one) for host, one in learned.boots.items()}
            self._learn(replace(learned, attempts=attempts, boots=boots, gone=frozenset()))
            self._said_otherwise += 1

    def assign(self, owners: Mapping[QueueName, object]) -> None:
        """Say who reads which queue from now on: nothing is held of any other, nor taken from it. Sightings stay."""
        with self._lock:
            self._owners = dict(owners)
            self._queues = {
                queue: held for queue, held in self._queues.items() if held.owner is owners.get(queue, self)
            }
            self._confirm_after = {queue: self._confirm_after[queue] for queue in self._queues}

    def of(self, queue: QueueName) -> QueueBeliefs | None:
        """Return what is held of a queue; None until it was read."""
        return self._queues.get(queue)

    def doubt_of(self, host: str) -> Silence | Doubt | None:
        """Return why the last round of a host gave no usable answer; None where it did, or there was none."""
        heard = self._heard.get(host)
        return doubt_of(heard, self._duplicates) if heard else None

    def find_witnesses(self, queue: QueueName) -> Mapping[AttemptKey, frozenset[str]]:
        """Return, for each attempt of a queue, the hosts whose last answer is usable and is about it."""
        witnesses: dict[AttemptKey, frozenset[str]] = {}
        held, heard, duplicates = self._queues.get(queue), self._heard, self._duplicates
        for host in self._hosts_of(held.watched) if held else ():
            one = heard.get(host.name)
            if held is None or one is None or doubt_of(one, duplicates) is not None:
                continue
            name = frozenset({host.name})
            for attempt in held.watched.started if held.watched.placement else held.watched.about(host):
                if one.round.asks_about(attempt.key):
                    witnesses[attempt.key] = witnesses.get(attempt.key, NOBODY) | name
        return witnesses

    def _hosts_of(self, watched: Watched) -> Iterable[Host]:
        """Return the configured hosts that the attempts of a queue may be on."""
        names = watched.placement.workers_on if watched.placement else watched.by_host
        return {host.name: host for name in names for host in self._named.get(name, ())}.values()

    def keep(self, remember: Callable[[Learned], None]) -> None:
        """Hand on what was learned since the last time; what cannot be kept is tried again, but for what is gone.

        Returns at once where another thread is at it. Raises what `remember` raises.
        """
        if not self._keeping.acquire(blocking=False):
            return
        try:
            with self._lock:
                learned, self._unkept = self._unkept.as_one(), Unkept()
            try:
                remember(learned)
            except BaseException:
                self._keep_later(replace(learned, gone=frozenset()))
                raise
        finally:
            self._keeping.release()

    def _keep_later(self, learned: Learned) -> None:
        """Hand this on with the next that is kept, before all that was learned since, or have the heir do so."""
        with self._lock:
            if self._heir is not None:
                self._heir._keep_later(learned)
                return
            later, self._unkept = self._unkept.as_one(), Unkept()
            self._unkept.add(learned)
            self._unkept.add(later)

    def adopt(self, kept: Sightings) -> None:
        """Take up what an earlier run has seen, beneath what was seen since; all is judged anew in its light."""
        with self._lock:
            returned = frozenset(
                name
                for host in self._hosts.values()
                for name in host.names & kept.retired.keys()
                if host.name in self._answered_at and self._answered_at[host.name] > kept.retired[name].at
            )
            heard = self.sightings.boots
            boots = {host: add_machine(one, heard[host]) for host, one in kept.boots.items() if host in heard}
            self.sightings = self.sightings.on_top_of(kept)
            if self._heir is not None:
                self._heir.adopt(kept)
            self._learn(Learned(returned=returned, boots=boots))
            self._doubt(lambda _: True)

    def retire(self, retired: Mapping[str, Retired]) -> None:
        """Take up which hosts people have given up; who is held dead for that alone is judged anew."""
        with self._lock:
            self.sightings = replace(self.sightings, retired=retired)
            self._doubt(lambda verdict: verdict.reason is Reason.HOST_RETIRED)

    def _doubt(self, is_doubtful: Callable[[Verdict], bool]) -> None:
        """Hold nothing of these attempts until they are judged again, nor what is being judged by what was known."""
        self._said_otherwise += 1
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
        watched = Watched(
            started=snapshot.started,
            signs=signs,
            read_seconds=reading.read_seconds,
            placement=placement,
            owner=owner,
        )
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
                verdicts={key: last.verdicts.get(key) or not_asked(key, at=now.at) for key in claims},
                suspects=keep_claimed(last.suspects, claims),
                stillness=stillness,
            )
            self._judge_runs(queue, now)
        self._judge_unplaced(watched, now)

    def plan(self, host: str, *, boottime_seconds: float) -> tuple[Round, bool]:
        """Return what to ask of a host now, and whether over a fresh connection: some suspect waits for its proof."""
        with self._lock:
            queues, sightings, confirm_after = dict(self._queues), self.sightings, dict(self._confirm_after)
        round_ = plan_round(self._hosts[host], [held.watched for held in queues.values()], sightings)
        is_fresh = any(
            host in hosts_to_confirm(suspects, seconds=boottime_seconds, confirm_after=confirm_after[queue])
            for queue, held in queues.items()
            if (suspects := [suspect for key, suspect in held.suspects.items() if round_.asks_about(key)])
        )
        return round_, is_fresh

    def seconds_to_proof(self, host: str, *, boottime_seconds: float) -> float | None:
        """Return in how long a host can first give a second proof that is not due yet; None where none is to come."""
        with self._lock:
            queues, confirm_after = dict(self._queues), dict(self._confirm_after)
        found = (
            seconds_to_proof(held.suspects.values(), host, seconds=boottime_seconds, confirm_after=confirm_after[queue])
            for queue, held in queues.items()
            if held.suspects
        )
        return min(filter(None, found), default=None)

    def hear(self, heard: Heard, now: Moment) -> AbstractSet[QueueName]:
        """Judge what came of a round; return the queues of which other is held now, or somebody is held dead."""
        host = heard.round.host
        if host is None:
            raise ValueError("round: nobody was asked")
        with self._lock:
            self._heard = {**self._heard, host.name: heard}
            answers = {name: one.answer for name, one in self._heard.items() if isinstance(one.answer, HostAnswer)}
            before, self._duplicates = self._duplicates, find_duplicates(answers)
            if isinstance(heard.answer, HostAnswer):
                self._answered_at[host.name] = heard.at
            has_new_twin = before != self._duplicates
            twins = [self._heard[name].round for name in self._duplicates - before]
            if twins:
                self._doubt(lambda verdict: any(verdict.key in twin.attempts for twin in twins))
        changed = self._judge(heard, now)
        with self._lock:
            for queue, held in self._queues.items():
                if held.watched.may_run_on(host) or has_new_twin:
                    changed |= self._judge_runs(queue, now)
        return changed

    def _judge(self, heard: Heard, now: Moment) -> AbstractSet[QueueName]:
        """Judge without the lock, and hold it with; whatever is said otherwise in between is judged by as well."""
        claims, proof = heard.round.claims(), prove([heard], seconds=now.boottime_seconds)
        while True:
            with self._lock:
                sightings, duplicates, before = self.sightings, self._duplicates, self._said_otherwise
            judgement = judge(heard, sightings, duplicates=duplicates)
            with self._lock:
                if before == self._said_otherwise:
                    self._learn(judgement.learned)
                    asked = heard.round.attempts
                    ours = (one for one in judgement.verdicts if self._is_read_by(asked[one.key].owner, one.key.queue))
                    return self._hold(ours, claims, proof)

    def _is_read_by(self, owner: object, queue: QueueName) -> bool:
        held = self._queues.get(queue)
        return held is not None and held.owner is owner

    def _judge_unplaced(self, watched: Watched, now: Moment) -> None:
        """Judge the attempts of a queue that name no configured host."""
        unplaced = plan_unplaced(self._hosts.values(), [watched])
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

    def _judge_runs(self, queue: QueueName, now: Moment) -> AbstractSet[QueueName]:
        held = self._queues[queue]
        placement = held.watched.placement
        if placement is None:
            return frozenset()
        heard = {
            name: one
            for name in placement.workers_on
            if (one := self._heard.get(name))
            and all(asked.owner is held.owner for asked in one.round.runs.values() if asked.attempt.key.queue == queue)
        }
        verdicts = judge_runs(
            held.watched.started,
            placement,
            heard,
            stillness=held.stillness,
            duplicates=self._duplicates,
            at=now.at,
        )
        claims = {attempt.key: attempt.claim for attempt in held.watched.started}
        return self._hold(verdicts, claims, prove(heard.values(), seconds=now.boottime_seconds))

    def _hold(
        self, verdicts: Iterable[Verdict], claims: Mapping[AttemptKey, Claim], proof: Proof
    ) -> AbstractSet[QueueName]:
        """Hold these verdicts of the attempts that are still there; return the queues to be looked at."""
        by_queue: defaultdict[QueueName, list[Verdict]] = defaultdict(list)
        for verdict in verdicts:
            by_queue[verdict.key.queue].append(verdict)
        changed = set()
        for queue, found in by_queue.items():
            held = self._queues.get(queue)
            current = [verdict for verdict in found if held is not None and verdict.key in held.verdicts]
            if held is None or not current:
                continue
            if any(_says_more(verdict, held.verdicts[verdict.key]) for verdict in current):
                changed.add(queue)
            confirm_after = self._confirm_after[queue]
            self._queues[queue] = replace(
                held,
                verdicts={**held.verdicts, **{verdict.key: verdict for verdict in current}},
                suspects=follow(held.suspects, current, claims=claims, proof=proof, confirm_after=confirm_after),
            )
        return changed

    def _learn(self, learned: Learned) -> None:
        if self._heir is not None:
            self._heir._inherit(learned)
        self.sightings = self.sightings.learn(learned)
        self._unkept.add(learned)


def _says_more(verdict: Verdict, last: Verdict) -> bool:
    """Tell whether a verdict is other than the last, or another proof of a death."""
    return verdict.value is Liveness.DEAD or (verdict.value, verdict.reason) != (last.value, last.reason)
