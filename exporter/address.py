"""Where a database is, and how its server is verified."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sqlalchemy import URL

from .errors import ConfigurationError

DRIVERS: Final = MappingProxyType(
    {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
)

PORTS: Final = MappingProxyType({"mysql": 3306, "postgresql": 5432})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the server is verified: by `ca_file` or `ca_path`, or by the system's authorities; and who we are to it."""

    ca_file: Path | None = None
    ca_path: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    is_verified: bool = True

    def context(self) -> ssl.SSLContext:
        """Return a context that checks authority and name, at least TLS 1.2; raises ConfigurationError."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file, capath=self.ca_path)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file, password="")
        except (OSError, ssl.SSLError) as cause:
            files = [str(name) for name in (self.ca_file, self.ca_path, self.cert_file, self.key_file) if name]
            raise ConfigurationError(f"tls: {', '.join(files)} cannot be used: {cause}; give PEM files") from cause
        if not self.is_verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a database is. The password stays inside `url`, which hides it when shown."""

    url: URL
    tls: Tls | None = None

    @property
    def dialect(self) -> str:
        """`mysql` (MariaDB too), `postgresql` or `sqlite`."""
        name = self.url.get_backend_name()
        return "mysql" if name == "mariadb" else name

    @property
    def server(self) -> str:
        """Name the server, not the database: what polls have to share."""
        if self.dialect == "sqlite":
            return f"sqlite:{self.url.database}"
        place = self.url.query.get("unix_socket") or self.url.query.get("host") or self.url.host or "localhost"
        return f"{self.dialect}:{place}:{self.url.port or self.url.query.get('port') or PORTS[self.dialect]}"

    @property
    def place(self) -> str:
        """Name the database, not who asks: what a history is of. This machine's MySQL is one, by socket or by port."""
        url = self.url
        is_local = self.dialect == "mysql" and url.host == "localhost"
        port, query = (None, {}) if is_local else (url.port, dict(url.query))
        named = URL.create(self.dialect, host=url.host, port=port, database=url.database, query=query)
        return named.render_as_string(hide_password=True)


def normalise(url: URL) -> URL:
    """Return the URL with the driver that is used here; raises ConfigurationError for a database that is not known."""
    driver = DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError(f"url: {url.drivername!r} is not known; write one of {', '.join(DRIVERS)}")
    if any(key.startswith("ssl") for key in url.query):
        raise ConfigurationError("url: TLS settings in a URL are not verified by every driver; write them under tls:")
    return url.set(drivername=driver)
