"""What the configuration may say about healing a queue, and about the hosts its workers run on."""

import re
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from exporter.options import Duration, Options, TlsSection
from exporter.secrets import DatabaseUrl

from .windows import EXAMPLE, Window, read_window

Mode = Literal["disabled", "dry_run", "reset"]

HealingWindow = Annotated[
    Window,
    BeforeValidator(read_window),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*[A-Za-z,-]+\s+[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}\s+\S+\s*$",
            "examples": ["Mon-Fri 22:00-06:00 Europe/Berlin"],
        }
    ),
]


def _refuse_nothing(windows: object) -> object:
    """Refuse a key without a value: whether it means always or never has to be said."""
    if windows is None:
        raise ValueError(f"nothing is written here; write windows, {EXAMPLE}, [] for never, or leave the key out")
    return windows


class BreakerOptions(Options):
    """When many workers seem to die at once, the observer is suspect, and healing stops."""

    max_dead_ratio: float = Field(0.5, gt=0, le=1)
    min_hosts: int = Field(3, ge=1)
    cool_down: Duration = timedelta(minutes=10)


class JobBudget(Options):
    """How often one job may be put back; after that it is left alone."""

    resets: int = Field(3, ge=1)
    within: Duration = timedelta(hours=24)


class HealingOptions(Options):
    """What is done about orphaned jobs, and how carefully."""

    mode: Mode = "disabled"
    write_url: DatabaseUrl | None = Field(None, description="the account that may write; SQLite: the queue's own url")
    write_url_file: Path | None = Field(None, description="a file that holds write_url")
    heal_after: Duration = timedelta(minutes=1)
    confirm_after: Duration = timedelta(seconds=30)
    max_resets_per_hour: int = Field(500, ge=1)
    max_resets_per_job: JobBudget = JobBudget()
    windows: Annotated[tuple[HealingWindow, ...] | None, BeforeValidator(_refuse_nothing)] = Field(
        None, description="hours in which jobs are put back; default: always; an empty list: never"
    )
    max_load_per_processor: float | None = Field(None, gt=0)
    breaker: BreakerOptions = BreakerOptions()

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.write_url is not None and self.write_url_file is not None:
            raise ValueError("found write_url and write_url_file; give one of them")
        return self


class LedgerOptions(Options):
    """The healer's own database, and for how long it remembers."""

    url: DatabaseUrl | None = Field(None, description="default: ledger.db in $STATE_DIRECTORY, else in a state folder")
    url_file: Path | None = Field(None, description="a file that holds url")
    tls: TlsSection = None
    keep: Duration = timedelta(days=400)

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("found url and url_file; give one of them")
        return self


Port = Annotated[int, Field(ge=1, le=65_535)]

USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
SSH_NEEDS = ("address", "user", "key_file", "known_hosts")
SSH_ONLY = (*SSH_NEEDS, "port")


def read_user(user: str) -> str:
    """Return the name of an account; raises ValueError that says what would be right."""
    if not USER.fullmatch(user):
        raise ValueError(f"{user!r} is no user name; write letters, digits, _, . or -, at most 32")
    return user


def read_address(address: str) -> str:
    """Return an IP address or a host name, without user and port; raises ValueError that says what would be right."""
    try:
        ip_address(address)
    except ValueError:
        is_like_ip = re.fullmatch(r"[0-9.]+", address)
        if is_like_ip or not NAME.fullmatch(address):
            raise ValueError(
                f"{address!r} is no address; write an IP address such as 10.0.0.3, or a host name, and the port as port"
            ) from None
    return address


class HostOptions(Options):
    """One host, under the name that its workers record; `aliases` are further names for it.

    `via` says how it is asked: `ssh`, `local` on this machine, or not at all. An `address` may be a name: what answers
    proves itself by its key, and a look-up that hangs is ended with the ask; a literal address saves it.
    """

    aliases: tuple[str, ...] = ()
    via: Literal["ssh", "local"] | None = None
    address: Annotated[str, AfterValidator(read_address)] | None = None
    port: Port = 22
    user: Annotated[str, AfterValidator(read_user)] | None = None
    key_file: Path | None = None
    known_hosts: Path | None = None
    machine_id: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    pid_namespace: Literal["initial", "own"] = "initial"
    ask_every: Duration = timedelta(seconds=15)
    timeout: Duration = timedelta(seconds=10)
    worker_memory_limit: int | None = Field(None, ge=1, le=1 << 50, description="bytes (PHP: memory_limit)")

    @model_validator(mode="after")
    def _way(self) -> Self:
        defaults = type(self).model_fields
        given = [key for key in SSH_ONLY if getattr(self, key) != defaults[key].default]
        if self.via != "ssh":
            if given:
                found = "via: local" if self.via else "no via"
                raise ValueError(f"found {found} and {', '.join(given)}; write via: ssh, or leave these out")
            return self
        if missing := [key for key in SSH_NEEDS if getattr(self, key) is None]:
            raise ValueError(f"found via: ssh without {', '.join(missing)}; add what is missing")
        return self
