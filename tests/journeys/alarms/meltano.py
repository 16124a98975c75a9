"""What is told of Meltano alone: alerts/rules/meltano.yml."""

from typing import ClassVar

from tests.contracts.meltano_bench import MeltanoBench, SqliteDatabase

from .scale import limit
from .scenario import QUICK, Scenario, Values

NAME = "dev:tap-shop-to-target-warehouse"


class MeltanoScenario(Scenario):
    """A Meltano of its own, with its system database on SQLite, and nobody who is asked about its runs."""

    def prepare(self) -> None:
        """Make the table."""
        self.bench = MeltanoBench(SqliteDatabase(self.watch.folder / f"{self.queue}.db"))
        self.watch.queues[self.queue] = {
            "system": "meltano",
            "url": self.bench.database.url,
            "stuck_after": limit("18m"),
            "timeout_window": limit("1h"),
            **QUICK,
        }


class HeartbeatLost(MeltanoScenario):
    """A run that has written heartbeats writes none any more."""

    labels: ClassVar[Values] = {"host": "none"}
    also = frozenset({"QueuemedicJobUnjudged"})

    def begin(self) -> None:
        self._run = self.bench.add(NAME, started="1s")

    def end(self) -> None:
        self.bench.end(self._run, "FAIL")


class NeverInitialised(MeltanoScenario):
    """A run is started, and dies before its first heartbeat."""

    labels: ClassVar[Values] = {"host": "none"}
    also = frozenset({"QueuemedicJobUnjudged"})

    def begin(self) -> None:
        self._run = self.bench.add(NAME, started="1s", heartbeat=None)

    def end(self) -> None:
        self.bench.end(self._run, "FAIL")


class InitialisationRatioLow(MeltanoScenario):
    """Every other run dies before its first heartbeat, until no more are started."""

    def keep(self) -> None:
        self.bench.end(self.bench.add(NAME, started="1s"))
        self.bench.end(self.bench.add(NAME, started="1s", heartbeat=None), "FAIL")

    def end(self) -> None:
        for _ in range(30):
            self.bench.end(self.bench.add(NAME, started="1s"))
