"""Find a shorter schedule that still fails: leave out ever smaller parts, and keep what is left as long as it fails.

That is delta debugging (Zeller, Hildebrandt 2002) over the faults, each at the time that it had. A run is no pure
function of its schedule, so a part that fails only sometimes may be kept or lost; what is returned did fail.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def reduce(parts: Sequence[T], fails: Callable[[Sequence[T]], bool], *, may_go_on: Callable[[], bool]) -> tuple[T, ...]:
    """Return a part of `parts`, which fail, that fails as well; asked again as long as it `may_go_on`."""
    left = tuple(parts)
    pieces = 2
    while left and may_go_on():
        smaller = next((some for some in _tries(left, pieces) if may_go_on() and fails(some)), None)
        if smaller is not None:
            pieces = 2 if len(smaller) <= len(left) // 2 else max(pieces - 1, 2)
            left = smaller
        elif pieces >= len(left):
            break
        else:
            pieces = min(2 * pieces, len(left))
    return left


def _tries(left: tuple[T, ...], pieces: int) -> Iterator[tuple[T, ...]]:
    """Give each piece alone, and then all but each; of one part only nothing is less."""
    if len(left) == 1:
        yield ()
        return
    bounds = [len(left) * number // pieces for number in range(pieces + 1)]
    spans = list(pairwise(bounds))
    yield from (left[begin:end] for begin, end in spans)
    if pieces > 2:
        yield from (left[:begin] + left[end:] for begin, end in spans)
