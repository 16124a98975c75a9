"""How Python is set for a program whose threads poll while one of them answers scrapes.

Measured with `serve` polling 20,000 started rows without a pause beside a small queue, on two cores (CPython 3.11):
- A thread that computes gives way after 5 ms unless asked to do so sooner, and a scrape asks several times: of ten
  scrapes the slowest took 19 ms, and takes 2 ms with `SWITCH_SECONDS`, at a cost that could not be seen.
- The collector of cycles walks through all that lives again and again, as each reading brings thousands of objects that
  stay until the next. With `THRESHOLDS` 13 such polls were made in the time of 8, and of 100 scrapes the slowest took
  12 ms instead of 134. What is in no cycle, and that is nearly everything here, is freed at once all the same.
- What is in one and has lived for a while only a look at everything frees. Each connection that ends is such a cycle
  (paramiko's transport, SQLAlchemy's engine): 30 kB over SSH, and by `THRESHOLDS` alone they would stay for hours. So
  all is looked through every two minutes: 12 ms for a queue that is healed, 170 ms for 500 queues.
- glibc gives threads heaps of their own, up to eight for each processor, and what is free in one is free in no other:
  of 102 MiB that were 4. Python's threads take turns, so one heap is enough for all.
Why so: docs/decisions/0014-cost.md.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Final

SWITCH_SECONDS: Final = 0.0002
THRESHOLDS: Final = (10_000, 10, 100)
LOOKS_THROUGH_EVERY: Final = timedelta(minutes=2)
M_ARENA_MAX: Final = -8
"""Of mallopt(3); other C libraries have no such function, and share one heap anyway."""


def settle() -> None:
    """Set it so, and let the collector never look again at what is there by now."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()


def look_through() -> None:
    """Free every cycle that nobody uses any more; all threads wait meanwhile."""
    gc.collect()
