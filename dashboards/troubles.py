"""What is wrong with a queue, in few words: one expression for each trouble, and how many a queue has.

A stuck job is no trouble while all the queue's workers are known to be alive: it is slow, which is information. A queue
that is down has no figures, so its only troubles are that it is not read and, later, that what is known is stale.
"""

from collections.abc import Mapping
from typing import Final

from dashboards.queries import age, most, now, total

UP: Final = most(now("up"), "queue")
READ_AGE: Final = most(age("snapshot_timestamp_seconds"), "queue")
STUCK: Final = total(now("stuck_jobs"), "queue")
ORPHANED: Final = total(now("orphaned_jobs"), "queue")
BLOCKED: Final = most(now("matomo_blocked_jobs"), "queue")
WAITING_AGE: Final = most(age("oldest_waiting_timestamp_seconds"), "queue")
TIMEOUT_RATIO: Final = most(now("timeout_ratio"), "queue")
MAXIMUM_TIMEOUT_RATIO: Final = 0.2


def limit(name: str) -> str:
    """Return a limit of each queue."""
    return most(now("limit_seconds", limit=name), "queue")


SLACK_SECONDS: Final = 21600
"""That of the alert QueuemedicReportsOutdated."""
WAITING_LIMIT: Final = (
    f"({limit('run_expected_every')} + {SLACK_SECONDS} or {limit('timeout_after')} or {limit('stuck_after')})"
)
WAITING_SHARE: Final = f"{WAITING_AGE} / {WAITING_LIMIT}"
READ_SHARE: Final = f"{READ_AGE} / {limit('stale_after')}"
ALIVE: Final = total(now("worker_verdicts", verdict="alive"), "queue")
NOT_YET: Final = "!~not_asked|heartbeat_recent"
"""Reasons of verdicts that are unknown for the moment: the host is asked soon, or a heartbeat is young."""
JUDGED: Final = total(now("worker_verdicts", reason=NOT_YET), "queue")

MODES: Final = {
    0: ("disabled", "text"),
    1: ("dry run", "blue"),
    2: ("reset", "green"),
    3: ("reset", "green"),
    4: ("paused", "orange"),
    5: ("paused", "orange"),
    6: ("paused", "orange"),
    7: ("paused", "orange"),
}
MODE: Final = " + ".join(
    (
        most(now("healing_mode", mode="dry_run"), "queue"),
        f"2 * {most(now('healing_mode', mode='reset'), 'queue')}",
        f"4 * {most(now('healing_mode', mode='paused'), 'queue')}",
    )
)
"""A number for the mode, that of `MODES`; where instances differ, the one that does more, and a pause above all."""

TROUBLES: Final[Mapping[str, str]] = {
    "not read": f"{UP} == 0",
    "stale": f"{READ_SHARE} > 1",
    "orphaned jobs": f"{ORPHANED} > 0",
    "stuck jobs": f"({STUCK} > 0) unless on (queue) ({ALIVE} >= on (queue) {JUDGED})",
    "waiting too long": f"{WAITING_SHARE} > 1",
    "jobs blocked": f"{BLOCKED} > 0",
    "timeouts": f"{TIMEOUT_RATIO} > {MAXIMUM_TIMEOUT_RATIO}",
    "breaker open": f"{most(now('breaker_open'), 'queue')} > 0",
    "quarantine": f"{most(now('quarantined_jobs'), 'queue')} > 0",
}
EACH_TROUBLE: Final = " or ".join(
    f'label_replace({expression}, "trouble", "{name}", "", "")' for name, expression in TROUBLES.items()
)
NUMBER: Final = f"(count by (queue) ({EACH_TROUBLE}) or 0 * {UP})"
"""How many troubles each queue has, 0 where all is well."""
