"""Matomo's archiving queue: the table `archive_invalidations`, from 4.0 to 6.0, on MariaDB or MySQL.

Facts that everything here rests on, seen on 5.3.0-rc1 and read in the sources from 4.0 to 6.0.0-b1:
- `status` 0 waits, 1 is started; rows that are done are deleted; rows with any other status are nobody's.
- `ts_invalidated` is UTC; `ts_started` is `NOW()` of a session that never sets its time zone.
- `processing_host` and `process_id`, of the `core:archive` parent, are there since 5.3.0-b1.
"""

from .options import MatomoOptions
from .queue import MatomoQueue

__all__ = ["MatomoOptions", "MatomoQueue"]
