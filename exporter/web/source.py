"""What pages and API are made of: callables that return views, out of memory, at once, from any thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.series import Point
from exporter.showing import Glance
from exporter.views import AttemptView, HealView, HostView, ListedQueueView, PauseView, QueueView


@dataclass(frozen=True, slots=True, kw_only=True)
class LookBack:
    """What the ledger said last: the latest that was put back or refused, the newest last, and what is paused.

    `fault` is why it could not be read, where it could not; `is_kept` is False where nothing is healed or kept, and
    `is_read` until it was read for the first time.
    """

    heals: tuple[HealView, ...] = ()
    pauses: tuple[PauseView, ...] = ()
    fault: str | None = None
    is_kept: bool = True
    is_read: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The views. What is asked of a queue by name is None, or nothing, where there is no such queue.

    `glance` and `glances` are what pages of many queues are made of: they cost little, whatever a queue holds.
    `worst_attempts`: a number of started jobs of a queue, those that need a person first. `seconds` reads the clock of
    points.
    """

    glance: Callable[[str], Glance | None]
    glances: Callable[[], Sequence[Glance]]
    list_queues: Callable[[], Sequence[ListedQueueView]]
    show_queue: Callable[[str], QueueView | None]
    worst_attempts: Callable[[str, int], Sequence[AttemptView]]
    points: Callable[[str], Sequence[Point]]
    list_hosts: Callable[[], Sequence[HostView]]
    look_back: Callable[[], LookBack]
    seconds: Callable[[], float]
