"""The healer's metric families."""

from collections.abc import Iterable

from prometheus_client import Metric as Family

from exporter.collector import Families

from .options import HealingOptions

MODES = ("disabled", "dry_run", "reset", "paused")


def collect_healing(queue: str, healing: HealingOptions) -> Iterable[Family]:
    """Say which mode is in force for a queue."""
    families = Families(queue)
    for mode in MODES:
        families.set("healing_mode", mode == healing.mode, mode)
    return families
