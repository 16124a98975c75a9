"""Tell which machine an answer is from, and whether it could see what it was asked for; pure.

What can be wrong about a verdict is identity, so an answer counts only if it is from the machine that the rows name,
from the PID namespace in which their pids were given out, and from an account that sees all processes.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from .probes.protocol import HostAnswer
from .rounds import Heard, Host
from .sightings import Boot, name_boot

INITIAL_PID_NAMESPACE: Final = 4_026_531_836
BOOTS_KEPT: Final = 16
SETTLING: Final = timedelta(hours=1)
NOT_HIDING: Final = frozenset({"hidepid=0", "hidepid=off"})


class Doubt(StrEnum):
    """Why an answer proves nothing, although it is whole."""

    HIDDEN_PROCESSES = "hidden_processes"
    WRONG_NAMESPACE = "wrong_namespace"
    WRONG_HOST = "wrong_host"
    DUPLICATE_HOST_KEY = "duplicate_host_key"


def find_doubt(answer: HostAnswer, host: Host, *, is_duplicate: bool) -> Doubt | None:
    """Return why the answer cannot be used for `host`, or None where it can."""
    if _hides_processes(answer, host):
        return Doubt.HIDDEN_PROCESSES
    if not host.has_own_namespace and answer.pid_namespace != INITIAL_PID_NAMESPACE:
        return Doubt.WRONG_NAMESPACE
    if answer.hostname not in host.names or host.machine_id not in (None, answer.machine_id):
        return Doubt.WRONG_HOST
    return Doubt.DUPLICATE_HOST_KEY if is_duplicate else None


def _hides_processes(answer: HostAnswer, host: Host) -> bool:
    """Tell whether a live worker could be missing from `/proc`: the canary died, or only luck kept it alive.

    hidepid= exempts root and the members of gid=. The canary proves membership where pid 1 is root's; in a namespace of
    its own, pid 1 may be the probe's own, and proves nothing.
    """
    if not answer.sees_foreign or "subset=pid" in answer.proc_options:
        return True
    hides = any(option.startswith("hidepid=") for option in answer.proc_options - NOT_HIDING)
    is_member = any(option.startswith("gid=") for option in answer.proc_options) and not host.has_own_namespace
    return hides and answer.uid != 0 and not is_member


def boot_of(answer: HostAnswer) -> str:
    """Return which boot answers, of the machine or of a guest: those on one kernel share its boot_id.

    So in a PID namespace other than the machine's first, the namespace is part of it: it begins and ends with a guest.
    """
    if answer.pid_namespace == INITIAL_PID_NAMESPACE:
        return answer.boot_id
    return f"{answer.boot_id} pid:[{answer.pid_namespace}]"


def boots_under(host: Host, boots: Mapping[str, tuple[Boot, ...]]) -> tuple[Boot, ...]:
    """Return the boots of a host, with those of hosts that were configured under what are further names of it now.

    Whether it is that same host, or another that has taken the name over, tells the next answer, which is the latest.
    """
    own = boots.get(host.name, ())
    known = {boot.name for boot in own}
    others = [boot for alias in sorted(host.aliases) for boot in boots.get(alias, ()) if boot.name not in known]
    return tuple(sorted((*own, *others), key=lambda boot: boot.last_at)) if others else own


def follow_boots(boots: tuple[Boot, ...], heard: Heard, answer: HostAnswer) -> tuple[Boot, ...]:
    """Return the boots of a host with the one that answered now, which is the last."""
    name = name_boot(answer.machine_id, boot_of(answer))
    if boots and boots[-1].name == name:
        latest = boots[-1]
        first_at, first_seconds, is_reboot = latest.first_at, latest.first_seconds, latest.is_reboot
        boots = boots[:-1]
    else:
        first_at, first_seconds, is_reboot = heard.at, heard.ended_seconds, _is_reboot(boots, heard, answer)
    now = Boot(
        machine_id=answer.machine_id or "",
        boot_id=boot_of(answer),
        first_at=first_at,
        last_at=heard.at,
        is_reboot=is_reboot,
        first_seconds=first_seconds,
        last_seconds=heard.ended_seconds,
    )
    return _keep_some((*boots, now))


def add_boot(boots: tuple[Boot, ...], heard: tuple[Boot, ...]) -> tuple[Boot, ...]:
    """Return the boots of a host with the last that another asker of it has heard, if that is a new one."""
    if not boots or any(boot.name == heard[-1].name for boot in boots):
        return boots or heard
    return _keep_some((*boots, heard[-1]))


def add_machine(boots: tuple[Boot, ...], heard: tuple[Boot, ...]) -> tuple[Boot, ...]:
    """Return the boots of a host with the last that was heard of another machine than theirs; of a reboot, without.

    Whether it was a reboot told its uptime at the time, and tells the next answer.
    """
    others = [boot for boot in heard if boot.machine_id != boots[-1].machine_id]
    return _keep_some((*boots, *others[-1:]))


def _keep_some(boots: tuple[Boot, ...]) -> tuple[Boot, ...]:
    """Return the boots without those that are too many: reboots first, as they hold nothing back; changes do."""
    while len(boots) > BOOTS_KEPT:
        over = next((place for place, boot in enumerate(boots[:-1]) if boot.is_reboot), 0)
        boots = boots[:over] + boots[over + 1 :]
    return boots


def _is_reboot(boots: tuple[Boot, ...], heard: Heard, answer: HostAnswer) -> bool:
    """Tell whether the machine that answered last went down: the one that answers now came up only after that.

    Another machine-id is another machine, whatever its uptime; and a boot that was here before did not begin now.
    """
    if not boots or not answer.machine_id or answer.machine_id != boots[-1].machine_id:
        return False
    if any(boot.boot_id == boot_of(answer) for boot in boots):
        return False
    return answer.uptime < _time_since(boots[-1], heard)


def _time_since(boot: Boot, heard: Heard) -> timedelta:
    """Return the time from a boot's last answer to this asking, at least: the shorter of what two clocks say.

    The wall clock may have been set in between; the boot clock is only known within one run of this program.
    """
    asking_for = timedelta(seconds=heard.ended_seconds - heard.began_seconds)
    since = heard.at - asking_for - boot.last_at
    if boot.last_seconds is None:
        return since
    return min(since, timedelta(seconds=heard.began_seconds - boot.last_seconds))


def are_reboots(boots: tuple[Boot, ...], *, since: str) -> bool:
    """Tell whether all that happened to a host since the boot named `since` are reboots of that same machine."""
    names = [boot.name for boot in boots]
    if since not in names:
        return False
    last = len(names) - names[::-1].index(since)
    return all(boot.is_reboot for boot in boots[last:])


def may_be_elsewhere(boots: tuple[Boot, ...], *, at: datetime, begun_for: timedelta | None) -> bool:
    """Tell whether an attempt that was never enrolled may have begun on another machine, which had this name before.

    For a while after a machine changed, other than by a reboot, two of them may be taking turns; and what began before
    the change, or nobody knows when, did not begin on the one that answers since. The wall clock may have been set.
    """
    changed = next((boot for boot in reversed(boots[1:]) if not boot.is_reboot), None)
    if changed is None:
        return False
    since, now_seconds = at - changed.first_at, boots[-1].last_seconds
    if now_seconds is not None and changed.first_seconds is not None:
        since = min(since, timedelta(seconds=now_seconds - changed.first_seconds))
    return since < SETTLING or begun_for is None or begun_for >= since
