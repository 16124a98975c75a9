"""Say in words how a queue is, the worst first; pure.

Bad is what `queuemedic check` exits with 1 or 3 for, and what stops healing; a job that takes long although its worker
is alive is worth a look, and so is whatever a person decided. Each remark names the runbook that goes on from there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from exporter.showing import Glance
from exporter.views import HostView, PauseView

from .words import MODES, REFUSALS, count, plain, show_number, show_span

RUN_LATE_FACTOR = 1.5
"""As in the alert QueuemedicNothingStarted."""


class Level(IntEnum):
    """How bad it is; the worst first. What is plain is neither good nor bad."""

    BAD = 0
    WARN = 1
    GOOD = 2
    PLAIN = 3

    @property
    def word(self) -> str:
        """What is said beside the colour."""
        return ("trouble", "look", "well", "plain")[self]

    @property
    def mark(self) -> str:
        """What is shown beside the colour."""
        return ("✗", "!", "✓", "·")[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing that is to be said of a queue."""

    level: Level
    text: str
    runbook: str | None = None


def remark(
    view: Glance, *, now: datetime, pause: PauseView | None, ended_lately: Callable[[], int | None]
) -> tuple[Remark, ...]:
    """Return what is to be said of a queue; where all is well, one remark says so.

    `ended_lately` counts the jobs that ended within half an hour; None where that is not known. It is asked only where
    it matters.
    """
    of_jobs = [*_started(view), *_waiting(view, ended_lately)] if view.up else [_not_up(view, now)]
    found = [*of_jobs, *_healing(view, pause)]
    found.sort(key=lambda one: one.level)
    return tuple(found) or (Remark(level=Level.GOOD, text=_well(view)),)


def _not_up(view: Glance, now: datetime) -> Remark:
    why = f": {plain(view.error, 400)}" if view.error else ""
    if view.read_at is None:
        first = "never read" if view.error else "not read yet"
        return Remark(level=Level.BAD if view.error else Level.WARN, text=f"{first}{why}", runbook="PollFailing")
    since = show_span((now - view.read_at).total_seconds())
    return Remark(level=Level.BAD, text=f"not read for {since}{why}", runbook="PollFailing")


def _started(view: Glance) -> Iterator[Remark]:
    started, reasons = view.started or 0, view.stuck_reasons or {}
    if view.orphaned:
        of = f"{show_number(view.orphaned)} of {count(started, 'started job')}"
        text = f"{of} orphaned: the worker is proven dead{_held_back(view)}"
        yield Remark(level=Level.BAD, text=text, runbook="JobOrphaned")
    alive = view.stuck_alive or 0
    for reason, (text, runbook) in _stuck(view).items() if view.stuck else ():
        number = reasons.get(reason, 0)
        if not number:
            continue
        is_fine = alive >= (view.stuck or 0)
        all_alive = "; the worker is alive" if alive == 1 else "; their workers are alive"
        yield Remark(
            level=Level.WARN if is_fine else Level.BAD,
            text=f"{count(number, 'job')} {text}{all_alive if is_fine and view.stuck_alive is not None else ''}",
            runbook=runbook,
        )
    if view.overdue and view.timeout_after_seconds:
        over = show_span(view.timeout_after_seconds)
        text = f"{count(view.overdue, 'job')} started longer than {over} ago"
        yield Remark(level=Level.WARN, text=text, runbook="TimeoutRateHigh")
    blocked = int(view.signals.get("matomo_blocked_jobs", 0))
    if blocked:
        text = f"{count(blocked, 'waiting job')} held back by a job that does not end"
        yield Remark(level=Level.WARN, text=text, runbook="JobsBlocked")


def _stuck(view: Glance) -> Mapping[str, tuple[str, str]]:
    limit = show_span(view.stuck_after_seconds)
    return {
        "no_start_time": ("started without a start time", "JobWithoutStartTime"),
        "never_initialised": (f"without a first heartbeat for {limit}", "NeverInitialised"),
        "heartbeat_lost": (f"without a heartbeat for {limit}", "HeartbeatLost"),
        "over_age": (f"started longer than {limit} ago", "JobStuck"),
    }


def _held_back(view: Glance) -> str:
    """Say what keeps orphaned jobs from being put back."""
    healing = view.healing
    if healing is None or healing.mode == "disabled":
        return ""
    reasons = [(number, REFUSALS.get(reason, reason)) for reason, number in healing.blocked.items() if number]
    reasons.sort(reverse=True)
    why = reasons[0][1] if reasons else MODES[healing.mode] if healing.mode in ("dry_run", "paused") else None
    return f"; not put back because {why}" if why else "; being put back"


def _waiting(view: Glance, ended_lately: Callable[[], int | None]) -> Iterator[Remark]:
    if view.signals.get("matomo_maintenance_mode"):
        yield Remark(level=Level.WARN, text="Matomo is in maintenance mode")
        return
    expected, oldest = view.run_expected_every_seconds, view.oldest_waiting_age_seconds
    if expected and oldest and oldest > RUN_LATE_FACTOR * expected and not view.started and ended_lately() == 0:
        text = f"jobs wait for up to {show_span(oldest)}, and nobody starts any"
        yield Remark(level=Level.BAD, text=text, runbook="NothingStarted")


def _healing(view: Glance, pause: PauseView | None) -> Iterator[Remark]:
    healing = view.healing
    if pause is not None:
        text = f"healing is paused: {plain(pause.why)} ({plain(pause.actor, 40)}, {pause.at:%Y-%m-%d %H:%M} UTC)"
        yield Remark(level=Level.WARN, text=text, runbook="HealingPaused")
    if healing is None:
        return
    if healing.breaker_open:
        text = "the breaker stopped healing: too many hosts lost workers at once"
        yield Remark(level=Level.BAD, text=text, runbook="BreakerOpen")
    if healing.quarantined:
        text = f"{count(healing.quarantined, 'job')} in quarantine: put back too often"
        yield Remark(level=Level.BAD, text=text, runbook="JobQuarantined")


def _well(view: Glance) -> str:
    if not view.waiting and not view.started:
        return "nothing waits"
    if view.unjudged and view.unjudged == view.started:
        return "nothing stuck; nobody can tell which workers are alive"
    return "nothing stuck"


def worst(remarks: tuple[Remark, ...]) -> Level:
    """Return the level of a queue."""
    return min(one.level for one in remarks)


def remark_host(view: HostView) -> str:
    """Say how a host is."""
    if view.up:
        return "answers"
    if view.reason is None:
        return "not asked yet"
    return plain(f"{view.reason.replace('_', ' ')}: {view.error}" if view.error else view.reason, 200)
