"""What can be set for a Matomo queue."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from sqlalchemy import URL

from exporter.options import Duration, QueueOptions, TlsSection
from exporter.secrets import DatabaseUrl

from ..source import check_url

PREFIX = re.compile(r"[\w$-]{0,40}")


def check_matomo_url(url: URL) -> None:
    """Refuse what cannot be Matomo's database; raises ValueError."""
    check_url(url, dialects=("mysql",), holder="Matomo")


class MatomoOptions(QueueOptions):
    """A Matomo queue, found through Matomo's own `config.ini.php`, or by a URL and a table prefix.

    Matomo's defaults: cron each hour; a row is taken back after 24 h; one statement may take 7200 s.
    """

    matomo_config: Path | None = Field(None, description="path of Matomo's config/config.ini.php")
    url: DatabaseUrl | None = Field(None, description="mysql://user:password@host/database")
    url_file: Path | None = Field(None, description="a file that holds the URL")
    tables_prefix: str | None = Field(None, description="default: Matomo's configuration, or matomo_ with a URL")
    tls: TlsSection = None
    stuck_after: Duration = timedelta(hours=2)
    timeout_after: Duration | None = timedelta(hours=4)
    worker_timeout_after: Duration | None = timedelta(hours=24)
    run_expected_every: Duration | None = timedelta(hours=1)
    breakdown_every: Duration = timedelta(minutes=5)
    max_reports: int = Field(20, ge=1, le=1000)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("matomo_config", "url", "url_file") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"found {found}; give exactly one of matomo_config, url and url_file")
        if self.url is not None:
            check_matomo_url(self.url)
        if self.tables_prefix is not None and not PREFIX.fullmatch(self.tables_prefix):
            raise ValueError("tables_prefix is no start of a table name; write letters, digits and _, such as matomo_")
        return self
