"""Find out which columns and tables a Matomo database offers to this account.

Detected, not derived from a version number: upgraded instances differ from fresh ones, and an upgrade can happen
between two polls. `schema` is the oldest release that has what was found: 4.0, 5.3 (host and pid) or 5.7 (metrics).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

REQUIRED = (
    "idinvalidation",
    "name",
    "idsite",
    "date1",
    "date2",
    "period",
    "ts_invalidated",
    "ts_started",
    "status",
    "report",
)
WORKER = ("processing_host", "process_id")
UNKNOWN_COLUMN, COLUMN_DENIED = 1054, 1143
METRICS = ("metadataid", "period", "total_time")

_COLUMNS = text(
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name IN :tables"
).bindparams(bindparam("tables", expanding=True))


_STATUS_INDEX = text(
    "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE()"
    " AND table_name = :table AND column_name = 'status' AND seq_in_index = 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The names of Matomo's tables, quoted for MySQL; `prefix` has been checked to need no escape."""

    prefix: str

    @property
    def invalidations(self) -> str:
        return f"`{self.prefix}archive_invalidations`"

    @property
    def metrics(self) -> str:
        return f"`{self.prefix}archiving_metrics`"

    @property
    def option(self) -> str:
        return f"`{self.prefix}option`"

    @property
    def signals(self) -> str:
        return f"`{self.prefix}queuemedic_signals`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What this account can read. Signals come from the view, the option table itself, or neither.

    `has_status_index`: an administrator has added one that begins with `status`; Matomo has none.
    """

    tables: Tables
    has_worker: bool
    has_metrics: bool
    has_signals_view: bool
    has_option: bool
    has_status_index: bool

    @property
    def schema(self) -> str:
        """The oldest Matomo release with these columns."""
        if not self.has_worker:
            return "4.0"
        return "5.7" if self.has_metrics else "5.3"


def detect(connection: Connection, tables: Tables) -> Shape:
    """Ask the database what is there; raises the server's own refusal for what must be there and is not to be had."""
    names = [name.strip("`") for name in (tables.invalidations, tables.metrics, tables.option, tables.signals)]
    found: dict[str, set[str]] = {name.casefold(): set() for name in names}
    for table, column in connection.execute(_COLUMNS, {"tables": names}):
        found[str(table).casefold()].add(str(column).casefold())
    invalidations, metrics, option, signals = (found[name.casefold()] for name in names)
    if not invalidations.issuperset(REQUIRED):
        _select_nothing(connection, tables.invalidations, REQUIRED)
    indexed = connection.execute(_STATUS_INDEX, {"table": tables.invalidations.strip("`")}).scalar_one()
    return Shape(
        tables=tables,
        has_worker=invalidations.issuperset(WORKER) or _exists(connection, tables.invalidations, WORKER),
        has_metrics=metrics.issuperset(METRICS),
        has_signals_view=signals.issuperset({"name", "value"}),
        has_option=option.issuperset({"option_name", "option_value"}),
        has_status_index=bool(indexed),
    )


def _exists(connection: Connection, table: str, columns: tuple[str, ...]) -> bool:
    """Ask for columns directly; to an account with rights on columns only, MariaDB denies what is not there, too."""
    try:
        _select_nothing(connection, table, columns)
    except DBAPIError as error:
        if error.orig is not None and error.orig.args[0] in (UNKNOWN_COLUMN, COLUMN_DENIED):
            return False
        raise
    return True


def _select_nothing(connection: Connection, table: str, columns: tuple[str, ...]) -> None:
    connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0")
