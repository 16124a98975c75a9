"""Put a Matomo invalidation back into the queue, as Matomo itself does after a day: status 0 and nobody's.

Only what a start has set is unset: `status`, `ts_started` and, where they are, `processing_host` and `process_id`
(5.3.0-rc1, core/DataAccess/Model.php). A row whose twin waits is put back, too: at worst an archive is built twice.
"""

from functools import partial

from sqlalchemy import Connection

from exporter.queues.matomo import MatomoOptions
from exporter.queues.matomo.options import check_matomo_url
from exporter.queues.matomo.shape import WORKER, Tables, detect
from exporter.queues.matomo.source import Source

from ..options import HealingOptions
from .addresses import find_write_address
from .compare_and_set import SqlReset
from .locks import Lock
from .rows import Cell, RowSql, whole_number


class MatomoTarget:
    """`archive_invalidations` of one Matomo."""

    grants = "GRANT SELECT, UPDATE (status, ts_started, processing_host, process_id) ON archive_invalidations"

    def __init__(self, source: Source) -> None:
        self._source = source

    def name(self) -> str:
        """Return the table's name."""
        return Tables(prefix=self._source.tables_prefix()).invalidations

    def describe(self, connection: Connection) -> RowSql:
        """Detect whether the table records its workers."""
        shape = detect(connection, Tables(prefix=self._source.tables_prefix()))
        worker = WORKER if shape.has_worker else ()
        unset = ("ts_started", *worker)
        host, pid = WORKER if shape.has_worker else (None, None)
        return RowSql(
            dialect="mysql",
            source=shape.tables.invalidations,
            whole=f"{shape.tables.invalidations}.*",
            id="idinvalidation",
            ids=whole_number,
            started="status = 1",
            started_at=Cell(column="ts_started", read="ts_started"),
            host=host,
            pid=pid,
            read_text=_as_it_is,
            changes=", ".join(["status = 0", *(f"{column} = NULL" for column in unset)]),
            is_put_back=" AND ".join(["status = 0", *(f"{column} IS NULL" for column in unset)]),
        )


def make_matomo_reset(options: MatomoOptions, healing: HealingOptions, *, lease: Lock | None = None) -> SqlReset:
    """Return the write half of a Matomo queue."""
    source = Source(options)
    find = partial(find_write_address, healing, source.find_address, check=check_matomo_url)
    return SqlReset(
        MatomoTarget(source),
        find_address=find,
        find_watched=source.find_address,
        limit=options.poll_timeout,
        lease=lease,
    )


def _as_it_is(value: str | None) -> str | None:
    return value
