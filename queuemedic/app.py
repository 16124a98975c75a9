"""The composition root: build the program from its configuration, and run it.

Two pools of threads keep what hangs away from what does not (docs/decisions/0001): a queue that failed polls among
`failing` until it succeeds, and so does one that a reload puts on a server that does not answer. At most two polls at a
time go to one database server.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Thread
from types import MappingProxyType
from weakref import WeakValueDictionary

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import ProcessCollector

from exporter import clock
from exporter.collector import QueueStatus, collect_program, collect_queue
from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.page import Format, Page
from exporter.poller import Polled, Poller
from exporter.queues.meltano import MeltanoOptions
from exporter.queues.protocol import Queue
from exporter.slots import ServerSlots
from healers.asking import HostAsker, read_moment
from healers.beliefs import Beliefs, QueueBeliefs
from healers.metrics import collect_healing, collect_hosts, collect_verdicts
from healers.options import HealingOptions
from healers.probes.protocol import Probe
from healers.rounds import Host, Placement

from . import __version__
from .config import Config, QueueSection
from .systems import make_probe, make_queue

POLLS_PER_SERVER = 2
POLLING, FAILING, PROBING, BEATING = "polling", "failing", "probing", "beating"
PROGRAM, HOSTS, VERDICTS = "/program", "/hosts", "/verdicts"
PROGRAM_SECONDS = 5.0
BUSY_RETRY = timedelta(seconds=1)
JITTER = 0.05
FIRST_ASKED_AFTER = timedelta(seconds=1)  # the first polls bring what to ask about
CHECK_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What is in force, and since when; `is_latest` until a later configuration is refused."""

    config: Config
    pollers: Mapping[QueueName, Poller]
    askers: Mapping[str, HostAsker]
    built_at: datetime
    is_latest: bool = True


