"""Where to write: the account of `healing.write_url`, verified as the one that watches is."""

from collections.abc import Callable

from sqlalchemy import URL

from exporter.address import Address, normalise
from exporter.errors import ConfigurationError
from exporter.queues.source import find_address
from exporter.secrets import read_url

from ..options import HealingOptions


def find_write_address(
    options: HealingOptions, find_watched: Callable[[], Address], *, check: Callable[[URL], None]
) -> Address:
    """Return where to write now; raises ConfigurationError that names the key."""
    watched = find_watched()
    if options.write_url_file is not None:
        try:
            found = find_address(url=None, url_file=options.write_url_file, tls=None, check=check)
        except ConfigurationError as cause:
            raise ConfigurationError(*(f"healing.write_url_file: {fault}" for fault in cause.faults)) from cause
        return Address(url=found.url, tls=watched.tls)
    if options.write_url is not None:
        try:
            url = read_url(options.write_url)
            check(url)
        except ValueError as cause:
            raise ConfigurationError(f"healing.write_url: {str(cause).removeprefix('url: ')}") from cause
        return Address(url=normalise(url), tls=watched.tls)
    if watched.dialect == "sqlite":
        return watched
    raise ConfigurationError(
        "healing.write_url: there is none; give an account that may write to this table, or write_url_file"
    )
