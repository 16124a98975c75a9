"""Matomo's queue on a MariaDB of our own, seeded with as many rows as are asked for, and what each account costs it.

Costs are the server's own figures for each account (`userstat`, information_schema.USER_STATISTICS), the same for all
that are compared: seconds busy with its statements, seconds of processor, rows read, bytes sent and received.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url

from tests.contracts.benches import SELECT
from tests.lab import matomo
from tests.lab.mariadb import MariaDb

TABLE = "matomo_archive_invalidations"
BARE = f"SELECT status, period, COUNT(*) FROM {TABLE} GROUP BY status, period"
INDEX = f"CREATE INDEX queuemedic ON {TABLE} (status, period, date2, ts_invalidated)"
OPTIONS = ("--innodb-buffer-pool-size={pool}", "--userstat=ON", "--max-connections=1500", "--table-open-cache=4000")
SEED = """
INSERT INTO {table} (name, idsite, date1, date2, period, ts_invalidated, ts_started, status, report,
  processing_host, process_id)
SELECT IF(seq % 3 = 0, 'done', CONCAT('done', MD5(seq % 50), IF(seq % 7 = 0, '.Actions', ''))), seq % {sites} + 1,
  '2026-01-01' + INTERVAL (seq % 320) DAY, '2026-01-01' + INTERVAL (seq % 320) DAY, 1 + seq % 4,
  UTC_TIMESTAMP() - INTERVAL (seq % 90000) SECOND,
  IF(seq % {one_in} = 0, NOW() - INTERVAL seq % 7000 SECOND, NULL), seq % {one_in} = 0,
  IF(seq % 7 = 0, CONCAT('Actions_', seq % 30), NULL), IF(seq % {one_in} = 0, CONCAT('web', seq % 9), NULL),
  IF(seq % {one_in} = 0, 4000 + seq % 9, NULL)
FROM seq_{first}_to_{last}
"""
COSTS = {
    "database ms": "BUSY_TIME",
    "processor ms": "CPU_TIME",
    "rows read": "ROWS_READ",
    "bytes to the server": "BYTES_RECEIVED",
    "bytes from the server": "BYTES_SENT",
}
MILLISECONDS = ("BUSY_TIME", "CPU_TIME")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A seeded queue."""

    server: MariaDb
    database: str

    def seed(self, rows: int, *, after: int = 0, sites: int = 1000, one_started_in: int = 3333) -> None:
        """Add rows, of which one in so many is started."""
        for first in range(after + 1, after + rows + 1, 1_000_000):
            last = min(first + 999_999, after + rows)
            statement = SEED.format(table=TABLE, sites=sites, one_in=one_started_in, first=first, last=last)
            self.change(statement)
        self.change(f"ANALYZE TABLE {TABLE}")

    def change(self, statement: str) -> None:
        """Run a statement as the administrator, however long it takes."""
        self.server.script(statement, self.database)

    def account(self) -> str:
        """Return the URL of a new account that may read the table."""
        return self.server.account(self.database, [SELECT])

    def costs(self, url: str) -> dict[str, float]:
        """Return what an account has cost since the server started."""
        columns = ", ".join(COSTS.values())
        found = self.server.sql(
            f"SELECT {columns} FROM information_schema.USER_STATISTICS WHERE USER = %s", make_url(url).username
        )
        values = found[0] if found else [0.0] * len(COSTS)
        return {
            figure: float(value) * (1000 if column in MILLISECONDS else 1)
            for (figure, column), value in zip(COSTS.items(), values, strict=True)
        }

    def cost_of(self, action: Callable[[], object], url: str) -> dict[str, float]:
        """Return what an account costs during an action."""
        before = self.costs(url)
        action()
        after = self.costs(url)
        return {figure: after[figure] - before[figure] for figure in after}


@contextmanager
def server(pool: str) -> Iterator[MariaDb]:
    """Run a server with so much memory for tables."""
    with MariaDb(options=[option.format(pool=pool) for option in OPTIONS]) as running:
        yield running


@contextmanager
def seeded(rows: int, **how: Any) -> Iterator[Ground]:
    """Run a server with a queue of so many rows; all of them fit into its memory."""
    pool = "512M" if rows <= 1_000_000 else f"{512 * rows // 1_000_000}M"
    with server(pool) as running, running.database() as database:
        matomo.create_tables(running, database)
        ground = Ground(server=running, database=database)
        ground.seed(rows, **how)
        yield ground
