"""Build what the configuration describes: queues, probes, resets and the ledger's address. Connects to nothing.

Each maker raises ConfigurationError with every fault that it finds.
"""

import hashlib
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from exporter.address import Address
from exporter.errors import ConfigurationError
from exporter.jobs import AttemptKey, Claim, QueueName
from exporter.options import show_duration
from exporter.queues.meltano import MeltanoOptions
from exporter.queues.protocol import Queue
from exporter.queues.source import find_address
from exporter.queues.table import TableOptions
from healers.lease import Lease
from healers.ledger import Ledger
from healers.options import HealingOptions, HostOptions, LedgerOptions
from healers.outcomes import Concluded, OriginalRow
from healers.probes.protocol import Probe
from healers.proofs import PROOF_LASTS
from healers.resets.meltano import MeltanoHealing
from healers.resets.protocol import Reset
from healers.rounds import Host, Placement

from .config import Config, QueueSection, is_there, write
from .systems import make_probe, make_queue, make_reset

LEDGER: Final = "ledger.db"
SYSTEM_STATE: Final = Path("/var/lib/queuemedic")
BY_HAND: Final = "`queuemedic heal --accept-unknown` takes a person's word instead"


def make_queues(config: Config) -> dict[QueueName, Queue]:
    """Make the queue of every section."""
    queues: dict[QueueName, Queue] = {}
    faults: list[str] = []
    asked = [name for name, host in config.hosts.items() if host.via]
    for name, section in config.queues.items():
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


def make_resets(config: Config, get_ledger: Callable[[], Ledger]) -> dict[QueueName, Reset | None]:
    """Make the write half of every queue that is healed; None where healing is only rehearsed."""
    resets: dict[QueueName, Reset | None] = {}
    faults = [*_find_ledger_faults(config)]
    for name, section in config.queues.items():
        if section.healing.mode == "disabled":
            continue
        faults.extend(f"queues.{name}.{fault}" for fault in _find_healing_faults(section, config.hosts))
        resets[name] = None
        if section.healing.mode == "reset":
            try:
                resets[name] = make_section_reset(name, section, get_ledger)
            except ConfigurationError as error:
                faults.extend(error.faults)
    if faults:
        raise ConfigurationError(*faults)
    return resets


class LateReset:
    """The write half of one queue, which is made when it is first needed; it is used as any `Reset` is."""

    def __init__(self, make: Callable[[], Reset]) -> None:
        self._make = make
        self._made: Reset | None = None

    def check(self) -> None:
        """Raise ConfigurationError if nobody can write."""
        self._get()

    def lock(self, *, wait_seconds: float) -> AbstractContextManager[bool]:
        """See `Reset`; raises ConfigurationError if nobody can write."""
        return self._get().lock(wait_seconds=wait_seconds)

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]:
        """See `Reset`."""
        return self._get().reread(keys)

    def reset(self, claim: Claim) -> Concluded:
        """See `Reset`."""
        return self._get().reset(claim)

    def _get(self) -> Reset:
        if self._made is None:
            self._made = self._make()
        return self._made


def make_section_reset(name: QueueName, section: QueueSection, get_ledger: Callable[[], Ledger]) -> Reset:
    """Make the write half of one queue; where its server has no locks for healers, the ledger gives leases."""
    holder = f"{name_instance()}/{secrets.token_hex(4)}"
    lease = Lease(get_ledger, name, holder=holder, limit=section.options.poll_timeout)
    return make_reset(name, section.system, section.options, section.healing, lease=lease)


def make_probes(config: Config) -> dict[str, Probe]:
    """Make what asks each host that can be asked."""
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


def make_hosts(config: Config) -> list[Host]:
    """Return the hosts that are asked, as judging needs them."""
    return [
        Host(
            name=name,
            aliases=frozenset(options.aliases),
            machine_id=options.machine_id,
            has_own_namespace=options.pid_namespace == "own",
        )
        for name, options in config.hosts.items()
        if options.via
    ]


def make_placement(section: QueueSection) -> Placement | None:
    """Say where the workers of a queue run whose rows record no host; None where they do."""
    options, healing = section.options, section.healing
    if not isinstance(options, MeltanoOptions):
        return None
    return Placement(
        workers_on=options.workers_on,
        workers_user=options.workers_user,
        project=str(options.project) if options.project else None,
        trusts_heartbeat=isinstance(healing, MeltanoHealing) and healing.trust_heartbeat,
    )


def map_aliases(config: Config) -> Mapping[str, str]:
    """Return the host's name for each further name."""
    return {alias: name for name, host in config.hosts.items() for alias in host.aliases}


