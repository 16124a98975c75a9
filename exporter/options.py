"""The options that every queue has, and the types that options are made of.

Models are frozen and refuse unknown keys; each message says what was found and what would be right.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"(?:\d{1,18}[smhd])+", re.ASCII)


def read_duration(value: object) -> timedelta:
    """Read `15s`, `4h` or `1h30m`; raises ValueError that says what would be right."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is not a duration; write a number and s, m, h or d, such as 15s, 5m or 1h30m")
    seconds = sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", value))
    if not 0 < seconds <= 100 * 365 * 86400:
        raise ValueError(f"{value!r} is no usable duration; it must be longer than nothing and at most 36500d")
    return timedelta(seconds=seconds)


def show_duration(span: timedelta) -> str:
    """Write a duration as `read_duration` reads it: `1h30m`."""
    rest, parts = round(span.total_seconds()), []
    for unit, size in reversed(UNITS.items()):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(read_duration),
    PlainSerializer(show_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(?:\d+[smhd])+$", "examples": ["15s", "5m", "1h30m"]}),
]


class Options(BaseModel):
    """A section of the configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsOptions(Options):
    """How a connection to a database is verified: by the authorities in `ca_file`, or by the system's."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is given without cert_file; give both")
        return self


TlsSection = Annotated[
    TlsOptions | None,
    # A section without content asks for verified TLS; without the key there is none.
    BeforeValidator(lambda section: {} if section is None else section),
]


class QueueOptions(Options):
    """What can be set for every queue, whatever its system; defaults that differ are in the system's own options."""

    poll_every: Duration = timedelta(seconds=15)
    poll_timeout: Duration = timedelta(seconds=30)
    stale_after: Duration | None = Field(None, description="default: 5m, or 3 poll intervals where that is more")
    stuck_after: Duration = timedelta(hours=1)
    timeout_after: Duration | None = None
    worker_timeout_after: Duration | None = None
    timeout_window: Duration = timedelta(hours=1)
    run_expected_every: Duration | None = None
    max_duty: float = Field(0.05, gt=0, le=1)
    max_hosts: int = Field(50, ge=1, le=10_000)
    max_kinds: int = Field(500, ge=1, le=10_000)
    max_started: int = Field(20_000, ge=1, le=100_000)
