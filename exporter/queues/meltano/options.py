"""What can be set for a Meltano queue."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from exporter.options import Duration, QueueOptions, TlsSection
from exporter.secrets import DatabaseUrl

from ..source import check_url

check_meltano_url = partial(check_url, dialects=("sqlite", "postgresql"), holder="Meltano")


class MeltanoOptions(QueueOptions):
    """Meltano's runs, in its system database: found as Meltano itself finds it from the project's folder, or by a URL.

    A run writes a heartbeat each second (4.4.1, core/job/job.py), so `stuck_after` is how long none may come.
    """

    project: Path | None = Field(None, description="the folder that holds meltano.yml")
    url: DatabaseUrl | None = Field(None, description="the system database")
    url_file: Path | None = Field(None, description="a file that holds the URL")
    tls: TlsSection = None
    workers_on: tuple[str, ...] = Field((), description="every host that may run this project, as named under hosts")
    workers_user: str | None = Field(None, description="the account that runs it there; default: any")
    stuck_after: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("found url and url_file; give one of them")
        if self.url is None and self.url_file is None and self.project is None:
            raise ValueError("found none of project, url and url_file; give the project's folder, or a URL")
        if self.url is not None:
            check_meltano_url(self.url)
        return self
