"""Read Matomo's database connection as Matomo itself reads it.

Layers, the later wins key by key: global.ini.php, common.config.ini.php, the file given (core/Config/IniFileChain.php).
Each value is entity-decoded twice, for `reload` there decodes a file by value and again by reference (2.13 to 5.2): the
password `a&lt;b`, which Matomo stores as `a&amp;lt;b`, is `a<b` to Matomo, and so to us.
Raises ConfigurationError with all faults, each with its place; the password is in none of them.
"""

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html.entities import name2codepoint
from pathlib import Path

from exporter.address import Tls
from exporter.errors import ConfigurationError
from exporter.files import read_foreign

from .ini import Entry, Sections, read_ini

DEFAULTS = ("global.ini.php", "common.config.ini.php")
PORT = 3306
SCHEMAS = frozenset({"", "mysql", "mariadb", "tidb", "myisam"})
ENTITY = re.compile(r"&(?:#(?P<decimal>0*[0-9]{1,7})|#[xX](?P<hexadecimal>0*[0-9a-fA-F]{1,6})|(?P<name>[A-Za-z0-9]+));")
NOT_UTF8 = re.compile("[\ud800-\udfff]")

# What is used, and what Matomo's own global.ini.php says where no layer says anything.
USED: dict[str, dict[str, str]] = {
    "database": {
        "host": "",
        "port": "",
        "unix_socket": "",
        "username": "",
        "password": "",
        "dbname": "",
        "tables_prefix": "",
        "schema": "",
        "charset": "utf8",
        "enable_ssl": "0",
        "ssl_ca": "",
        "ssl_ca_path": "",
        "ssl_cert": "",
        "ssl_key": "",
        "ssl_cipher": "",
        "ssl_no_verify": "",
    },
    "General": {"maintenance_mode": "0", "archive_failure_recovery_timeout": "86400"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MatomoConfig:
    """What Queuemedic takes from Matomo's configuration.

    With `unix_socket`, host and port do not count. With host `localhost` and no socket, PHP takes the socket it was
    built with: try `likely_sockets` first. The password is UTF-8 on the wire.
    """

    host: str
    port: int
    unix_socket: str | None
    username: str
    password: str = field(repr=False)
    database: str
    tables_prefix: str
    charset: str | None
    tls: Tls | None
    maintenance_mode: bool
    archive_failure_recovery_timeout: timedelta


def likely_sockets() -> tuple[Path, ...]:
    """List where MariaDB and MySQL listen by default: Debian, older Debian, Red Hat, built from source."""
    return (
        Path("/run/mysqld/mysqld.sock"),
        Path("/var/run/mysqld/mysqld.sock"),
        Path("/var/lib/mysql/mysql.sock"),
        Path("/tmp/mysql.sock"),  # noqa: S108 - the upstream default, only ever connected to
    )


def layers(path: Path) -> tuple[Path, ...]:
    """List the files that are read for `path`, whether they exist or not; the last one wins."""
    return (*(path.parent / name for name in DEFAULTS), path)


def read_config(path: Path) -> MatomoConfig:
    """Read `config/config.ini.php` and the layers beside it that exist."""
    found = [read_layer(layer) for layer in layers(path)]
    if found[-1] is None:
        raise ConfigurationError(f"{path}: there is no such file; give the path of Matomo's config/config.ini.php")
    entries = merge_layers([layer for layer in found if layer is not None], name=str(path))
    if faults := find_faults(entries, path):
        raise ConfigurationError(*faults)
    text = {key: entry.text for key, entry in entries.items()}
    unix_socket = find_socket(entries)
    return MatomoConfig(
        host="localhost" if unix_socket else text["host"].removeprefix("[").removesuffix("]") or "localhost",
        port=PORT if unix_socket else int(text["port"] or 0) or PORT,
        unix_socket=unix_socket,
        username=text["username"],
        password=text["password"],
        database=text["dbname"],
        tables_prefix=text["tables_prefix"],
        charset=text["charset"] or None,
        tls=read_tls(text),
        maintenance_mode=text["maintenance_mode"] == "1",
        archive_failure_recovery_timeout=timedelta(seconds=int(text["archive_failure_recovery_timeout"])),
    )


def merge_layers(files: Sequence[Sections], *, name: str) -> dict[str, Entry]:
    """Give an entry for each value in use, the last layer's or the default's; raises with all that cannot be known."""
    entries: dict[str, Entry] = {}
    faults: list[str] = []
    for section, defaults in USED.items():
        found: dict[str, Entry] = {}
        for sections in files:
            found |= sections.get(section, {})
        for key, default in defaults.items():
            entry = found.get(key, Entry(place=name, text=default))
            entries[key] = replace(entry, text=decode_entities(decode_entities(entry.text)))
            doubt = "is not UTF-8; save the file as UTF-8" if NOT_UTF8.search(entry.text) else entry.doubt
            if doubt:
                faults.append(f"{entry.place}: [{section}] {key}: {doubt}")
    if faults:
        raise ConfigurationError(*faults)
    return entries


def find_faults(entries: Mapping[str, Entry], path: Path) -> list[str]:
    """Say what is wrong with values that are known."""
    faults = []
    if not entries["dbname"].text:
        faults.append(f"{path}: [database] dbname is not set: Matomo is not installed yet, or reads another file")
    schema, port, timeout = (entries[key] for key in ("schema", "port", "archive_failure_recovery_timeout"))
    if schema.text.strip().lower() not in SCHEMAS:
        faults.append(f"{schema.place}: [database] schema: {schema.text!r} is not known; Mysql, Mariadb and Tidb are")
    if not find_socket(entries) and not is_number(port.text or "0", at_most=65_535):
        faults.append(f"{port.place}: [database] port: {port.text!r} is no port; write a number, or a socket's path")
    if not is_number(timeout.text, at_most=100 * 365 * 86_400):
        faults.append(
            f"{timeout.place}: [General] archive_failure_recovery_timeout: {timeout.text!r} is no number of seconds;"
            " write one, such as 86400"
        )
    return faults


def is_number(text: str, *, at_most: int) -> bool:
    return re.fullmatch("[0-9]{1,10}", text) is not None and int(text) <= at_most


def find_socket(entries: Mapping[str, Entry]) -> str | None:
    """Give the socket that Matomo would use; a path as port comes first (core/Db/Adapter.php)."""
    port, unix_socket = entries["port"].text, entries["unix_socket"].text
    return port if port.startswith("/") else given(unix_socket)


def read_tls(text: Mapping[str, str]) -> Tls | None:
    """Give what PHP hands to the TLS layer; None where `enable_ssl` stands alone: PHP then connects without TLS."""
    ca_file, ca_path, cert_file, key_file = (
        Path(text[key]) if given(text[key]) else None for key in ("ssl_ca", "ssl_ca_path", "ssl_cert", "ssl_key")
    )
    is_told_how = ca_file or ca_path or cert_file or key_file or given(text["ssl_cipher"])
    if not given(text["enable_ssl"]) or not is_told_how:
        return None
    return Tls(
        ca_file=ca_file,
        ca_path=ca_path,
        cert_file=cert_file,
        key_file=key_file,
        is_verified=not given(text["ssl_no_verify"]),
    )


def given(text: str) -> str | None:
    """Give None for what PHP's `empty` takes for nothing."""
    return None if text in ("", "0") else text


def read_layer(path: Path) -> Sections | None:
    """Read one file; None where there is none."""
    try:
        content = read_foreign(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as cause:
        account = account_name()
        raise ConfigurationError(
            f"{path}: the account {account} may not read this file; give it the right to"
            f" (setfacl -m u:{account}:r {path}, and x on the folders above),"
            " or configure url_file with an account of its own that has SELECT only"
        ) from cause
    except OSError as cause:
        raise ConfigurationError(f"{path}: cannot be read: {cause.strerror}") from cause
    return read_ini(content, name=str(path), environment=os.environ)


def account_name() -> str:
    """Say who this process is for the file system; the number where the account has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def decode_entities(text: str) -> str:
    """Decode as `html_entity_decode($text, ENT_COMPAT, 'UTF-8')`: HTML 4.01 names, never the single quote.

    `html.unescape` is for HTML 5: it also takes `&copy` without its end, `&apos;` and 2,000 names more.
    """
    return ENTITY.sub(_decode_entity, text)


def _decode_entity(found: re.Match[str]) -> str:
    if found["name"]:
        codepoint = name2codepoint.get(found["name"], 0)
    elif found["decimal"]:
        codepoint = int(found["decimal"])
    else:
        codepoint = int(found["hexadecimal"], 16)
    allowed = (
        codepoint in (0x09, 0x0A, 0x0D)
        or 0x20 <= codepoint <= 0x7E
        or 0xA0 <= codepoint <= 0xD7FF
        or 0xE000 <= codepoint <= 0x10FFFF
    )
    return chr(codepoint) if allowed and codepoint != ord("'") else found[0]
