"""The one registry of systems: name → options, queue and reset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.errors import ConfigurationError
from exporter.imports import without
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from exporter.queues.meltano import MeltanoOptions, MeltanoQueue
from exporter.queues.protocol import Queue
from exporter.queues.table import TableOptions, TableQueue
from healers.options import HealingOptions, HostOptions
from healers.probes.local import LocalProbe
from healers.probes.protocol import Probe
from healers.resets.compare_and_set import SqlReset
from healers.resets.locks import Lock
from healers.resets.matomo import make_matomo_reset
from healers.resets.meltano import MeltanoHealing, make_meltano_reset
from healers.resets.protocol import Reset
from healers.resets.table import TableHealing, make_table_reset


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """What a queue of one system, and its `healing` section, may say."""

    queue: type[QueueOptions]
    healing: type[HealingOptions] = HealingOptions


OPTIONS: Mapping[str, SystemOptions] = MappingProxyType(
    {
        "matomo": SystemOptions(MatomoOptions),
        "meltano": SystemOptions(MeltanoOptions, MeltanoHealing),
        "table": SystemOptions(TableOptions, TableHealing),
    }
)
_QUEUES: Mapping[str, Callable[[QueueName, Any], Queue]] = MappingProxyType(
    {"matomo": MatomoQueue, "meltano": MeltanoQueue, "table": TableQueue}
)
_RESETS: Mapping[str, Callable[[Any, Any, Lock], SqlReset]] = MappingProxyType(
    {
        "matomo": lambda options, healing, lease: make_matomo_reset(options, healing, lease=lease),
        "meltano": lambda options, healing, _: make_meltano_reset(options, healing),  # never on MariaDB
        "table": lambda options, healing, lease: make_table_reset(options, healing, lease=lease),
    }
)


def make_probe(options: HostOptions) -> Probe:
    """Make what asks one host; raises ConfigurationError where its files cannot be used."""
    if options.via == "ssh":
        with without("invoke"):  # which paramiko would load for a word of ssh_config that is not used: 3 MiB
            from healers.probes.ssh import SshProbe  # noqa: PLC0415  paramiko is imported only where it is needed

        return SshProbe(options)
    return LocalProbe(timeout=options.timeout)


def make_queue(name: QueueName, system: str, options: QueueOptions) -> Queue:
    """Make the queue of one section of the configuration; raises ConfigurationError that names the section."""
    try:
        return _QUEUES[system](name, options)
    except ConfigurationError as cause:
        raise ConfigurationError(*(f"queues.{name}: {fault}" for fault in cause.faults)) from cause


def make_reset(name: QueueName, system: str, options: QueueOptions, healing: HealingOptions, *, lease: Lock) -> Reset:
    """Make the write half of a queue; raises ConfigurationError that names the section. Nothing is connected to.

    `lease` is the lock of healers where the server has none.
    """
    try:
        reset = _RESETS[system](options, healing, lease)
        reset.check()
    except ConfigurationError as cause:
        raise ConfigurationError(*(f"queues.{name}.{fault}" for fault in cause.faults)) from cause
    return reset


def records_workers(system: str, schema: str) -> bool:
    """Tell whether the table that was found records which worker holds a job: Matomo's does since 5.3."""
    return system != "matomo" or schema != "4.0"
