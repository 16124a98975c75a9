"""The SQL that reads Matomo's queue, as text for one shape of the tables.

One full scan a poll. It groups by one number, a waiting row's period or a started row's id, so that started rows are
found on the way and then read by primary key; `FIRST_ID` keeps the two apart. Why this form: docs/decisions/0002. Where
an index begins with `status`, started rows are listed by that, and the scan groups by the index.
Ages are taken by the server in the statement that reads the rows. `ts_started` is local time of a session that leaves
its zone alone, so `UNIX_TIMESTAMP(ts_started)` dates it (`TIMESTAMPDIFF` is an hour wrong across a changeover night);
`is_repeated` marks a start in the hour that comes twice in autumn, which can be an hour later than dated.
The tables' names are quoted identifiers made from a checked prefix; every value is bound.
"""

from sqlalchemy import TextClause, text

from ..by_id import by_ids
from .shape import WORKER, Shape

FIRST_ID = 256  # periods are TINYINT UNSIGNED

SIGNALS = """\
SELECT 'matomo_archiving_started_timestamp_seconds' AS name, CAST(option_value AS UNSIGNED) AS value
  FROM {option} WHERE option_name = 'LastFullArchivingStartTime'
UNION ALL SELECT 'matomo_archiving_completed_timestamp_seconds', CAST(option_value AS UNSIGNED)
  FROM {option} WHERE option_name = 'LastCompletedFullArchiving'
UNION ALL SELECT 'matomo_last_invalidation_timestamp_seconds', CAST(option_value AS UNSIGNED)
  FROM {option} WHERE option_name = 'CronArchive.lastInvalidationTime'
UNION ALL SELECT 'matomo_sites_left',
  COALESCE(SUM(IF(option_value = '', 0, 1 + LENGTH(option_value) - LENGTH(REPLACE(option_value, ',', '')))), 0)
  FROM {option} WHERE option_name = 'SharedSiteIdsToArchive_AllWebsites'
UNION ALL SELECT 'matomo_rearchive_list_bytes', COALESCE(SUM(LENGTH(option_value)), 0)
  FROM {option} WHERE option_name = 'ReArchiveList'
UNION ALL SELECT 'matomo_pending_invalidations', COUNT(*)
  FROM {option} WHERE option_name LIKE '%report|_to|_invalidate|_%' ESCAPE '|'"""


class Statements:
    """Every statement of a poll, in the order of its use."""

    def __init__(self, shape: Shape) -> None:
        self.schema = shape.schema
        invalidations, metrics = shape.tables.invalidations, shape.tables.metrics
        worker = ", ".join(WORKER) if shape.has_worker else ", ".join(f"NULL AS {column}" for column in WORKER)
        self.signals = _signals(shape)
        self.has_status_index = self.is_listed = shape.has_status_index
        # Times as numbers: MariaDB (10.11) compares these at half the price in a temporary table.
        oldest = "MIN(IF(date2 + 0 < :today, ts_invalidated + 0, NULL)) AS oldest"
        sound = oldest.replace(":today", ":today AND ts_invalidated > DATE '1971-01-01'")
        aged = "jobs, oldest, TIMESTAMPDIFF(SECOND, oldest, UTC_TIMESTAMP()) AS oldest_age"
        self.scan, self.doubting_scan = (
            text(
                f"SELECT slot, {aged} FROM (SELECT IF(status = 0, period, {FIRST_ID} + idinvalidation) AS slot,"
                f" COUNT(*) AS jobs, {least} FROM {invalidations} GROUP BY slot ORDER BY slot LIMIT :limit) AS found"
            )
            for least in (oldest, sound)
        )
        self.groups = text(
            f"SELECT status, period, {aged} FROM (SELECT status, period, COUNT(*) AS jobs, {sound}"
            f" FROM {invalidations} GROUP BY status, period) AS found"
        )
        columns = (
            "idinvalidation, name, idsite, CAST(date1 AS CHAR) AS date1, CAST(date2 AS CHAR) AS date2, period, report,"
            f" ts_started, {worker}, TIMESTAMPDIFF(SECOND, ts_invalidated, UTC_TIMESTAMP()) AS enqueued_age,"
            " UNIX_TIMESTAMP() - NULLIF(UNIX_TIMESTAMP(ts_started), 0) AS started_age,"
            " FROM_UNIXTIME(UNIX_TIMESTAMP(ts_started) + 3600) = ts_started AS is_repeated"
        )
        self.started = by_ids(f"SELECT {columns} FROM {invalidations} WHERE idinvalidation IN :ids AND status = 1")
        self.oldest_started = text(
            f"SELECT {columns} FROM {invalidations} WHERE status = 1 ORDER BY ts_started, idinvalidation LIMIT :limit"
        )
        self.last_id = text(f"SELECT COALESCE(MAX(idinvalidation), 0) FROM {invalidations}")
        self.enqueued = text(
            f"SELECT period, COUNT(*) FROM {invalidations}"
            " WHERE idinvalidation > :last_id AND status IN (0, 1) GROUP BY period"
        )
        self.states = by_ids(f"SELECT idinvalidation, status FROM {invalidations} WHERE idinvalidation IN :ids")
        self.breakdown = text(
            # By digests: to group by the texts themselves takes MariaDB (10.11) three times as long.
            # No condition on status: with one, MariaDB reads every row through an index that begins with it.
            f"SELECT status, name, report, COUNT(*) FROM {invalidations}"
            " GROUP BY status, CRC32(name), CRC32(report) LIMIT :limit"
        )
        self.last_metric = text(f"SELECT COALESCE(MAX(metadataid), 0) FROM {metrics}")
        self.metrics = (
            text(
                f"SELECT metadataid, period, total_time FROM {metrics} WHERE metadataid > :last_id"
                " ORDER BY metadataid LIMIT :limit"
            )
            if shape.has_metrics
            else None
        )
        self._invalidations = invalidations

    def blocked(self, blockers: int) -> TextClause:
        """Count waiting rows of the same site, same or higher period and overlapping dates, behind so many blockers.

        Two different segments do not block each other; all visits block every segment and the other way round (Matomo
        5.3.0-rc1 to 6.0.0-b1, shouldSkipArchiveBecauseLowerPeriodOrSegmentIsInProgress).
        """
        behind = " OR ".join(
            f"(idsite = :site{n} AND date1 <= :date2_{n} AND date2 >= :date1_{n} AND period >= :period{n} AND"
            f" ('done' IN (:flag{n}, SUBSTRING_INDEX(name, '.', 1)) OR SUBSTRING_INDEX(name, '.', 1) = :flag{n}))"
            for n in range(blockers)
        )
        return text(f"SELECT COUNT(*) FROM {self._invalidations} WHERE status = 0 AND ({behind})")


def _signals(shape: Shape) -> TextClause | None:
    if shape.has_signals_view:
        return text(f"SELECT name, value FROM {shape.tables.signals}")
    return text(SIGNALS.format(option=shape.tables.option)) if shape.has_option else None
