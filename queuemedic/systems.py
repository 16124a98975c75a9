"""The one registry of systems: name → options and queue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.queues.meltano import MeltanoOptions, MeltanoQueue
from exporter.queues.protocol import Queue
from exporter.queues.table import TableOptions, TableQueue
from healers.options import HealingOptions, HostOptions
from healers.probes.local import LocalProbe
from healers.probes.protocol import Probe


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """What a queue of one system, and its `healing` section, may say."""

    queue: type[QueueOptions]
    healing: type[HealingOptions] = HealingOptions


OPTIONS: Mapping[str, SystemOptions] = MappingProxyType(
    {
        "matomo": SystemOptions(MatomoOptions),
        "meltano": SystemOptions(MeltanoOptions),
        "table": SystemOptions(TableOptions),
    }
)
_QUEUES: Mapping[str, Callable[[QueueName, Any], Queue]] = MappingProxyType(
    {"matomo": MatomoQueue, "meltano": MeltanoQueue, "table": TableQueue}
)


def make_probe(options: HostOptions) -> Probe:
    """Make what asks one host; raises ConfigurationError where its files cannot be used."""
    if options.via == "ssh":
        from healers.probes.ssh import SshProbe  # noqa: PLC0415  paramiko is imported only where a host is asked so

        return SshProbe(options)
    return LocalProbe(timeout=options.timeout)


def make_queue(name: QueueName, system: str, options: QueueOptions) -> Queue:
    """Make the queue of one section of the configuration; raises ConfigurationError that names the section."""
    try:
        return _QUEUES[system](name, options)
    except ConfigurationError as cause:
        raise ConfigurationError(*(f"queues.{name}: {fault}" for fault in cause.faults)) from cause
