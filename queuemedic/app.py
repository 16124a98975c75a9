"""The composition root: build the program from its configuration, and run it.

A queue that a reload puts on a server that does not answer begins among those that fail (`scheduling`). At most two
polls at a time go to one database server.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from threading import Thread
from types import MappingProxyType
from weakref import WeakValueDictionary

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers import SchedulerNotRunningError
from prometheus_client import Metric as Family
from prometheus_client import ProcessCollector

from exporter import clock
from exporter.collector import QueueStatus, collect_program, collect_queue
from exporter.jobs import QueueName
from exporter.page import Format, Page
from exporter.poller import Polled, Poller
from exporter.queues.protocol import Queue
from exporter.slots import ServerSlots
from healers.asking import HostAsker, read_moment
from healers.beliefs import Beliefs, QueueBeliefs
from healers.gathering import Seen
from healers.metrics import collect_mode, collect_verdicts
from healers.probes.protocol import Probe

from . import __version__
from .building import (
    make_hosts,
    make_placement,
    make_probes,
    make_queues,
    make_resets,
    map_aliases,
)
from .config import Config, QueueSection
from .healing import PART as HEALS
from .healing import Healing
from .interpreter import LOOKS_THROUGH_EVERY, look_through
from .rounds import Rounds
from .scheduling import AILING, BEATING, FAILING, HEALING, JITTER, POLLING, Scheduler

POLLS_PER_SERVER = 2
PROGRAM, VERDICTS, KEEPING = "/program", "/verdicts/", "/keeping"
PROGRAM_SECONDS = 5.0
BUSY_RETRY = timedelta(seconds=1)
LEDGER_FIRST_SECONDS = 1.0
FORGETS_AFTER = timedelta(minutes=10)
CHECK_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What is in force, and since when; `is_latest` until a later configuration is refused."""

    config: Config
    pollers: Mapping[QueueName, Poller]
    rounds: Rounds
    built_at: datetime
    is_latest: bool = True


