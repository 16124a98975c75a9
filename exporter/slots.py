"""Share a database server among the queues that live on it: so many polls at a time, who has waited longest first.

A poll that gives up waiting keeps its place, so that queues which hang and retry cannot keep others out for ever.
"""

import threading
from itertools import count


class ServerSlots:
    """The polls that may go to one server at a time; for any thread."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._tickets = count()
        self._places: dict[str, int] = {}
        self._present: set[str] = set()
        self._changed = threading.Condition()

    def acquire(self, name: str, *, timeout: float) -> bool:
        """Take a slot for the queue `name`; False if none was free for it in time."""
        with self._changed:
            self._places.setdefault(name, next(self._tickets))
            self._present.add(name)
            has_slot = self._changed.wait_for(lambda: self._free > 0 and self._is_first(name), timeout)
            self._present.discard(name)
            if has_slot:
                self._free -= 1
                del self._places[name]
            self._changed.notify_all()
            return has_slot

    def release(self) -> None:
        """Give a slot back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def _is_first(self, name: str) -> bool:
        return min(self._present, key=self._places.__getitem__) == name
