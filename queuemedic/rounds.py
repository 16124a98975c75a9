"""The rounds of a running program: each host is asked at its own interval, whatever becomes of the others.

A machine that is off keeps a thread waiting until its host's timeout. So a host is asked among `silent` until it has
answered, and again when it does not: however many are silent, those that answer wait for none of them.
Each host has a part of the page of its own; what is held of queues since a round, the program publishes and heals.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from apscheduler.jobstores.base import JobLookupError
from prometheus_client import Metric as Family

from exporter import clock
from exporter.jobs import QueueName
from healers.asking import HostAsker
from healers.beliefs import Beliefs
from healers.metrics import collect_hosts
from healers.probes.protocol import Probe

from .config import Config
from .scheduling import JITTER, PROBING, SILENT, Scheduler

PART: Final = "/hosts/"
FIRST_AFTER: Final = timedelta(seconds=1)
"""The first polls bring what to ask about."""

PROOF_MARGIN: Final = timedelta(milliseconds=10)
"""A round that begins too early by the least proves nothing."""


class Rounds:
    """Those who ask the hosts of one configuration. `start` and `end` are not for two threads at once."""

    def __init__(
        self,
        config: Config,
        probes: Mapping[str, Probe],
        beliefs: Beliefs,
        *,
        publish: Callable[[HostAsker, str, Iterable[Family]], object],
        tell: Callable[[Collection[QueueName]], object],
    ) -> None:
        """`publish` takes what a host said, under the name of its part of the page.

        `tell` is told after each round of which queues other is held since, or somebody is held dead.
        """
        self._publish = publish
        self._tell = tell
        self._scheduler: Scheduler | None = None
        self._every = {name: host.ask_every.total_seconds() for name, host in config.hosts.items()}
        self.askers: Mapping[str, HostAsker] = MappingProxyType(
            {
                name: HostAsker(name, probes[name], beliefs, memory_limit_bytes=host.worker_memory_limit)
                for name, host in config.hosts.items()
                if host.via
            }
        )
        self._executors = dict.fromkeys(self.askers, SILENT)

    @property
    def parts(self) -> Mapping[str, HostAsker]:
        """The parts of the page, and whose they are."""
        return {f"{PART}{name}": asker for name, asker in self.askers.items()}

    def publish(self) -> None:
        """Publish what each host said last."""
        for part, asker in self.parts.items():
            self._publish(asker, part, collect_hosts([asker.status]))

    def start(self, scheduler: Scheduler) -> None:
        """Ask every host at its interval from now on."""
        self._scheduler = scheduler
        for part, asker in self.parts.items():
            every = self._every[asker.status.name]
            scheduler.add_job(
                partial(self._ask, part, asker),
                "interval",
                id=part,
                executor=self._executors[asker.status.name],
                seconds=every,
                jitter=every * JITTER,
                next_run_time=clock.now() + FIRST_AFTER,
            )

    def end(self) -> None:
        """Ask nobody any more; a round under way ends by its own deadline."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler:
            for part in self.parts:
                with suppress(JobLookupError):
                    scheduler.remove_job(part)
        for asker in self.askers.values():
            asker.close()

    def _ask(self, part: str, asker: HostAsker) -> None:
        queues = asker.ask()
        self._publish(asker, part, collect_hosts([asker.status]))
        self._tell(queues)
        scheduler, name = self._scheduler, asker.status.name
        executor = PROBING if asker.status.is_up else SILENT
        if scheduler and executor != self._executors[name]:
            self._executors[name] = executor
            with suppress(JobLookupError):
                scheduler.modify_job(part, executor=executor)
        seconds = asker.seconds_to_proof()
        if scheduler and seconds is not None and seconds < self._every[name]:
            with suppress(JobLookupError):  # no later than an interval after this round, and not just before it counts
                scheduler.modify_job(part, next_run_time=clock.now() + timedelta(seconds=seconds) + PROOF_MARGIN)