class App:
    """The program as built from the configuration in force: a poller for each queue, and the page they publish on.

    What is in force is one reference, swapped whole by `apply`, which is not for two threads at once; all else is.
    """

    def __init__(self, config: Config) -> None:
        """Raises ConfigurationError where a queue cannot be built; nothing is read yet."""
        self._page = Page()
        self._process = ProcessCollector(registry=None)
        self._program_due = 0.0
        self._slots: WeakValueDictionary[str, ServerSlots] = WeakValueDictionary()  # a poll that hangs keeps its own
        self._scheduler: BackgroundScheduler | None = None
        self._jobs: dict[Poller, str] = {}
        self._numbers = count()
        self._beliefs = Beliefs(())
        self._built = Built(config=replace(config, queues={}, hosts={}), pollers={}, askers={}, built_at=clock.now())
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
        return tuple(self._built.askers.values())

    def recorded_hosts(self) -> set[str]:
        """Return the hosts that rows of the last polls record."""
        held = filter(None, (self._beliefs.of(poller.name) for poller in self.pollers))
        return {attempt.host for one in held for attempt in one.watched.started if attempt.host}

    def believe(self, queue: QueueName) -> QueueBeliefs | None:
        """Return what is held of the workers of a queue; None until it was read."""
        return self._beliefs.of(queue)

    def apply(self, config: Config, *, only_check: bool = False) -> None:
        """Put a configuration in force; raises ConfigurationError with every fault, and then nothing has changed.

        A queue whose section is equal keeps its poller: history, connection, counters and schedule, unless a file that
        the section names now leads to another database. The others begin anew. Waits for no poll: one that hangs in a
        queue that is gone closes its connection when it ends.
        """
        last, aliases = self._built, _aliases(config)
        queues = _make_queues(config)
        probes = None if config.hosts == last.config.hosts else _make_probes(config)
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
        parts = {part: queue for name, queue in owners.items() for part in (str(name), f"{VERDICTS}/{name}")}
        self._page.assign(parts)
        for poller in kept.values():
            poller.rename_hosts(aliases)
        made = {name: self._make_poller(queue, config.queues[name], aliases) for name, queue in queues.items()}
        pollers = {name: kept.get(name) or made[name] for name in config.queues}
        askers = last.askers if probes is None else self._make_askers(config, probes)
        self._built = Built(
            config=config, pollers=MappingProxyType(pollers), askers=MappingProxyType(askers), built_at=clock.now()
        )
        self._program_due = 0.0
        if askers is not last.askers:
            self._change_hosts(last, config)
        for poller in gone:
            if poller.name not in pollers:
                self._beliefs.forget(poller.name)
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
        scheduler = self._scheduler = BackgroundScheduler(
            executors={POLLING: Pool(16), FAILING: Pool(4), PROBING: Pool(32), BEATING: Pool(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        # A poll that takes longer than its interval is no fault; how long it took is published.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        for poller in self.pollers:
            self._schedule(poller)
        self._schedule_askers()
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
        has_closed = True
        for poller in self.pollers:
            has_closed &= poller.close(within_seconds=max(0.0, ends - clock.monotonic_seconds()))
        return has_closed

    def find_unready(self) -> Sequence[str]:
        """Name each queue that has no fresh snapshot, and why."""
        return [f"{poller.name}: {poller.error or poller.silence}" for poller in self.pollers if not poller.is_fresh]

    def get_page(self, page_format: Format, is_compressed: bool) -> bytes:
        """Return the page, with what the program says of itself at most five seconds old."""
        now = clock.monotonic_seconds()
        if now >= self._program_due:
            self._program_due = now + PROGRAM_SECONDS
            built = self._built
            program = collect_program(__version__, configured_at=built.built_at, is_configured=built.is_latest)
            self._page.update(PROGRAM, [*program, *self._process.collect()])
        return self._page.get(page_format, is_compressed)

    def _make_askers(self, config: Config, probes: Mapping[str, Probe]) -> dict[str, HostAsker]:
        """Begin to hold beliefs of these hosts, without forgetting what was seen, and make those that ask them."""
        hosts = [
            Host(
                name=name,
                aliases=frozenset(options.aliases),
                machine_id=options.machine_id,
                has_own_namespace=options.pid_namespace == "own",
            )
            for name, options in config.hosts.items()
            if options.via
        ]
        self._beliefs = Beliefs(hosts, sightings=self._beliefs.sightings)
        return {
            host.name: HostAsker(
                host.name,
                probes[host.name],
                self._beliefs,
                memory_limit_bytes=options.worker_memory_limit,
                publish=self._publish_hosts,
            )
            for host, options in ((host, config.hosts[host.name]) for host in hosts)
        }

    def _change_hosts(self, last: Built, config: Config) -> None:
        for poller in self._built.pollers.values():
            self._take(poller.queue, poller.status, config.queues[poller.name])
        self._publish_hosts(self._built.pollers)
        if self._scheduler:
            for name in last.askers:
                with suppress(JobLookupError):
                    self._scheduler.remove_job(f"{HOSTS}/{name}")
            self._schedule_askers()
        for asker in last.askers.values():
            asker.close()

    def _schedule_askers(self) -> None:
        if self._scheduler is None:
            return
        for name, asker in self._built.askers.items():
            every = self.config.hosts[name].ask_every.total_seconds()
            self._scheduler.add_job(
                asker.ask,
                "interval",
                id=f"{HOSTS}/{name}",
                executor=PROBING,
                seconds=every,
                jitter=every * JITTER,
                next_run_time=clock.now() + FIRST_ASKED_AFTER,
            )

    def _take(self, queue: Queue, status: QueueStatus, section: QueueSection) -> None:
        """Let the beliefs take up what a poll read."""
        if status.is_up and status.reading:
            self._beliefs.take(
                queue.name,
                status.reading,
                signs=queue.signs,
                placement=_placement(section),
                confirm_after=section.healing.confirm_after,
                now=read_moment(),
            )

    def _publish_hosts(self, queues: Collection[QueueName]) -> None:
        """Publish what hosts said, and what is held of these queues since."""
        self._page.update(HOSTS, collect_hosts(asker.status for asker in self.askers))
        for poller in filter(None, map(self._built.pollers.get, queues)):
            self._publish_verdicts(poller.queue, poller.status, poller.fresh_until)

    def _publish_verdicts(self, queue: Queue, status: QueueStatus, valid_until: float) -> None:
        held = self._beliefs.of(queue.name)
        if held is not None:
            families = collect_verdicts(queue.name, held, status.history)
            self._page.update(f"{VERDICTS}/{queue.name}", families, valid_until=valid_until, owner=queue)

    def _make_poller(self, queue: Queue, section: QueueSection, aliases: Mapping[str, str]) -> Poller:
        def publish(status: QueueStatus, valid_until: float) -> None:
            families = [*collect_queue(status), *collect_healing(status.name, section.healing)]
            self._page.update(status.name, families, valid_until=valid_until, owner=queue)
            self._take(queue, status, section)
            self._publish_verdicts(queue, status, valid_until)

        slots = self._slots.setdefault(queue.server, ServerSlots(POLLS_PER_SERVER))
        return Poller(queue, section.options, aliases=aliases, server_slots=slots, publish=publish)

    def _schedule(self, poller: Poller, executor: str = POLLING) -> None:
        """Let the scheduler poll; each poller has a job of its own, also where its queue had one before."""
        scheduler = self._scheduler
        if scheduler is None:
            return
        job = self._jobs[poller] = f"{poller.name} {next(self._numbers)}"
        every = poller.status.options.poll_every.total_seconds()

        def run() -> None:
            polled = poller.poll()
            changes: dict[str, object] = {"executor": POLLING if poller.status.is_up else FAILING}
            if polled is Polled.SERVER_BUSY:
                changes["next_run_time"] = clock.now() + BUSY_RETRY
            elif poller.seconds_to_wait > 0:
                changes["next_run_time"] = clock.now() + timedelta(seconds=poller.seconds_to_wait)
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


def _make_queues(config: Config) -> dict[QueueName, Queue]:
    queues: dict[QueueName, Queue] = {}
    faults: list[str] = []
    asked = [name for name, host in config.hosts.items() if host.via]
    for name, section in config.queues.items():
        if section.healing != HealingOptions():
            right = "this version judges workers and heals nothing; leave the section out"
            faults.append(f"queues.{name}.healing: {right}")
        for host in getattr(section.options, "workers_on", ()):
            if host not in asked:
                right = f"write {', '.join(asked) or 'it under hosts: with via: local'}"
                faults.append(f"queues.{name}.workers_on: {host!r} is no host that is asked; {right}")
        try:
            queues[name] = make_queue(name, section.system, section.options)
        except ConfigurationError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigurationError(*faults)
    return queues


def _make_probes(config: Config) -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    faults: list[str] = []
    for name, options in config.hosts.items():
        try:
            if options.via:
                probes[name] = make_probe(options)
        except ConfigurationError as error:
            faults.extend(f"hosts.{name}: {fault}" for fault in error.faults)
    if faults:
        raise ConfigurationError(*faults)
    return probes


def _is_same(name: QueueName, poller: Poller, old: Config, new: Config) -> bool:
    """Whether a queue goes on as it is: an equal section, and no host that it has seen goes by another name now."""
    if old.queues[name] != new.queues.get(name):
        return False
    before, after = _aliases(old), _aliases(new)
    changed = {alias for alias in before.keys() | after.keys() if before.get(alias) != after.get(alias)}
    return not poller.sees(changed | {before[alias] for alias in changed & before.keys()})


def _aliases(config: Config) -> Mapping[str, str]:
    return {alias: name for name, host in config.hosts.items() for alias in host.aliases}


def _placement(section: QueueSection) -> Placement | None:
    """Say where the workers of a queue run whose rows record no host; None where they do."""
    options = section.options
    if not isinstance(options, MeltanoOptions):
        return None
    return Placement(
        workers_on=options.workers_on,
        workers_user=options.workers_user,
        project=str(options.project) if options.project else None,
    )


def _retire(pollers: Sequence[Poller]) -> None:
    for poller in pollers:
        poller.retire()


def _poll_surely(poller: Poller) -> None:
    while poller.poll() is Polled.SERVER_BUSY:
        pass
