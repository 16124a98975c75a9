"""What a configuration holds: frozen options, checked before anything is built from them."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from exporter.jobs import QueueName
from exporter.options import Options, QueueOptions
from healers.options import HealingOptions, HostOptions, LedgerOptions

QUEUE_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
SERVER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{0,253}")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the web server listens: no `host` means every interface, and port 0 a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_listen(value: object) -> ListenAddress:
    """Read `127.0.0.1:9847`, `[::1]:9847` or `:9847`; raises ValueError that says what would be right."""
    if isinstance(value, ListenAddress):
        return value
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not _is_host(host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"{value!r} is not an address; write host:port, such as 127.0.0.1:9847, [::1]:9847 or :9847")
    if int(port) > 65_535:
        raise ValueError(f"{value!r} has no usable port; write one from 0 to 65535")
    return ListenAddress(host.strip("[]"), int(port))


def _is_host(host: str) -> bool:
    try:
        if host.startswith("[") and host.endswith("]"):
            return bool(ipaddress.IPv6Address(host[1:-1]))
        return bool(ipaddress.IPv4Address(host) if re.fullmatch(r"[0-9.]+", host) else SERVER_NAME.fullmatch(host))
    except ValueError:
        return False


Listen = Annotated[
    ListenAddress,
    BeforeValidator(read_listen),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9847", "[::1]:9847", ":9847"]}),
]


class WebOptions(Options):
    """The web server."""

    listen: Listen = ListenAddress("127.0.0.1", 9847)
    config_file: Path | None = None
    enable_lifecycle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSection:
    """One queue: its system, the options of that system, and what is done about its orphaned jobs."""

    system: str
    options: QueueOptions
    healing: HealingOptions = field(default_factory=HealingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration; equal to another that says the same, whatever `file` it is from.

    `ledger` is None where the file says nothing of it.
    """

    web: WebOptions = field(default_factory=WebOptions)
    queues: Mapping[QueueName, QueueSection]
    hosts: Mapping[str, HostOptions] = field(default_factory=lambda: MappingProxyType({}))
    ledger: LedgerOptions | None = None
    file: Path | None = field(default=None, compare=False)
