"""The configuration: what is accepted, and every fault with its exact message."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from exporter.options import Duration, Options, QueueOptions, TlsOptions
from exporter.secrets import DatabaseUrl

SECRET = "s3cret-s3cret"
ENVIRONMENT: Mapping[str, str] = {
    "SECRET": SECRET,
    "EMPTY": "",
    "NUMBER": "5",
    "YAML": "[1, 2]: {a: b} # no comment",
    "NESTED": "${SECRET}",
    "BYTES": "\udcff",
}


class Sql(Options):
    """A value that is computed."""

    sql: str


class MemoryOptions(QueueOptions):
    """A queue without a database."""

    seed: int = 0


class DatabaseOptions(QueueOptions):
    """A queue with options of every form."""

    url: DatabaseUrl
    password: str | None = Field(None, max_length=60)
    from_: str = Field("jobs", alias="from", min_length=1)
    host: str | Sql | None = None
    clock: Literal["session", "utc"] = "session"
    strict: bool = False
    tls: TlsOptions | None = None
    files: tuple[Path, ...] = ()
    named: Mapping[str, Path] = Field(default_factory=dict)
    run_expected_every: Duration | None = timedelta(hours=1)


SYSTEMS: Mapping[str, type[QueueOptions]] = {"memory": MemoryOptions, "database": DatabaseOptions}