class App:
    """The program as built from the configuration in force: a poller for each queue, and the page they publish on.

    What is in force is one reference, swapped whole by `apply`, which is not for two threads at once; all else is.
    """

    def __init__(self, config: Config, *, make_probes: Callable[[Config], Mapping[str, Probe]] = make_probes) -> None:
        """Raises ConfigurationError where a queue cannot be built; nothing is read yet."""
        self._make_probes = make_probes
        self._page = Page()
        self._process = ProcessCollector(registry=None)
        self._program_due = 0.0
        self._slots: WeakValueDictionary[str, ServerSlots] = WeakValueDictionary()  # a poll that hangs keeps its own
        self._scheduler: Scheduler | None = None
        self._jobs: dict[Poller, str] = {}
        self._numbers = count()
        self._beliefs = Beliefs(())
        self.healing = Healing(config, get_beliefs=lambda: self._beliefs, publish=self._publish_heals)
        nothing = replace(config, queues={}, hosts={})
        self._built = Built(config=nothing, pollers={}, rounds=self._make_rounds(nothing, {}), built_at=clock.now())
        self.apply(config)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._built.config

    @property
    def pollers(self) -> Sequence[Poller]:
        """The pollers, in the order of the configuration."""
        return tuple(self._built.pollers.values())

    @property
    def askers(self) -> Sequence[HostAsker]:
        """Those that ask hosts, in the order of the configuration."""
        return tuple(self._built.rounds.askers.values())

    def find_poller(self, queue: QueueName) -> Poller | None:
        """Return what polls a queue; None where there is none of that name."""
        return self._built.pollers.get(queue)

    def recorded_hosts(self) -> set[str]:
        """Return the hosts that rows of the last polls record."""
        held = filter(None, (self._beliefs.of(poller.name) for poller in self.pollers))
        return {attempt.host for one in held for attempt in one.watched.started if attempt.host}

    def believe(self, queue: QueueName) -> QueueBeliefs | None:
        """Return what is held of the workers of a queue; None until it was read."""
        return self._beliefs.of(queue)

    def see(self, poller: Poller) -> Seen | None:
        """Return what a healing pass of a queue goes by; None until this poller has read it."""
        held = self._beliefs.of(poller.name)
        if held is None or held.owner is not poller.queue:
            return None
        return Seen(
            status=poller.status,
            held=held,
            sightings=self._beliefs.sightings,
            witnesses=self._beliefs.find_witnesses(poller.name),
            loads={one.status.name: one.status.load_per_processor for one in self.askers if one.status.is_up},
            moment=read_moment(),
        )

    def apply(self, config: Config, *, only_check: bool = False) -> None:
        """Put a configuration in force; raises ConfigurationError with every fault, and then nothing has changed.

        A queue whose section is equal keeps its poller: history, connection, counters and schedule, unless a file that
        the section names now leads to another database. The others begin anew. Waits for no poll: one that hangs in a
        queue that is gone closes its connection when it ends.
        """
        last, aliases = self._built, map_aliases(config)
        self.healing.keeper.refuse_other(config)
        queues, resets = make_queues(config), make_resets(config, self.healing.keeper.get)
        probes = None if config.hosts == last.config.hosts else self._make_probes(config)
        if only_check:
            return
        kept = {
            name: poller
            for name, poller in last.pollers.items()
            if _is_same(name, poller, last.config, config) and poller.queue.place == queues[name].place
        }
        queues = {name: queue for name, queue in queues.items() if name not in kept}
        gone = [poller for name, poller in last.pollers.items() if name not in kept]
        for poller in gone:
            self._unschedule(poller)
        owners = {name: poller.queue for name, poller in kept.items()} | queues
        parts: dict[str, object] = {f"{sort}{name}": queue for name, queue in owners.items() for sort in ("", VERDICTS)}
        parts |= {f"{HEALS}{name}": owners[name] for name in resets}
        rounds = last.rounds if probes is None else self._make_rounds(config, probes)
        self._page.assign({**parts, **rounds.parts})
        for poller in kept.values():
            poller.rename_hosts(aliases)
        made = {name: self._make_poller(queue, config.queues[name], aliases) for name, queue in queues.items()}
        pollers = {name: kept.get(name) or made[name] for name in config.queues}
        self._beliefs.assign(owners)
        self._built = Built(config=config, pollers=MappingProxyType(pollers), rounds=rounds, built_at=clock.now())
        self.healing.replace(config, made, resets)
        self._program_due = 0.0
        if rounds is not last.rounds:
            self._change_hosts(last.rounds, config)
        silent = {poller.queue.server for poller in last.pollers.values() if not poller.status.is_up}
        for poller in made.values():
            self._schedule(poller, FAILING if poller.queue.server in silent else POLLING)
        if gone:
            Thread(target=_retire, args=(gone,), name="retiring", daemon=True).start()

    def note_refusal(self) -> None:
        """Say on the page that a later configuration than the one in force was refused."""
        self._built = replace(self._built, is_latest=False)
        self._program_due = 0.0

    def poll_once(self) -> None:
        """Poll every queue once, side by side, and then ask every host once."""
        threads = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="check")
        try:
            wait([threads.submit(_poll_surely, poller) for poller in self.pollers])
            wait([threads.submit(asker.ask) for asker in self.askers])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def polling(self, beat: Callable[[], object] | None = None, *, beat_seconds: float = 5.0) -> Iterator[None]:
        """Poll every queue at its interval, beside whatever is done meanwhile.

        `beat` is called at its own interval by the same scheduler, in a thread that no poll can take from it.
        """
        scheduler = self._scheduler = Scheduler()
        self.healing.begin(within_seconds=LEDGER_FIRST_SECONDS)
        for poller in self.pollers:
            self._schedule(poller)
        self._built.rounds.start(scheduler)
        scheduler.add_job(
            self.healing.forget, "interval", executor=HEALING, days=1, next_run_time=clock.now() + FORGETS_AFTER
        )
        scheduler.add_job(look_through, "interval", executor=BEATING, seconds=LOOKS_THROUGH_EVERY.total_seconds())
        if beat is not None:
            scheduler.add_job(beat, "interval", executor=BEATING, seconds=beat_seconds, next_run_time=clock.now())
        scheduler.start()
        try:
            yield
        finally:
            self._scheduler = None
            scheduler.shutdown(wait=False)

    def close(self, *, within_seconds: float) -> bool:
        """Close every connection that no poll uses any more; False if some poll had not ended in time."""
        ends = clock.monotonic_seconds() + within_seconds
        has_closed = self.healing.end(within_seconds=within_seconds)
        for poller in self.pollers:
            has_closed &= poller.close(within_seconds=max(0.0, ends - clock.monotonic_seconds()))
        self.healing.keeper.close(within_seconds=max(0.0, ends - clock.monotonic_seconds()))
        return has_closed

    def find_unready(self) -> Sequence[str]:
        """Name each queue that has no fresh snapshot, and why."""
        return [f"{poller.name}: {poller.error or poller.silence}" for poller in self.pollers if not poller.is_fresh]

    def find_page(self, page_format: Format, is_compressed: bool) -> bytes | None:
        """Return the same as `get_page`, but None where that takes long."""
        self._renew_program()
        return self._page.find(page_format, is_compressed)

    def get_page(self, page_format: Format, is_compressed: bool) -> bytes:
        """Return the page, with what the program says of itself at most five seconds old."""
        self._renew_program()
        return self._page.get(page_format, is_compressed)

    def _renew_program(self) -> None:
        now = clock.monotonic_seconds()
        if now >= self._program_due:
            self._program_due = now + PROGRAM_SECONDS
            built = self._built
            program = collect_program(__version__, configured_at=built.built_at, is_configured=built.is_latest)
            self._page.update(PROGRAM, [*program, *self._process.collect()])

    def _make_rounds(self, config: Config, probes: Mapping[str, Probe]) -> Rounds:
        """Begin to hold beliefs of these hosts, without forgetting what was seen, and make those that ask them."""
        self._beliefs = self._beliefs.begin_anew(make_hosts(config))
        return Rounds(config, probes, self._beliefs, publish=self._publish_host, tell=self._take_up_round)

    def _change_hosts(self, last: Rounds, config: Config) -> None:
        """Have these hosts asked instead of the last ones."""
        for poller in self._built.pollers.values():
            self._take(poller.queue, poller.status, config.queues[poller.name])
            self._publish_verdicts(poller.queue, poller.status, poller.fresh_until)
        last.end()
        self._built.rounds.publish()
        if self._scheduler:
            self._built.rounds.start(self._scheduler)

    def _take(self, queue: Queue, status: QueueStatus, section: QueueSection) -> None:
        """Let the beliefs take up what a poll read."""
        if status.is_up and status.reading:
            self._beliefs.take(
                queue.name,
                status.reading,
                signs=queue.signs,
                placement=make_placement(section),
                confirm_after=section.healing.confirm_after,
                now=read_moment(),
                owner=queue,
            )

    def _publish_host(self, asker: HostAsker, part: str, families: Iterable[Family]) -> None:
        self._page.update(part, families, owner=asker)

    def _take_up_round(self, queues: Collection[QueueName]) -> None:
        """Publish what is held of these queues since a round, and heal them; keep what was seen in any case."""
        for poller in filter(None, map(self._built.pollers.get, queues)):
            self._publish_verdicts(poller.queue, poller.status, poller.fresh_until)
            self._heal_soon(poller.name, rests=True)
        if not queues:
            self._do_soon(self.healing.keeper.keep, job=KEEPING)

    def _publish_verdicts(self, queue: Queue, status: QueueStatus, valid_until: float) -> None:
        held = self._beliefs.of(queue.name)
        if held is not None:
            families = collect_verdicts(queue.name, held, status.history)
            self._page.update(f"{VERDICTS}{queue.name}", families, valid_until=valid_until, owner=queue)

    def _make_poller(self, queue: Queue, section: QueueSection, aliases: Mapping[str, str]) -> Poller:
        def publish(status: QueueStatus, valid_until: float) -> None:
            families = [*collect_queue(status)]
            if section.healing.mode == "disabled":
                families += collect_mode(status.name, section.healing.mode)
            self._page.update(status.name, families, valid_until=valid_until, owner=queue)
            self._take(queue, status, section)
            self._publish_verdicts(queue, status, valid_until)
            self._heal_soon(queue.name)

        slots = self._slots.setdefault(queue.server, ServerSlots(POLLS_PER_SERVER))
        return Poller(queue, section.options, aliases=aliases, server_slots=slots, publish=publish)

    def _heal_soon(self, queue: QueueName, *, rests: bool = False) -> None:
        """Have a pass made; one that is due already is the same, and while one runs, the next poll brings another."""
        if not self.healing.heals(queue):
            self._do_soon(self.healing.keeper.keep, job=KEEPING)
            return
        executor = AILING if self.healing.is_ailing(queue) else HEALING
        after = self.healing.rest_seconds(queue) if rests else 0.0
        self._do_soon(partial(self._heal, queue), job=f"{HEALS}{queue}", executor=executor, after_seconds=after)

    def _do_soon(
        self, work: Callable[[], object], *, job: str, executor: str = HEALING, after_seconds: float = 0.0
    ) -> None:
        """Have something done for healing, once where that job is due already."""
        scheduler = self._scheduler
        if scheduler and self.healing.is_needed:
            with suppress(SchedulerNotRunningError):
                due_at = clock.now() + timedelta(seconds=after_seconds)
                scheduler.add_job(work, id=job, executor=executor, replace_existing=True, next_run_time=due_at)

    def _heal(self, queue: QueueName) -> None:
        poller = self._built.pollers.get(queue)
        if poller is not None:
            self.healing.run_pass(poller, self.see)

    def _publish_heals(self, poller: Poller, part: str, families: Iterable[Family]) -> None:
        self._page.update(f"{part}{poller.name}", families, valid_until=poller.fresh_until, owner=poller.queue)

    def _schedule(self, poller: Poller, executor: str = POLLING) -> None:
        """Let the scheduler poll; each poller has a job of its own, also where its queue had one before."""
        scheduler = self._scheduler
        if scheduler is None:
            return
        self.healing.warn(poller.name)
        job = self._jobs[poller] = f"{poller.name} {next(self._numbers)}"
        every = poller.status.options.poll_every.total_seconds()

        def run() -> None:
            nonlocal executor
            polled = poller.poll()
            last, executor = executor, POLLING if poller.status.is_up else FAILING
            changes: dict[str, object] = {} if executor == last else {"executor": executor}
            if polled is Polled.SERVER_BUSY:
                changes["next_run_time"] = clock.now() + BUSY_RETRY
            elif poller.seconds_to_wait > 0:
                changes["next_run_time"] = clock.now() + timedelta(seconds=poller.seconds_to_wait)
            if changes:  # each change wakes the scheduler
                with suppress(JobLookupError):
                    scheduler.modify_job(job, **changes)

        scheduler.add_job(
            run,
            "interval",
            id=job,
            executor=executor,
            seconds=every,
            jitter=every * JITTER,
            next_run_time=clock.now(),
        )

    def _unschedule(self, poller: Poller) -> None:
        job = self._jobs.pop(poller, None)
        if self._scheduler and job:
            with suppress(JobLookupError):
                self._scheduler.remove_job(job)


def _is_same(name: QueueName, poller: Poller, old: Config, new: Config) -> bool:
    """Whether a queue goes on as it is: an equal section, and no host that it has seen goes by another name now."""
    if old.queues[name] != new.queues.get(name):
        return False
    before, after = map_aliases(old), map_aliases(new)
    changed = {alias for alias in before.keys() | after.keys() if before.get(alias) != after.get(alias)}
    return not poller.sees(changed | {before[alias] for alias in changed & before.keys()})


def _retire(pollers: Sequence[Poller]) -> None:
    for poller in pollers:
        poller.retire()


def _poll_surely(poller: Poller) -> None:
    while poller.poll() is Polled.SERVER_BUSY:
        pass
