"""What can be set for a table: where it is, which column holds what, and which rows are jobs."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from exporter.options import Options, QueueOptions, TlsSection
from exporter.secrets import DatabaseUrl

from ..source import check_url

QUERY = re.compile(r"\s*(select|with|values)\s", re.IGNORECASE)
SQLITE = "sqlite"
WORD = re.compile(r"\*?[A-Za-z0-9_./:=@%+,-]{1,200}")


def _check_column(name: "str | Sql") -> "str | Sql":
    if isinstance(name, str) and not name.strip():
        raise ValueError(f"{name!r} is no name; write the name of a column, or leave the key out")
    return name


def _check_sql(sql: str) -> str:
    if not sql.strip():
        raise ValueError(f"{sql!r} is no SQL; write what the database can read")
    return sql


def _check_table(name: "str | Sql") -> "str | Sql":
    if not isinstance(name, str):
        return name
    if QUERY.match(name):
        return Sql(sql=name)
    if name.lstrip().startswith("("):
        raise ValueError(f"{name!r} is no table; write a query without parentheses around it, or the name of a table")
    if len(parts := name.split(".")) > 2 or not all(part.strip() for part in parts):
        raise ValueError(f'{name!r} is no table; write table or schema.table, or {{sql: "select …"}}')
    return name


def _check_word(word: str) -> str:
    if not WORD.fullmatch(word):
        raise ValueError(f"{word!r} is no word of a command line; write letters, digits and any of _ . / : = @ % + , -")
    return word


Word = Annotated[str, AfterValidator(_check_word)]
TrustedSql = Annotated[str, AfterValidator(_check_sql)]


class Sql(Options):
    """SQL of the table's database, trusted as it is."""

    sql: TrustedSql


Column = Annotated[str | Sql, AfterValidator(_check_column)]
Table = Annotated[str | Sql, AfterValidator(_check_table)]


class Columns(Options):
    """Which column, or which SQL expression, holds what; those that a table does not have are left out."""

    id: Column
    enqueued_at: Column
    started_at: Column
    kind: Column | None = None
    host: Column | None = None
    pid: Column | None = None
    heartbeat_at: Column | None = None

    def given(self) -> dict[str, str | Sql]:
        """Return what each key that is given holds."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}


class WorkerOptions(Options):
    """What a worker looks like on its host, so that a process can be told from another with the same number.

    `command`: words that must all be among its arguments; a leading `*` stands for any beginning. `child_marks`: words
    among the arguments of work that can outlive its worker.
    """

    command: tuple[Word, ...] = Field(min_length=1)
    child_marks: tuple[Word, ...] = ()


class TableOptions(QueueOptions):
    """A job table. `from` names it, as `table` or `schema.table`, or is a query, in which case it is only watched."""

    url: DatabaseUrl | None = Field(None, description="dialect://user:password@host/database")
    url_file: Path | None = Field(None, description="a file that holds the URL")
    tls: TlsSection = None
    from_: Table = Field(alias="from", description="the table, or a query")
    columns: Columns
    waiting_when: TrustedSql = Field(description="SQL that is true of waiting jobs")
    started_when: TrustedSql = Field(description="SQL that is true of started jobs")
    clock: Literal["utc", "session"] = Field("utc", description="the clock of times that bear no zone")
    worker: WorkerOptions | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("url", "url_file") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"found {found}; give exactly one of url and url_file")
        if self.url is not None:
            check_url(self.url)
            if self.tls is not None and self.url.get_backend_name() == SQLITE:
                raise ValueError("tls: SQLite is a file and no server; leave tls out")
        return self

    @property
    def table(self) -> str:
        """What the rows come from, for people."""
        return self.from_ if isinstance(self.from_, str) else "the tables behind it"
