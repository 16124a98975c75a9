"""Where Matomo's database is, and what else its configuration says, read again whenever the file has changed."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

from exporter.address import Address
from exporter.errors import ConfigurationError
from exporter.files import Stamp, stamps

from ..source import find_address, read_tls
from .config_ini import MatomoConfig, layers, likely_sockets, read_config
from .options import PREFIX, MatomoOptions, check_matomo_url

DEFAULT_PREFIX = "matomo_"


class Source:
    """Finds the database through `config.ini.php`, `url` or `url_file`; raises ConfigurationError."""

    def __init__(self, options: MatomoOptions) -> None:
        self._options = options
        self._config: MatomoConfig | None = None
        self._stamps: Mapping[Path, Stamp] = {}

    def find_address(self) -> Address:
        """Return where the database is now."""
        options = self._options
        if options.matomo_config:
            config = self._read_config(options.matomo_config)
            return Address(url=_url(config), tls=read_tls(options.tls) or config.tls)
        return find_address(url=options.url, url_file=options.url_file, tls=options.tls, check=check_matomo_url)

    def tables_prefix(self) -> str:
        """Return the prefix of Matomo's tables, which may be empty."""
        if self._options.tables_prefix is not None:
            return self._options.tables_prefix
        path = self._options.matomo_config
        if path is None:
            return DEFAULT_PREFIX
        prefix = self._read_config(path).tables_prefix
        if not PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"{path}: tables_prefix {prefix!r} cannot be used; only letters, digits, _, $ and -"
            )
        return prefix

    def is_maintenance_mode(self) -> bool | None:
        """Return what Matomo's configuration says; None without one."""
        path = self._options.matomo_config
        if path is None:
            return None
        try:
            return self._read_config(path).maintenance_mode
        except ConfigurationError:
            # Half-written, or gone for a moment: the queue is read by the connection that is there.
            return self._config.maintenance_mode if self._config else None

    def _read_config(self, path: Path) -> MatomoConfig:
        """Read Matomo's layers of configuration, if one of them has changed since."""
        found = stamps(layers(path))
        if self._config is None or found != self._stamps:
            self._config, self._stamps = read_config(path), found
        return self._config


def _url(config: MatomoConfig) -> URL:
    """PHP takes `localhost` for a socket, Python's drivers for TCP: use the usual sockets as PHP would."""
    path = config.unix_socket
    if path is None and config.host == "localhost":
        path = next((str(socket) for socket in likely_sockets() if socket.exists()), None)
    return URL.create(
        "mysql+pymysql",
        username=config.username,
        password=config.password,
        host="localhost" if path else config.host,
        port=None if path else config.port,
        database=config.database,
        query={"unix_socket": path} if path else {},
    )
