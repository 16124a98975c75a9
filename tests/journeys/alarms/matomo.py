"""What is told of Matomo alone: alerts/rules/matomo.yml."""

import json
import time
from typing import ClassVar, Final

from .scale import limit
from .scenario import DAY, NEVER, MatomoScenario, Values

HASH: Final = "5d41402abc4b2a76b9719d911017c592"
PLUGIN, REPORT = "Actions", "Actions_hits"
BURST: Final = 600
FEW, MANY = 8, 600


class OptionScenario(MatomoScenario):
    """A Matomo whose own notes, in its table `option`, are read too."""

    grants = ("SELECT ON matomo_option",)
    option: ClassVar[str]

    def set_option(self, value: str) -> None:
        """Write the note."""
        self.sql("REPLACE INTO matomo_option (option_name, option_value) VALUES (%s, %s)", self.option, value)

    def set_now(self) -> None:
        """Note that something was done just now."""
        self.set_option(str(int(time.time())))


class JobsBlocked(MatomoScenario):
    """A day takes longer than `timeout_after`, and its week waits for it."""

    options: ClassVar[Values] = {"stuck_after": NEVER, "timeout_after": limit("18m")}
    also = frozenset({"QueuemedicNothingEnding"})

    def begin(self) -> None:
        self.claim(self.worker().pid, name="done", period=DAY)
        self.add(name="done")

    def keep(self) -> None:
        self.flow()

    def end(self) -> None:
        self.clear()


class InvalidationsMissing(OptionScenario):
    """No run looks for new work."""

    option = "CronArchive.lastInvalidationTime"

    def begin(self) -> None:
        self.set_now()

    def end(self) -> None:
        self.set_now()


class ReportBurst(MatomoScenario):
    """One report of one plugin is to be built anew for hundreds of days."""

    labels: ClassVar[Values] = {"plugin": PLUGIN, "report": REPORT}

    def begin(self) -> None:
        self.add(BURST, name=f"done{HASH}.{PLUGIN}", report=REPORT)

    def end(self) -> None:
        self.clear()


class RearchivingQueued(OptionScenario):
    """Somebody asks for a few reports to be built anew."""

    option = "ReArchiveList"

    def begin(self) -> None:
        self.set_option(rearchive_list(FEW))

    def end(self) -> None:
        self.set_option(rearchive_list(0))


class RearchivingFlood(OptionScenario):
    """Somebody asks for many."""

    option = "ReArchiveList"

    def begin(self) -> None:
        self.set_option(rearchive_list(MANY))

    def end(self) -> None:
        self.set_option(rearchive_list(0))


class ArchivingNotCompleted(OptionScenario):
    """No run of the archiver comes to its end for a day."""

    is_long = True
    option = "LastCompletedFullArchiving"

    def begin(self) -> None:
        self.set_now()

    def end(self) -> None:
        self.set_now()


class ArchivingOnlySeemsCompleted(OptionScenario):
    """Runs are refused for a day, and each notes that it was completed."""

    is_long = True
    option = "LastCompletedFullArchiving"
    also = frozenset({"QueuemedicNothingStarted"})

    def begin(self) -> None:
        self.add(3)

    def keep(self) -> None:
        self.set_now()

    def end(self) -> None:
        self.clear()


def rearchive_list(entries: int) -> str:
    """Write the list as Matomo does: JSON of texts that are JSON."""
    entry = {"idSites": [1], "pluginName": PLUGIN, "report": REPORT, "startDate": 1767225600, "segment": None}
    return json.dumps([json.dumps(entry)] * entries)
