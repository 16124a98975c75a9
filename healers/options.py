"""What the configuration may say about healing a queue, and about the hosts its workers run on."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from exporter.options import Duration, Options
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


class HostOptions(Options):
    """One host, under the name that its workers record; `aliases` are further names for it.

    `via: local` asks it about the workers: it is the machine that this program runs on. Without it, it is only a name.
    """

    aliases: tuple[str, ...] = ()
    via: Literal["local"] | None = None
    machine_id: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    pid_namespace: Literal["initial", "own"] = "initial"
    ask_every: Duration = timedelta(seconds=15)
    timeout: Duration = timedelta(seconds=10)
    worker_memory_limit: int | None = Field(None, ge=1, le=1 << 50, description="bytes (PHP: memory_limit)")
