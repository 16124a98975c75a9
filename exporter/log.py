"""Events to standard error: one line each, `noun.past_participle` and keys.

Results go to standard output; events never do, so that a pipe carries results only.
"""

import logging
import sys
from dataclasses import dataclass
from typing import Literal

import structlog

LogFormat = Literal["console", "json"]


def configure(log_format: LogFormat = "console", *, level: int = logging.INFO) -> None:
    """Send every event of `level` or above to standard error, as text for people or as JSON lines."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if log_format == "json" else _quote_unprintable,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


@dataclass(frozen=True, slots=True)
class _Quoted:
    """A text that the renderer writes as it would a text with spaces: quoted, and with escapes."""

    text: str

    def __repr__(self) -> str:
        return repr(self.text)


def _quote_unprintable(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Let no value steer a terminal: the renderer (structlog 25) quotes only what holds a space, a break or a quote."""
    return {
        key: _Quoted(value) if isinstance(value, str) and not value.isprintable() else value
        for key, value in event.items()
    }
