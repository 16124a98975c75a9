"""Read the two files that an SSH host is asked with: the pinned host keys, and the account's own key.

A known_hosts file of the program's own has plain lines only: `name[,name…] type key [comment]`, a name that is not on
port 22 as `[name]:port`. Markers, patterns and hashed names are refused rather than half understood: paramiko 5.1 never
matches a pattern and does not honour `@revoked` (`hostkeys.py`), so a line that a person relies on would not hold.
Every fault of a file is told at once, with its line and what would be right.
"""

import binascii
import stat
from base64 import b64decode
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import paramiko

from exporter.errors import ConfigurationError

KEY_TYPES: dict[str, type[paramiko.PKey]] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
    "ssh-rsa": paramiko.RSAKey,
}
"""Kinds of host keys, best first."""

SSH_PORT = 22
PLAIN_LINE = "write NAME TYPE KEY, as ssh-keyscan prints it"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLine:
    """One line: a key, and the names of the hosts that have it."""

    names: tuple[str, ...]
    key: paramiko.PKey


def read_host_keys(file: Path, *, address: str, port: int = SSH_PORT) -> tuple[paramiko.PKey, ...]:
    """Return the keys that `address` may have, best kind first, never none; raise ConfigurationError otherwise.

    Several keys of one host are all good, so that a key can be rotated.
    """
    faults: list[str] = []
    found: list[paramiko.PKey] = []
    for number, text in enumerate(_lines(file), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        line = _read_line(text)
        if isinstance(line, str):
            faults.append(f"{file}:{number}: {line}")
        elif any(_is_name_of(name, address=address, port=port) for name in line.names):
            found.append(line.key)
    if faults:
        raise ConfigurationError(*faults)
    if not found:
        wanted = address if port == SSH_PORT else f"[{address}]:{port}"
        raise ConfigurationError(
            f"{file}: has no key of {wanted}; compare the fingerprint on the host"
            f" (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) with what"
            f" `ssh-keyscan -t ed25519 -p {port} {address}` finds, and add that line"
        )
    return tuple(sorted(found, key=lambda key: list(KEY_TYPES).index(key.get_name())))


def read_key(file: Path) -> paramiko.PKey:
    """Return the private key in `file`; raise ConfigurationError with the command that helps."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        content = file.read_bytes()
    except OSError as cause:
        raise ConfigurationError(f"{file}: cannot be read: {cause.strerror}; name a private key here") from cause
    if mode & stat.S_IRWXO:
        raise ConfigurationError(f"{file}: everybody may open this key (mode {mode:04o}); run: chmod 600 {file}")
    if content.split(b" ", 1)[0].decode("ascii", "replace") in KEY_TYPES:
        raise ConfigurationError(f"{file}: holds a public key; name the private one, usually without .pub")
    try:
        key = paramiko.PKey.from_path(file)
    except (paramiko.PasswordRequiredException, TypeError) as cause:
        raise ConfigurationError(
            f"{file}: is encrypted, and nobody is there to type a passphrase;"
            f" take a copy that is not, or run: ssh-keygen -p -N '' -f {file}"
        ) from cause
    except Exception as cause:  # what the libraries raise on a broken key is not a closed set
        raise ConfigurationError(
            f"{file}: holds no usable private key; make one with: ssh-keygen -t ed25519 -N '' -f {file}"
        ) from cause
    if key.get_name() not in KEY_TYPES:
        raise ConfigurationError(
            f"{file}: {key.get_name()} is not supported; make one with: ssh-keygen -t ed25519 -N '' -f {file}"
        )
    return key


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as cause:
        raise ConfigurationError(
            f"{file}: cannot be read: {cause.strerror}; write the hosts' keys into it, one plain line each"
        ) from cause
    except UnicodeDecodeError as cause:
        raise ConfigurationError(f"{file}: is no text; {PLAIN_LINE}") from cause


def _read_line(text: str) -> KnownLine | str:
    """Return what a line says, or what is wrong with it."""
    words = text.split()
    if fault := _fault_of_name(words[0]):
        return fault
    if len(words) < 3:
        return f"is no whole line; {PLAIN_LINE}"
    names, kind, encoded = words[:3]
    if kind not in KEY_TYPES:
        return f"{kind!r} is not supported; use one of {', '.join(KEY_TYPES)}"
    try:
        key = KEY_TYPES[kind](data=b64decode(encoded, validate=True))
    except (binascii.Error, paramiko.SSHException, ValueError, IndexError, OverflowError):
        return f"the key cannot be read; {PLAIN_LINE}"
    if key.get_name() != kind:
        return f"holds a key of type {key.get_name()}, not {kind}; {PLAIN_LINE}"
    return KnownLine(names=tuple(names.split(",")), key=key)


def _fault_of_name(name: str) -> str | None:
    """Return what is wrong with the first word of a line."""
    if name.startswith("@"):
        return f"{name} is not supported; remove the line, and pin each host by a key of its own"
    if name.startswith("|"):
        return "the name is hashed; write it plainly (ssh-keyscan without -H)"
    if any(sign in name for sign in "*?!"):
        return f"{name!r} is a pattern; write one line for each host"
    return None


def _is_name_of(name: str, *, address: str, port: int) -> bool:
    """Whether a name in the file means this address and port; addresses are compared as such, names without case."""
    host, named_port = name, SSH_PORT
    if name.startswith("[") and "]:" in name:
        host, _, digits = name[1:].rpartition("]:")
        if not digits.isascii() or not digits.isdigit():
            return False
        named_port = int(digits)
    return named_port == port and _plain(host) == _plain(address)


def _plain(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address.lower()
