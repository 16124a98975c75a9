"""Matomo's own statements on `archive_invalidations`, for the stand-in archiver.

After Matomo 5.3, core/DataAccess/Model.php; on a table without `processing_host` after 5.2. Which row is next is its
QueueConsumer's order, and what overlaps a row in progress waits for it (seen in 5.3.0-rc1). Instants are aware and in
UTC, which is what PHP writes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pymysql

SEGMENT = "SUBSTRING(SUBSTRING_INDEX({0}.name, '.', 1), 5)"
"""The segment's hash of a done flag, empty for all visits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """One row, as far as it says what to archive."""

    id: int
    name: str
    site: int
    date1: date
    date2: date
    period: int
    report: str | None


class Invalidations:
    """The table, over a connection that commits each statement, as Matomo's does."""

    def __init__(self, connection: "pymysql.Connection[Any]", prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._table = f"`{prefix}archive_invalidations`"
        columns = {row[0] for row in self._all(f"SHOW COLUMNS FROM {self._table}")}
        self._knows_workers = "processing_host" in columns
        self._keeps_metrics = bool(self._all("SHOW TABLES LIKE %s", f"{prefix}archiving_metrics"))

    def sites(self) -> list[int]:
        """Return the sites there are, in the order they are visited."""
        return [row[0] for row in self._all(f"SELECT idsite FROM `{self._prefix}site` ORDER BY idsite")]

    def next(self, site: int, *, until: datetime, without: Collection[int]) -> Invalidation | None:
        """Return the row of a site that is to be started next, invalidated by `until` (UTC); None if all must wait."""
        segments = SEGMENT.format("busy"), SEGMENT.format("waiting")
        rows = self._all(
            "SELECT idinvalidation, name, idsite, date1, date2, period, report"
            f" FROM {self._table} AS waiting"
            " WHERE status = 0 AND idsite = %s AND ts_invalidated <= %s AND idinvalidation NOT IN %s"
            f" AND NOT EXISTS (SELECT 1 FROM {self._table} AS busy"
            "  WHERE busy.status = 1 AND busy.idsite = waiting.idsite"
            "  AND busy.date1 <= waiting.date2 AND busy.date2 >= waiting.date1"
            f"  AND ({segments[0]} = {segments[1]} OR {segments[0]} = '' OR {segments[1]} = ''))"
            " ORDER BY date1 DESC, period ASC, CHAR_LENGTH(name) ASC, idinvalidation DESC LIMIT 1",
            site,
            until,
            [0, *without],
        )
        if not rows:
            return None
        id_, name, site, date1, date2, period, report = rows[0]
        return Invalidation(id=id_, name=name, site=site, date1=date1, date2=date2, period=period, report=report)

    def start(self, row: Invalidation, *, host: str, pid: int) -> bool:
        """Claim a row (startArchive): compare and set; False if another archiver was first."""
        worker, values = (
            ("", []) if not self._knows_workers else (", processing_host = %s, process_id = %s", [host, pid])
        )
        return self._change(
            f"UPDATE {self._table} SET status = 1, ts_started = NOW(){worker} WHERE idinvalidation = %s AND status = 0",
            *values,
            row.id,
        )

    def finish(self, row: Invalidation, *, started: datetime, finished: datetime) -> None:
        """Delete a row that is done (deleteInvalidations); from 5.7 on, note how long it took."""
        self._change(f"DELETE FROM {self._table} WHERE idinvalidation = %s", row.id)
        if self._keeps_metrics and "." not in row.name:
            milliseconds = (finished - started) // timedelta(milliseconds=1)
            self._change(
                f"INSERT INTO `{self._prefix}archiving_metrics` (idarchive, idsite, archive_name, date1, date2, period,"
                " ts_started, ts_finished, total_time, total_time_exclusive)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                *(row.id, row.site, row.name, row.date1, row.date2, row.period),
                *(started, finished, milliseconds, milliseconds),
            )

    def release(self, row_id: int) -> None:
        """Put a row back (releaseInProgressInvalidation); from 5.3 on, delete it if its twin waits or began later."""
        if not self._knows_workers:
            self._change(
                f"UPDATE {self._table} SET status = 0, ts_started = NULL WHERE idinvalidation = %s AND status = 1",
                row_id,
            )
        elif self._has_twin(row_id):
            self._change(f"DELETE FROM {self._table} WHERE idinvalidation = %s", row_id)
        else:
            self._change(
                f"UPDATE {self._table} SET status = 0, processing_host = NULL, process_id = NULL, ts_started = NULL"
                " WHERE status = 1 AND idinvalidation = %s",
                row_id,
            )

    def reset_failed(self, *, before: datetime) -> int:
        """Put back what was started before an instant (resetFailedArchivingJobs) and return how many.

        As in Matomo the instant is in UTC and `ts_started` in the session's time zone, so it is off by its offset, and
        rows without a start time are never found.
        """
        rows = self._all(f"SELECT idinvalidation FROM {self._table} WHERE status = 1 AND ts_started < %s", before)
        for (row_id,) in rows:
            if self._knows_workers:
                self.release(row_id)
            else:
                self._change(f"UPDATE {self._table} SET status = 0 WHERE idinvalidation = %s", row_id)
        return len(rows)

    def set_option(self, name: str, value: str) -> None:
        """Write a row of Matomo's table `option`."""
        self._change(
            f"INSERT INTO `{self._prefix}option` (option_name, option_value, autoload) VALUES (%s, %s, 0)"
            " ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)",
            name,
            value,
        )

    def _has_twin(self, row_id: int) -> bool:
        return bool(
            self._all(
                f"SELECT 1 FROM {self._table} AS mine JOIN {self._table} AS twin"
                " USING (name, idsite, date1, date2, period)"
                " WHERE mine.idinvalidation = %s AND twin.idinvalidation <> mine.idinvalidation"
                " AND COALESCE(twin.report, '') = COALESCE(mine.report, '')"
                " AND (twin.status = 0 OR twin.ts_started > mine.ts_invalidated)",
                row_id,
            )
        )

    def _all(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, params or None)
            return list(cursor.fetchall())

    def _change(self, statement: str, *params: object) -> bool:
        with self._connection.cursor() as cursor:
            return bool(cursor.execute(statement, params))
