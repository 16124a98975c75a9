"""What goes wrong, and when: drawn from a seed, so that the same seed always makes the same schedule; pure.

Every kind is dealt from a shuffled deck, so that each comes before any comes again. Two faults that would undo each
other (two partitions of one host) never overlap. Seconds count from the beginning of the faults.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

FIRST_SECONDS, EVERY_SECONDS = 1.5, 0.9
"""When the first fault comes, and how far faults are apart on the average."""

LONG_SECONDS: Final = 40.0
"""So long a schedule, for two seeds of three, has none of those faults after which no host may boot anew."""
SEEN_SECONDS: Final = 10.0
"""After that both watchdogs have seen a new boot, also one that was begun anew meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong: from `at` on, for so long; what lasts no time is done once it has begun.

    `pick` chooses further, among the workers of a host for one.
    """

    kind: str
    target: str
    at: float
    lasts: float
    pick: int = 0

    def __str__(self) -> str:
        span = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.1f} s  {self.kind} of {self.target}{span}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What one kind of fault befalls, and for how long. Of one target, those of the same `slot` never overlap.

    `cards` is how many of it are in the deck. One that `lasts` longer than there is time for is left out.
    """

    on: str
    lasts: tuple[float, float] = (0.0, 0.0)
    slot: str = ""
    cards: int = 1


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # Workers
        "worker killed": Kind(on="host", cards=3),
        "worker stopped": Kind(on="host", lasts=(3, 8), cards=2),
        "run stopped for long": Kind(on="pipelines", lasts=(35, 40), slot="run"),
        "pid reused": Kind(on="archivers", cards=2),
        # Hosts
        "inbound lost": Kind(on="host", lasts=(2, 6), slot="host"),
        "outbound lost": Kind(on="host", lasts=(2, 6), slot="host"),
        "cut off": Kind(on="host", lasts=(2, 6), slot="host"),
        "packets lost": Kind(on="host", lasts=(3, 8), slot="host"),
        "connections refused": Kind(on="host", lasts=(2, 6), slot="host"),
        "line slow": Kind(on="host", lasts=(3, 8), slot="host"),
        "processes hidden": Kind(on="archivers", lasts=(3, 6), slot="host"),
        "rebooted": Kind(on="host", lasts=(3, 6), slot="host"),
        "sshd frozen": Kind(on="host", lasts=(2, 5), slot="host"),
        "connections killed": Kind(on="host", slot="host"),
        "name silent": Kind(on="names", lasts=(3, 6), slot="names"),
        # Databases
        "server killed": Kind(on="server", lasts=(0.5, 2), slot="server"),
        "server frozen": Kind(on="server", lasts=(1, 4), slot="server"),
        "server restarted": Kind(on="server", slot="server"),
        "server's clock set": Kind(on="mariadb", lasts=(2, 5), slot="clock"),
        # Watchdogs, and their ways to the databases
        "COMMIT unanswered": Kind(on="watchdog", lasts=(3, 6), slot="way"),
        "watchdog cut off": Kind(on="watchdog", lasts=(2, 6), slot="way"),
        "reads late": Kind(on="watchdog", lasts=(3, 6), slot="way"),
        "watchdog killed": Kind(on="watchdog", lasts=(0.5, 3), slot="life"),
        "watchdog stopped": Kind(on="watchdog", lasts=(1, 6), slot="life"),
        "watchdog's clock set": Kind(on="watchdog", lasts=(2, 5), slot="clock"),
        "disk full": Kind(on="disk", lasts=(2, 4), slot="disk"),
    }
)

Targets = Mapping[str, Sequence[str]]


def make_schedule(seed: int, *, seconds: float, targets: Targets, kinds: Iterable[str] = KINDS) -> tuple[Fault, ...]:
    """Draw the faults of so many seconds; all are over by then. `targets` names what there is, by `Kind.on`."""
    chance = random.Random(seed)  # noqa: S311  the same each time
    known = [kind for kind in kinds if targets.get(KINDS[kind].on) and KINDS[kind].lasts[0] < seconds - FIRST_SECONDS]
    if seconds >= LONG_SECONDS and seed % 3:
        known = [kind for kind in known if kind != "watchdog's clock set"]  # nothing boots anew after it
    made: list[Fault] = []
    deck: list[str] = []
    at, refused = FIRST_SECONDS, 0
    while known and at < seconds:
        if refused >= len(deck):  # what cannot come now must not keep others from coming
            refused = 0
            deck = [kind for kind in known for _ in range(KINDS[kind].cards)]
            chance.shuffle(deck)
        name = deck.pop()
        kind = KINDS[name]
        lasts, pick = round(chance.uniform(*kind.lasts), 2), chance.randrange(1000)
        there = chance.sample(targets[kind.on], len(targets[kind.on]))
        faults = (Fault(kind=name, target=target, at=round(at, 2), lasts=lasts, pick=pick) for target in there)
        fault = next((one for one in faults if not any(_clash(one, other) for other in made)), None)
        if fault is None:
            deck.insert(0, name)
            refused += 1
            at += 0.1
        elif fault.at + kind.lasts[0] > seconds:
            at += 0.1
        else:
            made.append(replace(fault, lasts=round(min(fault.lasts, seconds - fault.at), 2)))
            at += chance.uniform(0.2, 2 * EVERY_SECONDS - 0.2)
            refused = 0
    return tuple(made)


def _clash(fault: Fault, earlier: Fault) -> bool:
    return _collides(fault, earlier) or _confuses(fault, earlier)


def _confuses(fault: Fault, earlier: Fault) -> bool:
    """Tell whether nobody could know any more that a host has booted anew.

    A watchdog that has just begun knows of a host's last answer only when it was, by a wall clock. Where that was off
    then or is off now, it holds the new boot for a second machine, and leaves its jobs alone (docs/about/chaos.md).
    """
    kinds = (earlier.kind, fault.kind)
    is_unseen = fault.at - earlier.at - earlier.lasts < SEEN_SECONDS
    return kinds == ("watchdog's clock set", "rebooted") or (
        kinds == ("rebooted", "watchdog's clock set") and is_unseen
    )


def _collides(one: Fault, other: Fault) -> bool:
    slot = KINDS[one.kind].slot
    if not slot or slot != KINDS[other.kind].slot or one.target != other.target:
        return False
    return one.at <= other.at + other.lasts + 0.5 and other.at <= one.at + one.lasts + 0.5
