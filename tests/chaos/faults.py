"""How each kind of fault is made, and how it ends: on real processes, packets, files and servers."""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from tests.lab.hosts import Partition

from .ground import Ground
from .schedule import Fault

CLOCK_SECONDS: Final = (600.0, -600.0, 3600.0, -3600.0)
LATE_SECONDS: Final = 1.5
LOSS: Final = """
flush ruleset
table inet lab {
    chain in { type filter hook input priority 0; numgen random mod 100 < 30 drop; }
}
"""

DEVICE: Final = ("dev", "eth0", "root")
SLOW: Final = ("tc", "qdisc", "add", *DEVICE, "tbf", "rate", "32kbit", "burst", "1600", "latency", "400ms")
QUICK: Final = ("tc", "qdisc", "delete", *DEVICE)

End = Callable[[], object]


def nothing() -> None:
    """What is done needs no end."""


def begin(fault: Fault, ground: Ground) -> End:
    """Make a fault, and return what ends it."""
    return MAKERS[fault.kind](fault, ground)


def _order(do: str, fault: Fault, ground: Ground) -> End:
    crew = ground.crews[fault.target]
    crew.order(do, fault.pick)
    return partial(crew.order, "cont") if do == "stop" else nothing


def _partition(partition: Partition, fault: Fault, ground: Ground) -> End:
    """Lose packets; what is cut off in both directions does not reach the database either."""
    crew = ground.crews[fault.target]
    crew.host.partition(partition)
    if partition is Partition.BOTH:
        crew.no_way.touch()

    def mend() -> None:
        crew.no_way.unlink(missing_ok=True)
        crew.host.connect()

    return mend


def _loss(fault: Fault, ground: Ground) -> End:
    host = ground.crews[fault.target].host
    host._nft(LOSS)
    return host.connect


def _refuse(fault: Fault, ground: Ground) -> End:
    """Let a router say that the host is not there, or the host that nobody listens."""
    return _partition((Partition.REJECT, Partition.RESET)[fault.pick % 2], fault, ground)


def _slow_down(fault: Fault, ground: Ground) -> End:
    """Let what the host says come at 4 kB a second."""
    host = ground.crews[fault.target].host
    host.call(SLOW)
    return partial(host.call, QUICK)


def _hide(fault: Fault, ground: Ground) -> End:
    """Let no account but root see the processes of others."""
    host = ground.crews[fault.target].host
    host.call(["mount", "-o", "remount,hidepid=2", "/proc"])
    return partial(host.call, ["mount", "-o", "remount,hidepid=0", "/proc"])


def _reboot(fault: Fault, ground: Ground) -> End:
    crew = ground.crews[fault.target]
    crew.lose_power()
    return crew.boot_anew


def _freeze_sshd(fault: Fault, ground: Ground) -> End:
    host = ground.crews[fault.target].host
    host.freeze_sshd()
    return host.thaw_sshd


def _kill_connections(fault: Fault, ground: Ground) -> End:
    ground.crews[fault.target].host.kill_connections()
    return nothing


def _silence_names(fault: Fault, ground: Ground) -> End:
    """Let the name of a host be asked for in vain, and end the connections to it, so that it is asked for."""
    for dog in ground.dogs.values():
        ground.let_resolve(dog, is_silent=True)
    crew = ground.crews[fault.target]
    if not crew.is_off:
        crew.host.kill_connections()

    def mend() -> None:
        for dog in ground.dogs.values():
            ground.let_resolve(dog)

    return mend


def _kill_server(fault: Fault, ground: Ground) -> End:
    server = ground.servers[fault.target]
    server.kill()
    return server.start


def _freeze_server(fault: Fault, ground: Ground) -> End:
    server = ground.servers[fault.target]
    server.freeze()
    return server.thaw


def _restart_server(fault: Fault, ground: Ground) -> End:
    server = ground.servers[fault.target]
    server.stop()
    server.start()
    return nothing


def _set_server_clock(fault: Fault, ground: Ground) -> End:
    """Set the clock of sessions of accounts other than root: those of the watchdogs."""
    site = ground.site
    step = timedelta(seconds=CLOCK_SECONDS[fault.pick % len(CLOCK_SECONDS)])

    def set_clock(instant: datetime | None) -> None:
        with suppress(Exception):  # the server may be down meanwhile, and then forgets it anyhow
            site.server.set_clock(instant, database=site.database)
            for session in site.server.processlist(idle=True):
                site.server.sql(f"KILL {session.connection_id}")

    if site.server.is_up:
        set_clock(datetime.now(UTC) + step)
    return lambda: set_clock(None) if site.server.is_up else None


def _lose_commits(fault: Fault, ground: Ground) -> End:
    ways = ground.dogs[fault.target].ways
    ways.lose_commits()
    return ways.mend


def _cut_dog_off(fault: Fault, ground: Ground) -> End:
    ways = ground.dogs[fault.target].ways
    ways.cut()
    return ways.mend


def _be_late(fault: Fault, ground: Ground) -> End:
    ways = ground.dogs[fault.target].ways
    ways.be_late(LATE_SECONDS)
    return ways.mend


def _kill_dog(fault: Fault, ground: Ground) -> End:
    dog = ground.dogs[fault.target]
    dog.kill()
    return dog.start


def _stop_dog(fault: Fault, ground: Ground) -> End:
    dog = ground.dogs[fault.target]
    dog.freeze()
    return dog.thaw


def _set_dog_clock(fault: Fault, ground: Ground) -> End:
    dog = ground.dogs[fault.target]
    dog.set_clock(CLOCK_SECONDS[fault.pick % len(CLOCK_SECONDS)])
    return partial(dog.set_clock, 0.0)


def _fill_disk(_: Fault, ground: Ground) -> End:
    ballast = ground.disk / "ballast"
    subprocess.run(["sh", "-c", f"cat /dev/zero >{ballast} 2>/dev/null"], check=False)
    return partial(ballast.unlink, missing_ok=True)


Maker = Callable[[Fault, Ground], End]
MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "worker killed": partial(_order, "kill"),
        "worker stopped": partial(_order, "stop"),
        "run stopped for long": partial(_order, "stop"),
        "pid reused": partial(_order, "reuse"),
        "inbound lost": partial(_partition, Partition.IN),
        "outbound lost": partial(_partition, Partition.OUT),
        "cut off": partial(_partition, Partition.BOTH),
        "packets lost": _loss,
        "connections refused": _refuse,
        "line slow": _slow_down,
        "processes hidden": _hide,
        "rebooted": _reboot,
        "sshd frozen": _freeze_sshd,
        "connections killed": _kill_connections,
        "name silent": _silence_names,
        "server killed": _kill_server,
        "server frozen": _freeze_server,
        "server restarted": _restart_server,
        "server's clock set": _set_server_clock,
        "COMMIT unanswered": _lose_commits,
        "watchdog cut off": _cut_dog_off,
        "reads late": _be_late,
        "watchdog killed": _kill_dog,
        "watchdog stopped": _stop_dog,
        "watchdog's clock set": _set_dog_clock,
        "disk full": _fill_disk,
    }
)
