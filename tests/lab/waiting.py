"""Wait for a condition instead of sleeping for luck."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.02

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None], *, within: float, what: str, every_seconds: float = POLL_SECONDS
) -> T:
    """Return the first truthy value of `condition`, asked every 20 ms unless told otherwise, and at least once.

    An exception of the condition means "not yet". After `within` seconds AssertionError says what was awaited and
    what the condition said last.
    """
    deadline = time.monotonic() + within
    while True:
        fault: Exception | None = None
        value: T | None = None
        try:
            value = condition()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the last answer and is shown
            fault = error
        if value:
            return value
        if time.monotonic() >= deadline:
            seen = repr(value) if fault is None else repr(fault)
            raise AssertionError(f"{what}: not within {within:g} s; last seen: {seen}") from fault
        time.sleep(every_seconds)
