"""Collections that share what they do not change, and hold no more than they are told to; pure.

What is remembered is replaced whole and read without a lock, and each poll and each round adds to it. So it is split by
queue: what is learned of one queue copies that queue's part, and of the others only the reference.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Self, TypeVar

from exporter.jobs import AttemptKey, QueueName

V = TypeVar("V")
T = TypeVar("T", bound=tuple[Any, ...])
NOTHING: Mapping[Any, Any] = {}


class ByQueue(Mapping[AttemptKey, V]):
    """Something of each attempt; `of` is the part of one queue, in the order in which attempts came."""

    __slots__ = ("_queues",)

    def __init__(self, items: Mapping[AttemptKey, V] = NOTHING) -> None:
        self._queues: dict[QueueName, dict[AttemptKey, V]] = {}
        for key, item in items.items():
            self._queues.setdefault(key.queue, {})[key] = item

    @classmethod
    def split(cls, items: Mapping[AttemptKey, V]) -> "ByQueue[V]":
        """Return a mapping as one that is split; one that is already is itself."""
        return items if isinstance(items, ByQueue) else cls(items)

    def of(self, queue: QueueName) -> Mapping[AttemptKey, V]:
        """Return what there is of one queue; not to be changed."""
        return self._queues.get(queue, NOTHING)

    def changed(self, new: Mapping[AttemptKey, V], *, gone: Iterable[AttemptKey] = ()) -> "ByQueue[V]":
        """Return these without what is gone and with what is new; queues that neither speaks of are shared."""
        after = ByQueue[V]()
        after._queues = dict(self._queues)
        own: dict[QueueName, dict[AttemptKey, V]] = {}
        for key in gone:
            after._part(key.queue, own).pop(key, None)
        for key, item in new.items():
            after._part(key.queue, own)[key] = item
        for queue, part in own.items():
            if not part:
                del after._queues[queue]
        return after

    def _part(self, queue: QueueName, own: dict[QueueName, dict[AttemptKey, V]]) -> dict[AttemptKey, V]:
        """Return the part of a queue to be changed; it is copied once."""
        part = own.get(queue)
        if part is None:
            part = own[queue] = self._queues[queue] = dict(self._queues.get(queue, NOTHING))
        return part

    def __getitem__(self, key: AttemptKey) -> V:
        return self._queues[key.queue][key]

    def __iter__(self) -> Iterator[AttemptKey]:
        for part in self._queues.values():
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))


class Latest(AbstractSet[T]):
    """Tuples that begin with the name of a queue; of each queue the `most` that were added last."""

    __slots__ = ("_most", "_queues")

    def __init__(self, items: Iterable[T] = (), *, most: int) -> None:
        self._most = most
        self._queues: dict[QueueName, dict[T, None]] = {}
        self._add(items)

    @classmethod
    def _from_iterable(cls, items: Iterable[Any]) -> Any:
        """Return what set operations make: it is no longer in order."""
        return frozenset(items)

    def added(self, items: Iterable[T]) -> Self:
        """Return these with others, which are the latest from then on."""
        after = type(self)(most=self._most)
        after._queues = dict(self._queues)
        after._add(items)
        return after

    def _add(self, items: Iterable[T]) -> None:
        own: dict[QueueName, dict[T, None]] = {}
        for item in items:
            queue = item[0]
            if queue not in own:
                own[queue] = dict(self._queues.get(queue, NOTHING))
            own[queue].pop(item, None)
            own[queue][item] = None
        for queue, part in own.items():
            self._queues[queue] = dict.fromkeys(islice(part, max(0, len(part) - self._most), None))

    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and item in self._queues.get(item[0], NOTHING)

    def __iter__(self) -> Iterator[T]:
        for part in self._queues.values():
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))
