"""Say numbers, durations, foreign texts and reasons in words; pure.

A foreign text (a host, a job, an error) is cut, and what is not printable is shown as a code: control characters and
those that turn the direction of writing around change nothing outside of their own text. Escaping is the templates'.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from exporter import texts

LONGEST: Final = 120

STUCK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_start_time": "has no start time",
        "never_initialised": "never had a heartbeat",
        "heartbeat_lost": "lost its heartbeat",
        "over_age": "takes too long",
    }
)
VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "running": "its process runs",
        "frozen": "its process is stopped",
        "child_running": "a child of it still works",
        "no_process": "its process is gone",
        "pid_reused": "another process has its pid",
        "host_rebooted": "its host was rebooted",
        "host_retired": "its host was retired",
        "heartbeat_lost": "no heartbeat, and no process on any host",
        "never_initialised": "never a heartbeat, and no process on any host",
        "heartbeat_stale": "no heartbeat for 5 minutes",
        "not_asked": "its host was not asked yet",
        "no_worker": "the row records no worker",
        "not_a_pid": "the row records no process id",
        "clock": "its start time cannot be true",
        "not_configured": "its host is not configured",
        "unreachable": "its host cannot be reached",
        "timeout": "its host does not answer in time",
        "host_key": "its host shows another key",
        "refused": "its host refuses the account",
        "bad_answer": "its host answers nonsense",
        "hidden_processes": "its host hides processes",
        "wrong_namespace": "the probe sees other processes",
        "wrong_host": "another machine answers",
        "duplicate_host_key": "two hosts cannot be told apart",
        "two_machines": "two machines share its host's name",
        "pid_namespace": "its pid is that of a container",
        "host_unproven": "no worker was ever seen on its host",
        "not_identifiable": "its pid is some other process",
        "files_invisible": "the probe may not see open files",
        "heartbeat_only": "rows record no host, and workers_on is not set",
        "heartbeat_recent": "its heartbeat is recent",
    }
)
REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unknown": "nobody knows whether its worker lives",
        "ledger": "the ledger cannot be used",
        "paused": "healing is paused",
        "disabled": "healing is disabled",
        "clock": "a clock was set",
        "replica": "the database is a replica or read-only",
        "outage": "the database has just come back",
        "schema_changed": "the table has just changed",
        "breaker": "too many hosts lost workers at once",
        "quarantined": "it was put back too often",
        "outside_window": "it is not the time for it",
        "host_load": "its host has too much load",
        "too_young": "it was started only just now",
        "unconfirmed": "the second proof is still to come",
        "lock": "another instance is at it",
        "rate": "enough was put back within the hour",
    }
)
RESULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "planned": "planned",
        "refused": "left alone",
        "reset": "put back",
        "lost_race": "changed meanwhile",
        "gone": "was gone",
        "failed": "failed",
        "unknown": "not known yet",
        "dry_run": "would be put back",
    }
)
MODES: Final[Mapping[str, str]] = MappingProxyType(
    {"disabled": "only watched", "dry_run": "healing is rehearsed", "reset": "healed", "paused": "healing is paused"}
)


def show_span(seconds: float | None) -> str:
    """Show a duration by its two largest units, such as `3h 12m`."""
    return "–" if seconds is None else texts.show_span(seconds)


def show_number(number: float | None) -> str:
    """Show a count in groups of three digits."""
    return "–" if number is None else f"{number:,.0f}"


def count(number: int, thing: str) -> str:
    """Show a count with its noun, such as `1 job`, `3 jobs`."""
    return f"{show_number(number)} {thing}{'' if number == 1 else 's'}"


def show_rate(per_second: float) -> str:
    """Show how often something happens, in the smallest unit in which it does so at least once."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if per_second * seconds >= 1 or unit == "h":
            break
    shown = per_second * seconds
    return f"{shown:,.0f}/{unit}" if shown >= 10 or shown == 0 else f"{shown:.2g}/{unit}"


def show_bytes(number: float) -> str:
    """Show a size in the largest unit that leaves a whole number of at least one digit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:,.0f} {unit}"


def show_time(at: datetime, *, now: datetime) -> str:
    """Show an instant: the time of today, else with its date; always in UTC."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def plain(text: object, longest: int = LONGEST) -> str:
    """Show a foreign text on one line: cut, and without anything that is not printable."""
    whole = str(text)
    cut = whole[: longest - 1] + "…" if len(whole) > longest else whole
    return texts.printable(cut)
