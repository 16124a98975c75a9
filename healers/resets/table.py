"""Put a job of a described table back: set exactly the columns that the configuration says, and see that it helped.

A query instead of a table can only be watched. Once changed, the row must not be `started_when` any more; that is
looked at inside the transaction.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from pydantic import Field
from sqlalchemy import Connection

from exporter.address import Address
from exporter.errors import ConfigurationError
from exporter.jobs import DriverValue
from exporter.queues.source import check_url, find_address
from exporter.queues.table import TableOptions
from exporter.queues.table.rows import read_text
from exporter.queues.table.shape import Shape, detect

from ..options import HealingOptions
from .addresses import find_write_address
from .compare_and_set import SqlReset
from .locks import Lock
from .rows import Cell, RowSql
from .whole import select_whole

SAME: Final = MappingProxyType({"mysql": "<=>", "postgresql": "IS NOT DISTINCT FROM", "sqlite": "IS"})


class TableHealing(HealingOptions):
    """What is done about orphaned jobs of a table, and what puts one back."""

    reset: Mapping[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="the value of each column of a job that is put back"
    )


class TableTarget:
    """One described table."""

    grants = "GRANT SELECT, and UPDATE of the columns in healing.reset, on the table"

    def __init__(self, options: TableOptions, healing: TableHealing) -> None:
        """Raises ConfigurationError for what can only be watched."""
        if not isinstance(options.from_, str) or not isinstance(options.columns.id, str):
            raise ConfigurationError(
                "healing: a query, or an id that is an expression, can only be watched; name a table and its id column"
            )
        if not healing.reset:
            raise ConfigurationError("healing.reset: there is none; give what puts a job back, {column: null}")
        self._options, self._reset = options, dict(healing.reset)
        self._table, self._id = options.from_, options.columns.id

    def name(self) -> str:
        """Return the table's name, as configured."""
        return self._table

    def describe(self, connection: Connection) -> RowSql:
        """Detect the types of what is compared, and hold the columns to be set against the table's."""
        shape = detect(connection, self._options)
        quote = connection.dialect.identifier_preparer.quote_identifier
        self._check(connection, shape)
        names = [quote(column).replace(":", "\\:") for column in self._reset]
        table = quote(self._table.split(".")[-1]).replace(":", "\\:")
        same = [f"{table}.{column} {SAME[shape.dialect]} :set_{n}" for n, column in enumerate(names)]
        cells = {
            key: Cell(column=column, read=instant.raw(column), odd=instant.odd(column))
            for key, instant in shape.instants.items()
            for column in [shape.column(key)]
        }
        return RowSql(
            dialect=shape.dialect,
            source=shape.source,
            whole=select_whole(connection, shape.source, name=table),
            id=shape.column("id"),
            ids=lambda job_id: shape.ids.bind([job_id]),
            is_id_text=not shape.ids.is_rising and not shape.ids.is_binary and shape.dialect == "mysql",
            started=shape.started,
            started_at=cells["started_at"],
            host=shape.columns.get("host"),
            pid=shape.columns.get("pid"),
            read_text=read_text,
            rests_on=(cells["heartbeat_at"],) if "heartbeat_at" in cells else (),
            changes=", ".join(f"{column} = :set_{n}" for n, column in enumerate(names)),
            is_put_back=" AND ".join([f"NOT COALESCE({shape.started}, FALSE)", *same]),
            bound=self._values(),
        )

    def _values(self) -> Mapping[str, DriverValue]:
        return {f"set_{n}": value for n, value in enumerate(self._reset.values())}

    def _check(self, connection: Connection, shape: Shape) -> None:
        found = connection.exec_driver_sql(f"SELECT * FROM {shape.source.replace(chr(92) + ':', ':')} LIMIT 0")
        columns = list(found.keys())
        found.close()
        fold = str if shape.dialect == "postgresql" else str.casefold
        known = {fold(column) for column in columns}
        missing = [column for column in self._reset if fold(column) not in known]
        if missing:
            raise ConfigurationError(
                f"healing.reset: {self._table} has no column {missing[0]}; it has {', '.join(columns)}"
            )
        if fold(self._id) in {fold(column) for column in self._reset}:
            raise ConfigurationError(f"healing.reset: {self._id} is the id, which stays as it is; leave it out")


def make_table_reset(options: TableOptions, healing: TableHealing, *, lease: Lock | None = None) -> SqlReset:
    """Return the write half of a described table; raises ConfigurationError where it can only be watched."""

    def find_watched() -> Address:
        return find_address(url=options.url, url_file=options.url_file, tls=options.tls)

    find = partial(find_write_address, healing, find_watched, check=check_url)
    return SqlReset(
        TableTarget(options, healing),
        find_address=find,
        find_watched=find_watched,
        limit=options.poll_timeout,
        lease=lease,
    )