def needs_ledger(config: Config) -> bool:
    """Tell whether `serve` keeps a ledger: where something is healed, or the configuration names one."""
    return config.ledger is not None or any(section.healing.mode != "disabled" for section in config.queues.values())


def find_ledger(config: Config, environment: Mapping[str, str]) -> Address:
    """Return where the ledger is; raises ConfigurationError."""
    options = config.ledger or LedgerOptions()
    if options.url is None and options.url_file is None:
        return Address(url=URL.create("sqlite", database=str(_state_folder(environment) / LEDGER)))
    try:
        return find_address(url=options.url, url_file=options.url_file, tls=options.tls)
    except ConfigurationError as cause:
        raise ConfigurationError(*(f"ledger: {fault.removeprefix('url: ')}" for fault in cause.faults)) from cause


def require_ledger(config: Config, environment: Mapping[str, str]) -> None:
    """Refuse to begin a ledger that the configuration does not name: `serve` might keep, and read, another one.

    Raises ConfigurationError. One that is at the default place is taken, as is one that may not be looked at.
    """
    options = config.ledger or LedgerOptions()
    if options.url is not None or options.url_file is not None:
        return
    file = str(find_ledger(config, environment).url.database)
    if not is_there(Path(file)):
        right = "write ledger: in the configuration, so that serve and this command share one"
        raise ConfigurationError(f"{file}: there is no ledger; {right}")


def digest_config(config: Config) -> str:
    """Return what stands for a configuration in the journal; it holds no secret."""
    return hashlib.sha256(write(config).encode()).hexdigest()[:16]


def name_instance() -> str:
    """Name this process among several."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _state_folder(environment: Mapping[str, str]) -> Path:
    """Return systemd's StateDirectory=, else the service's folder for root and wherever it is there, else the user's.

    So a person who pauses reaches the ledger of the service, or is told that it takes more rights.
    """
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0 or SYSTEM_STATE.is_dir():
        return SYSTEM_STATE
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "queuemedic"


def _find_healing_faults(section: QueueSection, hosts: Mapping[str, HostOptions]) -> Iterator[str]:
    """Find what lets no proof be confirmed before it expires, and what lets nothing be judged.

    Hosts are asked out of step: a proof by several of them spans one more round.
    """
    healing, options = section.healing, section.options
    workers_on = options.workers_on if isinstance(options, MeltanoOptions) else ()
    asked = [host for name, host in hosts.items() if host.via and (name in workers_on or not workers_on)]
    slowest = max((host.ask_every + host.timeout for host in asked), default=timedelta(0))
    if len(workers_on) > 1:
        slowest += max((host.ask_every for host in asked), default=timedelta(0))
    rounds = f"{'rounds' if len(workers_on) > 1 else 'a round'} of up to {show_duration(slowest)}"
    if healing.confirm_after + slowest >= PROOF_LASTS:
        found = f"{show_duration(healing.confirm_after)} and {rounds}"
        right = f"must come to less than {show_duration(PROOF_LASTS)}, after which a proof expires"
        yield f"healing.confirm_after: {found} {right}; shorten it, or ask_every and timeout of the hosts"
    if healing.mode == "reset":
        yield from _find_reset_faults(options, healing)


def _find_ledger_faults(config: Config) -> Iterator[str]:
    """Find what lets the ledger forget resets that still count."""
    keep = (config.ledger or LedgerOptions()).keep
    healed = {name: section.healing for name, section in config.queues.items() if section.healing.mode != "disabled"}
    counted = {
        f"queues.{name}.healing.max_resets_per_job.within": it.max_resets_per_job.within for name, it in healed.items()
    }
    if healed:
        counted["the hour of max_resets_per_hour"] = timedelta(hours=1)
    what, longest = max(counted.items(), key=lambda item: item[1], default=("", timedelta(0)))
    if keep < longest:
        right = f"write {show_duration(longest)} or more"
        yield f"ledger.keep: {show_duration(keep)} is less than {what}; {right}"


def _find_reset_faults(options: object, healing: HealingOptions) -> Iterator[str]:
    if isinstance(options, TableOptions) and (options.columns.host is None or options.columns.pid is None):
        yield f"healing.mode: columns names no host and pid, so no worker can be judged; add them, or {BY_HAND}"
    trusts = isinstance(healing, MeltanoHealing) and healing.trust_heartbeat
    if isinstance(options, MeltanoOptions) and not options.workers_on and not trusts:
        yield f"healing.mode: without workers_on no run can be judged; list the hosts that may run it, or {BY_HAND}"
