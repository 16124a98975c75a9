"""Where a queue's database is: a URL in the configuration, or in a file that is read at each new connection."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sqlalchemy import URL

from exporter.address import Address, Tls, normalise
from exporter.errors import ConfigurationError
from exporter.options import TlsOptions
from exporter.secrets import read_secret_file, read_url

# What else a URL may say, by dialect; TLS is not among it, and whatever a driver would not heed is refused.
PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"mysql": ("unix_socket", "charset"), "postgresql": ("host", "options", "port", "target_session_attrs")}
)
EXAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mysql": "mysql://user:password@host/database",
        "postgresql": "postgresql://user:password@host/database",
        "sqlite": "sqlite:////path/of/the.db",
    }
)
NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"mysql": "MariaDB or MySQL", "postgresql": "PostgreSQL", "sqlite": "SQLite"}
)


def check_url(url: URL, *, dialects: Collection[str] = tuple(EXAMPLES), holder: str = "this system") -> None:
    """Refuse what is no database of these, or asks for TLS in a way that is not verified; raises ValueError."""
    try:
        dialect = Address(url=normalise(url)).dialect
    except ConfigurationError as cause:
        raise ValueError(str(cause)) from cause
    known = PARAMETERS.get(dialect, ())
    unknown = url.query.keys() - set(known)
    if unknown:
        right = f"it takes {', '.join(name for name in known if name != 'charset') or 'none'}"
        raise ValueError(f"url: {', '.join(sorted(unknown))} in a URL is not known; {right}")
    if not url.database:
        raise ValueError(f"url: it names no database; write {EXAMPLES[dialect]}")
    if dialect not in dialects:
        names = " or ".join(NAMES[name] for name in dialects)
        right = " or ".join(EXAMPLES[name] for name in dialects)
        raise ValueError(f"url: {holder} keeps its queue in {names}, not in {NAMES[dialect]}; write {right}")


def find_address(
    *, url: URL | None, url_file: Path | None, tls: TlsOptions | None, check: Callable[[URL], None] = check_url
) -> Address:
    """Return where the database is now; raises ConfigurationError that names the file, where that cannot be used."""
    if url_file is None:
        return Address(url=normalise(read_url(url)), tls=read_tls(tls))
    content = read_secret_file(url_file)
    try:
        found = read_url(content)
        check(found)
    except ValueError as cause:
        raise ConfigurationError(f"{url_file}: {cause}") from cause
    return Address(url=normalise(found), tls=read_tls(tls))


def read_tls(options: TlsOptions | None) -> Tls | None:
    """Return how the server is verified; None where it is not."""
    if options is None:
        return None
    return Tls(ca_file=options.ca_file, cert_file=options.cert_file, key_file=options.key_file)
