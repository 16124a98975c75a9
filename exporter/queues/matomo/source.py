"""Where Matomo's database is, and what else its configuration says, read again whenever the file has changed."""

from pathlib import Path

from sqlalchemy import URL

from exporter.address import Address, Tls, normalise
from exporter.errors import ConfigurationError
from exporter.options import TlsOptions
from exporter.secrets import read_secret_file, read_url

from .config_ini import MatomoConfig, layers, likely_sockets, read_config
from .options import PREFIX, MatomoOptions

DEFAULT_PREFIX = "matomo_"


class Source:
    """Finds the database through `config.ini.php`, `url` or `url_file`; raises ConfigurationError."""

    def __init__(self, options: MatomoOptions) -> None:
        self._options = options
        self._config: MatomoConfig | None = None
        self._stamp: tuple[tuple[int, int], ...] = ()

    def find_address(self) -> Address:
        """Return where the database is now."""
        tls = _tls(self._options.tls)
        if self._options.matomo_config:
            config = self._read_config(self._options.matomo_config)
            return Address(url=_url(config), tls=tls or config.tls)
        if self._options.url_file:
            return Address(url=normalise(read_url(read_secret_file(self._options.url_file))), tls=tls)
        return Address(url=normalise(read_url(self._options.url)), tls=tls)

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
        stamp = tuple(map(_stamp, layers(path)))
        if self._config is None or stamp != self._stamp:
            self._config, self._stamp = read_config(path), stamp
        return self._config


def _stamp(file: Path) -> tuple[int, int]:
    """Return what tells a file from its successor; what cannot be looked at is for `read_config` to say."""
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


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


def _tls(options: TlsOptions | None) -> Tls | None:
    if options is None:
        return None
    return Tls(ca_file=options.ca_file, cert_file=options.cert_file, key_file=options.key_file)
