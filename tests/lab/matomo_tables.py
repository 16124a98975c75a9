"""Matomo's tables in the shape of each version, as CREATE and ALTER statements.

Written from what is known of core/Db/Schema/Mysql.php and core/Updates of each version; of `site` and `option` only
the columns a watchdog could want. A fresh table had `name` in its index up to 4.0, and no update took it out.
"""

VERSIONS = ("4.0", "4.0-upgraded", "5.2", "5.3", "5.7", "6.0")

INVALIDATIONS = """\
CREATE TABLE `{prefix}archive_invalidations` (
  idinvalidation BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  idarchive INTEGER UNSIGNED NULL,
  name VARCHAR(255) NOT NULL,
  idsite {idsite} NOT NULL,
  date1 DATE NOT NULL,
  date2 DATE NOT NULL,
  period TINYINT UNSIGNED NOT NULL,
  ts_invalidated DATETIME {ts_invalidated},
  ts_started DATETIME NULL,
  status TINYINT(1) UNSIGNED DEFAULT 0,
  report VARCHAR(255) NULL,
  PRIMARY KEY (idinvalidation),
  KEY index_idsite_dates_period_name ({index})
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC
"""
FRESH = {"idsite": "INTEGER UNSIGNED", "ts_invalidated": "NULL"}
UPGRADED = {"idsite": "INTEGER", "ts_invalidated": "NOT NULL"}
"""An installation from before 4.0: signed, and no row without a time (core/Updates/4.0.0-b1.php)."""
UPDATE_5_3 = """\
ALTER TABLE `{prefix}archive_invalidations`
  ADD COLUMN processing_host VARCHAR(100) NULL DEFAULT NULL,
  ADD COLUMN process_id VARCHAR(15) NULL DEFAULT NULL
"""
SITE = """\
CREATE TABLE `{prefix}site` (
  idsite INTEGER UNSIGNED NOT NULL AUTO_INCREMENT,
  name VARCHAR(90) NOT NULL,
  timezone VARCHAR(50) NOT NULL,
  PRIMARY KEY (idsite)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC
"""
OPTION = """\
CREATE TABLE `{prefix}option` (
  option_name VARCHAR(191) NOT NULL,
  option_value LONGTEXT NOT NULL,
  autoload TINYINT NOT NULL DEFAULT 1,
  PRIMARY KEY (option_name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC
"""
METRICS = """\
CREATE TABLE `{prefix}archiving_metrics` (
  metadataid BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  idarchive INTEGER UNSIGNED NOT NULL,
  idsite INTEGER UNSIGNED NOT NULL,
  archive_name VARCHAR(255) NOT NULL,
  date1 DATE NOT NULL,
  date2 DATE NOT NULL,
  period TINYINT UNSIGNED NOT NULL,
  ts_started DATETIME NOT NULL,
  ts_finished DATETIME NOT NULL,
  total_time BIGINT UNSIGNED NOT NULL,
  total_time_exclusive BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (metadataid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC
"""
UPDATE_5_8 = "ALTER TABLE `{prefix}archiving_metrics` ADD COLUMN is_temporary TINYINT(1) UNSIGNED NOT NULL DEFAULT 0"


def statements(version: str, *, prefix: str, upgraded: bool) -> list[str]:
    """Return what creates the tables of a version; `upgraded`, or a version ending in `-upgraded`: begun before 4.0."""
    number, _, origin = version.partition("-")
    release = tuple(int(part) for part in number.split("."))
    is_upgraded = upgraded or origin == "upgraded"
    shape = {
        **(UPGRADED if is_upgraded else FRESH),
        "index": "idsite, date1, period" if release >= (4, 5) and not is_upgraded else "idsite, date1, period, name",
    }
    templates = [INVALIDATIONS, SITE, OPTION]
    templates += [UPDATE_5_3] if release >= (5, 3) else []
    templates += [METRICS] if release >= (5, 7) else []
    templates += [UPDATE_5_8] if release >= (5, 8) else []
    return [template.format(prefix=prefix, **shape) for template in templates]
