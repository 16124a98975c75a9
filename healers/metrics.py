"""The healer's metric families."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import Metric as Family

from exporter.catalogue import FAST_BUCKETS
from exporter.collector import Families
from exporter.histogram import Histogram
from exporter.tracker import NO_HOST, History

from .beliefs import QueueBeliefs
from .probes.protocol import Silence
from .reasons import Liveness
from .tallying import PAUSED, HealStatus

MODES = ("disabled", "dry_run", "reset", PAUSED)
OK = "ok"
PROBE_OUTCOMES = (OK, *(silence.value for silence in Silence if silence is not Silence.NOT_CONFIGURED))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """Everything about one asked host that is published; what it said last stays until it says something else."""

    name: str
    is_up: bool = False
    answered_at: datetime | None = None
    load_average: float | None = None
    processors: int | None = None
    worker_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    probes: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(PROBE_OUTCOMES, 0))
    durations: Histogram = field(default_factory=lambda: Histogram(bounds=FAST_BUCKETS))

    @property
    def load_per_processor(self) -> float | None:
        """The load average by processor, where the host said both."""
        return self.load_average / self.processors if self.load_average is not None and self.processors else None


def collect_mode(queue: str, mode: str) -> Iterable[Family]:
    """Say which mode is in force for a queue."""
    families = Families(queue)
    for known in MODES:
        families.set("healing_mode", known == mode, known)
    return families


def collect_heals(status: HealStatus) -> Iterable[Family]:
    """Return the families of a queue that is healed, or would be."""
    families = Families(status.queue)
    for outcome, number in status.heals.items():
        families.set("heals_total", number, outcome)
    for reason, number in status.refusals.items():
        families.set("heal_refusals_total", number, reason)
    for reason, number in status.blocked.items():
        families.set("blocked_heals", number, reason)
    families.set("quarantined_jobs", status.quarantined)
    families.set("breaker_open", status.is_breaker_open)
    families.set_histogram("heal_delay_seconds", status.delays)
    families.set_date("heal_pass_timestamp_seconds", status.passed_at)
    families.set("healer_leader", status.is_leader)
    return [*collect_mode(status.queue, status.mode), *families]


def collect_verdicts(queue: str, held: QueueBeliefs, history: History) -> Iterable[Family]:
    """Count what is held of a queue's attempts, by the host that their rows record."""
    families = Families(queue)
    verdicts: Counter[tuple[str, str, str]] = Counter()
    orphaned: Counter[str] = Counter({NO_HOST: 0})
    for attempt in held.watched.started:
        verdict = held.verdicts[attempt.key]
        host = history.hosts.label(history.host_of(attempt))
        verdicts[host, verdict.value, verdict.reason] += 1
        orphaned[host] += verdict.value is Liveness.DEAD
    for labels, number in verdicts.items():
        families.set("worker_verdicts", number, *labels)
    for host, number in orphaned.items():
        families.set("orphaned_jobs", number, host)
    return families


def collect_hosts(statuses: Iterable[HostStatus]) -> Iterable[Family]:
    """Return the families of the hosts that are asked."""
    families = Families()
    for status in statuses:
        families.set("host_up", status.is_up, status.name)
        families.set_date("host_answer_timestamp_seconds", status.answered_at, status.name)
        numbers = {
            "host_load_average": status.load_average,
            "host_processors": status.processors,
            "host_worker_memory_bytes": status.worker_memory_bytes,
            "worker_memory_limit_bytes": status.memory_limit_bytes,
        }
        for name, number in numbers.items():
            if number is not None:
                families.set(name, number, status.name)
        for outcome, number in status.probes.items():
            families.set("probes_total", number, status.name, outcome)
        families.set_histogram("probe_duration_seconds", status.durations, status.name)
    return families
