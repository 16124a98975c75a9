"""The healing half of a running program: its ledger, and a healer for each queue that is healed or rehearsed.

A pass follows each poll and each round, in threads of its own. It first keeps what was seen, also where nothing is
healed: a worker seen alive today is what makes its death exact tomorrow.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Thread
from types import MappingProxyType
from weakref import WeakSet

import structlog
from prometheus_client import Metric as Family

from exporter import clock
from exporter.errors import NoLedger
from exporter.jobs import QueueName
from exporter.poller import Poller
from healers.beliefs import Beliefs, QueueBeliefs
from healers.cycle import Healer
from healers.gathering import Seen
from healers.ledger import Ledger
from healers.metrics import collect_heals
from healers.options import LedgerOptions
from healers.recording import Recorder, Who
from healers.resets.protocol import Reset
from healers.tallying import HealStatus

from .building import BY_HAND, digest_config, make_placement, name_instance, needs_ledger
from .config import Config
from .keeper import Keeper
from .systems import records_workers

log = structlog.get_logger()

PART = "/heals/"
RESTS = 4
"""So many times as long as a pass has taken of the processor, rounds bring no other; polls do."""


def make_who(config: Config, *, actor: str) -> Who:
    """Say who heals; made once for all queues, since the whole configuration is written for its digest."""
    return Who(actor=actor, instance=name_instance(), config_digest=digest_config(config))


class Healing:
    """Heals the queues of one program. `replace` is not for two threads at once; all else is.

    `is_needed`: whether there is anything to keep or to heal.
    """

    def __init__(
        self,
        config: Config,
        *,
        get_beliefs: Callable[[], Beliefs],
        publish: Callable[[Poller, str, Iterable[Family]], None],
    ) -> None:
        """`publish` takes the families of one queue, under the name of their part of the page."""
        self.keeper = Keeper(config, get_beliefs=get_beliefs)
        self._config = config
        self._get_beliefs = get_beliefs
        self._publish = publish
        self._healers: Mapping[QueueName, tuple[Poller, Healer]] = MappingProxyType({})
        self.is_needed = needs_ledger(config)
        self._warned: WeakSet[Poller] = WeakSet()
        self._rest_until: Mapping[QueueName, float] = MappingProxyType({})

    def replace(
        self, config: Config, made: Mapping[QueueName, Poller], resets: Mapping[QueueName, Reset | None]
    ) -> None:
        """Put a configuration in force: queues that were made anew get new healers, the others keep theirs."""
        last, who = self._healers, make_who(config, actor="serve")
        healers = {
            name: (made[name], self.make(made[name], config, reset, who=who)) if name in made else last[name]
            for name, reset in resets.items()
        }
        self.keeper.use(config)
        self._config, self._healers, self._rest_until = config, MappingProxyType(healers), MappingProxyType({})
        self.is_needed = needs_ledger(config)
        for name, pair in last.items():
            if healers.get(name) is not pair:
                pair[1].end(within_seconds=0)
        for name in healers.keys() - made.keys():
            healers[name][1].use(who.config_digest)
        for name in made.keys() & healers.keys():
            poller, healer = healers[name]
            self._publish_status(healer, poller)

    def status_of(self, queue: QueueName) -> HealStatus | None:
        """Return what is published of healing a queue; None where that is disabled."""
        pair = self._healers.get(queue)
        return pair[1].status if pair else None

    def begin(self, *, within_seconds: float) -> None:
        """Open the ledger, so that the first rounds are judged by what was seen before; one that hangs comes late."""
        if self.is_needed:
            opening = Thread(target=self.keeper.keep, name="opening", daemon=True)
            opening.start()
            opening.join(within_seconds)

    def rest_seconds(self, queue: QueueName) -> float:
        """Return how long passes that rounds bring are to wait: those of thousands of orphans are work."""
        return max(0.0, self._rest_until.get(queue, 0.0) - clock.monotonic_seconds())

    def heals(self, queue: QueueName) -> bool:
        """Whether a queue is healed, or rehearsed."""
        return queue in self._healers

    def is_ailing(self, queue: QueueName) -> bool:
        """Whether the account that writes to a queue did not answer when it was last wanted."""
        pair = self._healers.get(queue)
        return pair is not None and pair[1].is_ailing

    def take_up_sightings(self, get_ledger: Callable[[], Ledger]) -> None:
        """Open the ledger, which brings what was seen before; one that is not there yet has nothing."""
        with suppress(NoLedger):
            get_ledger()

    def make(
        self,
        poller: Poller,
        config: Config,
        reset: Reset | None,
        *,
        who: Who,
        get_ledger: Callable[[], Ledger] | None = None,
    ) -> Healer:
        """Make what heals one queue."""
        get_ledger = get_ledger or self.keeper.get
        return Healer(
            poller.name,
            config.queues[poller.name].healing,
            reset=reset,
            get_ledger=get_ledger,
            recorder=Recorder(who, get_ledger=get_ledger),
            note_healed=poller.note_healed,
        )

    def warn(self, queue: QueueName) -> None:
        """Say at each start what a person has decided outside of the guarantee."""
        placement = make_placement(self._config.queues[queue])
        if placement is not None and placement.trusts_heartbeat and not placement.workers_on:
            advice = "a run that is frozen or cut off for 5 minutes is taken for dead; list its hosts in workers_on"
            log.warning("heartbeat.trusted", queue=queue, advice=advice)

    def run_pass(self, poller: Poller, see: Callable[[Poller], Seen | None]) -> None:
        """Keep what was seen, and make one pass of a queue; raises nothing."""
        self.keeper.keep()
        owner, healer = self._healers.get(poller.name, (None, None))
        if healer is None or owner is not poller:
            return
        self._warn_of_nobody(poller)
        began = clock.thread_seconds()
        try:
            seen = see(poller)
            if seen is None:
                healer.reconcile()
            else:
                healer.run(seen, believe=lambda: self._believe(poller))
        except Exception as error:
            log.error("heal.pass_failed", queue=poller.name, exc_info=error)
        self._publish_status(healer, poller)
        rest = RESTS * (clock.thread_seconds() - began)
        self._rest_until = {**self._rest_until, poller.name: clock.monotonic_seconds() + rest}

    def forget(self) -> None:
        """Forget what the ledger has kept for long enough."""
        if self.is_needed:
            self.keeper.forget(older_than=(self._config.ledger or LedgerOptions()).keep)

    def end(self, *, within_seconds: float) -> bool:
        """End every pass before its next reset; False if one has not ended in time."""
        ends = clock.monotonic_seconds() + within_seconds
        has_ended = True
        for _, healer in self._healers.values():
            healer.end(within_seconds=0)
        for _, healer in self._healers.values():
            has_ended &= healer.end(within_seconds=max(0.0, ends - clock.monotonic_seconds()))
        return has_ended

    def _believe(self, poller: Poller) -> QueueBeliefs | None:
        """Return what is held of a queue now, as this poller has read it."""
        held = self._get_beliefs().of(poller.name)
        return held if held is not None and held.owner is poller.queue else None

    def _warn_of_nobody(self, poller: Poller) -> None:
        """Say once that nothing can be put back, where the rows do not record who works on them."""
        section, reading = self._config.queues.get(poller.name), poller.status.reading
        if section is None or reading is None or poller in self._warned or section.healing.mode != "reset":
            return
        if not records_workers(section.system, reading.snapshot.schema):
            self._warned.add(poller)
            advice = f"write mode: disabled; {BY_HAND}"
            log.error("workers.unknown", queue=poller.name, schema=reading.snapshot.schema, advice=advice)

    def _publish_status(self, healer: Healer, poller: Poller) -> None:
        self._publish(poller, PART, collect_heals(healer.status))
