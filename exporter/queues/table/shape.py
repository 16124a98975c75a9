"""Hold the configuration against the database: is everything there, may it be read, and of which types is it?

All of it is asked in one statement that returns no row. Only if that fails, each part is asked alone, so that the error
says which key is wrong; a savepoint keeps PostgreSQL's transaction alive meanwhile. Raises BadSchema or Refused, in the
database's own words, and never holds a statement.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects import registry
from sqlalchemy.exc import DBAPIError

from exporter.driver_errors import read_error
from exporter.errors import BadSchema, PollTimeout, ReadError, Refused, Unreachable

from .ids import INTEGERS, TEXTS, Ids
from .instants import Instant, find_instant
from .options import Sql, TableOptions

INSTANTS: Final = ("enqueued_at", "started_at", "heartbeat_at")
PLAIN: Final = re.compile(r"[^\W\d]\w*")
DERIVED: Final = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The table as SQL of its dialect, every colon escaped: in `text` it would begin a parameter."""

    dialect: str
    source: str
    columns: Mapping[str, str]
    waiting: str
    started: str
    ids: Ids
    instants: Mapping[str, Instant]
    has_key: bool

    def column(self, key: str) -> str:
        """Return a column's expression, NULL where the table has none."""
        return self.columns.get(key, "NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What the configuration says, as SQL."""

    source: str
    columns: Mapping[str, str]
    conditions: Mapping[str, str]


def detect(connection: Connection, options: TableOptions) -> Shape:
    """Ask the database; raises BadSchema or Refused that names the key at fault."""
    dialect = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    written = _write(options, dialect)
    types = _types(connection, written, options)
    instants = {
        key: _instant(dialect, types[key], options=options, key=key) for key in INSTANTS if key in written.columns
    }
    return Shape(
        dialect=dialect,
        source=written.source,
        columns=written.columns,
        waiting=written.conditions["waiting_when"],
        started=written.conditions["started_when"],
        ids=_ids(connection, written, dialect, types["id"]),
        instants=MappingProxyType(instants),
        has_key=isinstance(options.from_, str) and isinstance(options.columns.id, str),
    )


def _write(options: TableOptions, dialect: str) -> _Written:
    """Quote names and take SQL as it is, on lines of its own: it may end in a comment."""

    # `%` is doubled by `text`, and only there.
    known = registry.load(dialect)(paramstyle="named")

    def quote(name: str) -> str:
        return _bare(known.identifier_preparer.quote_identifier(name))

    if isinstance(options.from_, Sql):
        name = quote(DERIVED)
        source = f"({_bare(options.from_.sql)}\n) AS {name}"
    else:
        *_, name = parts = [quote(part) for part in options.from_.split(".")]
        source = ".".join(parts)
    columns = {
        # Without the table's name, SQLite takes a name in quotes that it does not know for a text.
        key: f"({_bare(value.sql)}\n)" if isinstance(value, Sql) else f"{name}.{quote(value)}"
        for key, value in options.columns.given().items()
    }
    conditions = {key: f"({_bare(getattr(options, key))}\n)" for key in ("waiting_when", "started_when")}
    return _Written(source=source, columns=columns, conditions=conditions)


def _bare(sql: str) -> str:
    return sql.replace(":", "\\:")


def _types(connection: Connection, written: _Written, options: TableOptions) -> dict[str, object]:
    """Return the type of each column, as the driver reports it; None from SQLite."""
    selected = ", ".join(written.columns.values())
    condition = " OR ".join(written.conditions.values())
    try:
        found = _ask(connection, f"SELECT {selected} FROM {written.source} WHERE {condition} LIMIT 0")
    except DBAPIError as cause:
        error = _ours(cause)
        if isinstance(error, PollTimeout | Unreachable):
            raise
        raise _find_fault(connection, written, options) or _named("from", error) from cause
    return dict(zip(written.columns, found, strict=True))


def _ask(connection: Connection, statement: str) -> list[object]:
    with connection.begin_nested(), connection.execute(text(statement)) as result:
        return [column[1] for column in result.cursor.description]


def _find_fault(connection: Connection, written: _Written, options: TableOptions) -> ReadError | None:
    """Ask for each part alone, and name the first that is wrong."""
    for key, statement, hint in _parts(written, options):
        try:
            _ask(connection, statement)
        except DBAPIError as cause:
            error = _ours(cause)
            if isinstance(error, PollTimeout | Unreachable):
                return error
            return _named(key, error, hint)
    return None


def _parts(written: _Written, options: TableOptions) -> Iterator[tuple[str, str, str]]:
    yield "from", f"SELECT 1 FROM {written.source} LIMIT 0", ""
    for key, value in options.columns.given().items():
        is_odd = isinstance(value, str) and not PLAIN.fullmatch(value)
        hint = "; an expression is written as {sql: …}" if is_odd else ""
        yield f"columns.{key}", f"SELECT {written.columns[key]} FROM {written.source} LIMIT 0", hint
    for key, condition in written.conditions.items():
        yield key, f"SELECT 1 FROM {written.source} WHERE {condition} LIMIT 0", ""


def _ours(cause: DBAPIError) -> ReadError:
    return read_error(cause, has_expired=False, limit=timedelta(0))


def _named(key: str, error: ReadError, hint: str = "") -> ReadError:
    return (Refused if isinstance(error, Refused) else BadSchema)(f"{key}: {error}{hint}")


def _instant(dialect: str, column_type: object, *, options: TableOptions, key: str) -> Instant:
    value = getattr(options.columns, key)
    try:
        return find_instant(
            dialect, column_type, clock=options.clock, column=value.sql if isinstance(value, Sql) else value
        )
    except BadSchema as cause:
        raise BadSchema(f"columns.{key}: {cause}") from cause


def _ids(connection: Connection, written: _Written, dialect: str, column_type: object) -> Ids:
    column, is_binary = written.columns["id"], False
    if dialect == "sqlite":
        condition = " OR ".join(written.conditions.values())
        statement = f"SELECT typeof({column}) FROM {written.source} WHERE {condition} LIMIT 1"
        is_rising = connection.execute(text(statement)).scalar() in (None, "integer", "null")
    else:
        is_rising = column_type in INTEGERS[dialect]
    if dialect == "mysql" and column_type in TEXTS:
        statement = f"SELECT CHARSET(MIN({column})) FROM {written.source} WHERE 1 = 0"
        is_binary = connection.execute(text(statement)).scalar() == "binary"
    return Ids(dialect=dialect, column=column, is_rising=is_rising, is_binary=is_binary)
