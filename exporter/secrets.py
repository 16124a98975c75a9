"""Secrets in options: database URLs that never show their password, and files that hold a secret.

Neither a message nor a serialisation, a `repr` nor a `str` of what is made here holds a secret. SQLAlchemy 2.1 hides
the password only, 2.0 not in `str`, and neither hides `?password=`; so the URL is a `URL` of our own that hides both.
For connecting give the URL itself to `create_engine`, never its text.
"""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .errors import ConfigurationError

MAX_SECRET_BYTES: Final = 65_536
SECRET_KEY: Final = re.compile(r"pass(?!file)|pwd|secret|token|credential", re.IGNORECASE)
EXAMPLE: Final = "write dialect://user:password@host/database, such as mysql://reader:${PASSWORD}@db1/matomo"


class _HiddenUrl(URL):
    """A URL that shows itself without its secrets."""

    __slots__ = ()

    def __repr__(self) -> str:
        return show_url(self)

    __str__ = __repr__


def read_url(value: object) -> URL:
    """Read a database URL; raises ValueError, whose text holds nothing of the value."""
    if isinstance(value, URL):
        return _HiddenUrl(*value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the value is not a database URL; {EXAMPLE}")
    try:
        url = make_url(value.strip())
    except (ArgumentError, ValueError):
        raise ValueError(f"the value is not a database URL; {EXAMPLE}") from None
    if url.get_backend_name() != "sqlite" and value.count("@") > (url.username is not None):
        raise ValueError("the value has an @ too many; write an @ in a user, password or parameter as %40")
    return _HiddenUrl(*url)


def show_url(url: URL) -> str:
    """Write a URL with `***` for its password, and for every parameter that is named like a secret."""
    query = {key: "***" if SECRET_KEY.search(key) else value for key, value in url.query.items()}
    return URL.render_as_string(url.set(query=query), hide_password=True).replace("%2A%2A%2A", "***")


DatabaseUrl = Annotated[
    URL,
    PlainValidator(read_url),
    PlainSerializer(show_url, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["mysql://reader:${PASSWORD}@db1/matomo"]}),
]


def read_secret_file(path: Path) -> str:
    """Read a secret from a file of its own, without the newline at its end; raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except IsADirectoryError as cause:
        raise ConfigurationError(f"{path}: is a directory; write the path of a file that holds the secret") from cause
    except PermissionError as cause:
        raise ConfigurationError(f"{path}: may not be read; give this account the right to read it") from cause
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "is no path"
        raise ConfigurationError(
            f"{path}: cannot be read ({reason}); write the path of a file that is there"
        ) from cause
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigurationError(f"{path}: is longer than {MAX_SECRET_BYTES} bytes; write the secret alone into it")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8; save the file as UTF-8") from None
    if not secret:
        raise ConfigurationError(f"{path}: is empty; write the secret into it")
    return secret
