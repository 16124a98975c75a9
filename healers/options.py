"""What the configuration may say about healing a queue, and about the hosts its workers run on.

This version watches only: every mode but `disabled` is refused, so that nobody believes in a healer that is not there.
"""

from typing import Literal

from exporter.options import Options


class HealingOptions(Options):
    """What is done about orphaned jobs."""

    mode: Literal["disabled"] = "disabled"


class HostOptions(Options):
    """One host, under the name that its workers record; `aliases` are further names for it."""

    aliases: tuple[str, ...] = ()
