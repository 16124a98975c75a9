"""How Python is set for a program whose threads poll while one of them answers scrapes.

Measured with `serve` polling 20,000 started rows without a pause beside a small queue, on two cores (CPython 3.11):
- A thread that computes gives way after 5 ms unless asked to do so sooner, and a scrape asks several times: of ten
  scrapes the slowest took 19 ms, and takes 2 ms with `SWITCH_SECONDS`, at a cost that could not be seen.
- The collector of cycles walks through all that lives again and again, as each reading brings thousands of objects that
  stay until the next. With `THRESHOLDS` 13 such polls were made in the time of 8, and of 100 scrapes the slowest took
  12 ms instead of 134. What is in no cycle, and that is nearly everything here, is freed at once all the same.
Why so: docs/decisions/0014-cost.md.
"""

import gc
import sys
from typing import Final

SWITCH_SECONDS: Final = 0.0002
THRESHOLDS: Final = (10_000, 10, 100)


def settle() -> None:
    """Set it so, and let the collector never look again at what is there by now."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
