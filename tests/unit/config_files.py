"""A small registry of systems, and configuration files made from text."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.options import Duration, Options, QueueOptions, TlsOptions
from exporter.queues.table import TableOptions
from exporter.secrets import DatabaseUrl
from queuemedic.config import Config, load
from queuemedic.systems import SystemOptions

ENVIRONMENT: Mapping[str, str] = {
    "SECRET": "s3cret-of-a-variable",
    "URL": "mysql://reader:s3cret@db1/mails",
    "EMPTY": "",
    "NUMBER": "5",
    "YAML": "[1, 2]: {a: b} # no comment",
    "NESTED": "${NUMBER}$$",
    "BYTES": "\udcff",
    "MANY": "s3cret\nof\\lines",
}


class Sql(Options):
    """A value that is computed."""

    sql: str
    cost: int | None = None


class MemoryOptions(QueueOptions):
    """A queue without a database."""

    seed: int = 0


class DatabaseOptions(QueueOptions):
    """A queue with options of every form."""

    url: DatabaseUrl
    password: str | None = Field(None, max_length=60, repr=False)
    from_: str = Field("jobs", alias="from", min_length=1)
    host: str | Sql | None = None
    clock: Literal["session", "utc"] = "session"
    strict: bool = False
    tls: TlsOptions | None = None
    files: tuple[Path, ...] = ()
    named: dict[str, Path] = Field(default_factory=dict)
    computed: dict[str, Sql] = Field(default_factory=dict)
    run_expected_every: Duration | None = timedelta(hours=1)


SYSTEMS: Mapping[str, SystemOptions] = {
    "memory": SystemOptions(MemoryOptions),
    "database": SystemOptions(DatabaseOptions),
    "table": SystemOptions(TableOptions),
}


def read(folder: Path, text: str | bytes, environment: Mapping[str, str] = ENVIRONMENT) -> Config:
    """Load a file with this content."""
    file = folder / "queuemedic.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, environment, SYSTEMS)


def faults(folder: Path, text: str | bytes) -> list[str]:
    """Return the faults of a file with this content, each without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    return [fault.removeprefix(f"{folder}/") for fault in caught.value.faults]


def options(folder: Path, text: str) -> DatabaseOptions:
    """Return the options of a queue that says this after its URL."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    found = read(folder, f"queues:\n  mails:\n    system: database\n    url: sqlite://\n{lines}")
    loaded = found.queues[QueueName("mails")].options
    assert isinstance(loaded, DatabaseOptions)
    return loaded


@contextmanager
def without_rights() -> Iterator[None]:
    """Be an account that may read nothing of root's, if this is root."""
    account = os.geteuid()
    if account == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(account)
