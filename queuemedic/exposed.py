"""Find the files of a configuration that are open to more accounts than they should be.

Whoever reads a secret has the rights it gives, and whoever writes to the configuration, the ledger or known_hosts says
what is done. Only what everybody may do counts: groups are an administrator's own. A folder that others may not enter
closes what is in it, and a file that is mounted alone, as a container's secret is, has its rights where it comes from.
A key for hosts is not looked at here: it is refused (`healers.probes.known_hosts`).
In: a configuration. Out: one sentence for each file, with what to do; none for files that are not there.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from exporter.options import TlsOptions
from healers.options import LedgerOptions

from .config import Config


def find_exposed(config: Config) -> list[str]:
    """Say which files everybody may read that hold a secret, or write that decide something."""
    found = []
    secret, deciding = dict.fromkeys(_secret_files(config)), dict.fromkeys(_deciding_files(config))
    for file in {**secret, **deciding}:
        mode = _open_to_all(file)
        if mode & stat.S_IWOTH:
            found.append(f"{file}: everybody may write to it (mode {mode:04o}); chmod o-w {file}")
        if mode & stat.S_IROTH and file in secret:
            found.append(f"{file}: holds a secret, and everybody may read it (mode {mode:04o}); chmod o-r {file}")
    return found


def _secret_files(config: Config) -> Iterator[Path]:
    if config.file and _holds_password(config):
        yield config.file
    for section in config.queues.values():
        yield from _named(section.options, "url_file")
        yield from _named(section.healing, "write_url_file")
        yield from _keys(getattr(section.options, "tls", None))
    ledger = config.ledger or LedgerOptions()
    yield from _named(ledger, "url_file")
    yield from _keys(ledger.tls)


def _deciding_files(config: Config) -> Iterator[Path]:
    yield from filter(None, (config.file, config.web.config_file))
    yield from filter(None, (host.known_hosts for host in config.hosts.values()))
    url = config.ledger.url if config.ledger else None
    if url is not None and url.get_backend_name() == "sqlite" and url.database:
        yield Path(url.database)


def _holds_password(config: Config) -> bool:
    """Whether a password stands in the file itself, rather than in a variable that it names."""
    urls = [getattr(section.options, "url", None) for section in config.queues.values()]
    urls += [section.healing.write_url for section in config.queues.values()]
    urls += [config.ledger.url if config.ledger else None]
    passwords = [str(url.password) for url in urls if url is not None and url.password]
    try:
        text = config.file.read_text("utf-8") if config.file else ""
    except (OSError, UnicodeError):
        return False
    return any(f":{form}@" in text for password in passwords for form in (password, quote(password, safe="")))


def _named(options: object, name: str) -> Iterator[Path]:
    file = getattr(options, name, None)
    if isinstance(file, Path):
        yield file


def _keys(tls: TlsOptions | None) -> Iterator[Path]:
    if tls is not None:
        yield from _named(tls, "key_file")


def _open_to_all(file: Path) -> int:
    """Return the mode of a file that everybody can get at; 0 of any other, and where there is none."""
    try:
        resolved = file.resolve(strict=True)
        if os.path.ismount(resolved) or not all(folder.stat().st_mode & stat.S_IXOTH for folder in resolved.parents):
            return 0
        return stat.S_IMODE(resolved.stat().st_mode)
    except OSError:
        return 0
