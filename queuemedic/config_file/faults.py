"""Name one thing that is wrong with a configuration: where it stands, what was found, what would be right.

A fault is a value; the reading goes on past it, so that all of them are reported at once.
What a fault quotes is short, on one line, without control characters and without the password of a URL.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from exporter.secrets import SECRET_KEY

Where: TypeAlias = tuple[str | int, ...]

MAX_QUOTED: Final = 60
MAX_SHOWN: Final = 100
UNUSABLE: Final = re.compile(r"[\0\ud800-\udfff]")
BARE_KEY: Final = re.compile(r"[\w.-]+")
SECRET_NAME: Final = re.compile(rf"^(?!.*_file$).*(?:{SECRET_KEY.pattern}|url$|^dsn$)", re.IGNORECASE)
# Prometheus' web configuration: a hash below any name, and a private key.
USERS: Final = "basic_auth_users"
KEY: Final = ["tls_server_config", "key"]
CREDENTIALS: Final = re.compile(r"://.*@", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a configuration file; `text` is `what was found; what would be right`."""

    line: int
    text: str
    where: Where = ()

    def show(self, file: Path) -> str:
        """Write the fault as one line, in the form that editors and terminals can jump to."""
        place = f"{show_where(self.where)}: " if self.where else ""
        return f"{file}:{self.line}: {place}{self.text}"


def show_where(where: Where) -> str:
    """Write a path through the configuration: `hosts.web03.aliases[1]`."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{_show_key(step)}" for step in where)
    return shown.removeprefix(".")


def _show_key(key: str) -> str:
    return key if len(key) <= MAX_QUOTED and BARE_KEY.fullmatch(key) else quote(key)


def quote(text: str) -> str:
    """Write a text from the file in quotes: shortened, escaped, and without the password of a URL."""
    masked = CREDENTIALS.sub("://***@", text)
    return repr(masked if len(masked) <= MAX_QUOTED else f"{masked[:MAX_QUOTED]}…")


def show_all(faults: Iterable[Fault], file: Path) -> tuple[str, ...]:
    """Write faults in the order of their lines; of more than a hundred the first, and that there are more."""
    ordered = [fault.show(file) for fault in sorted(faults, key=lambda fault: fault.line)]
    if len(ordered) > MAX_SHOWN:
        return (*ordered[:MAX_SHOWN], f"{file}: there are more faults; correct these first")
    return tuple(ordered)


def is_secret(where: Where) -> bool:
    """Whether the key is named like one whose value nobody may see, or stands where such values do."""
    names = [step for step in where if isinstance(step, str)]
    return bool(names and (SECRET_NAME.search(names[-1]) or names[0] == USERS or names == KEY))
