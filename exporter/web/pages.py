"""Render the status page, the page of one queue and the documents; every text is escaped by the templates' engine."""

from collections.abc import Callable, Mapping
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from .board import make_fleet, make_one
from .remarks import Level
from .shipped import Shipped
from .source import Source
from .words import plain, show_number, show_span


class Pages:
    """Renders pages; for one thread at a time."""

    def __init__(
        self, source: Source, shipped: Mapping[str, Shipped], *, version: str, now: Callable[[], datetime]
    ) -> None:
        self._source = source
        self._now = now
        engine = Environment(
            loader=PackageLoader("exporter.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        engine.filters |= {"number": show_number, "plain": plain, "span": show_span}
        engine.globals |= {
            "static": lambda name: f"/static/{shipped[name].name}",
            "level": Level,
            "version": version,
        }
        self._templates = {name: engine.get_template(f"{name}.html") for name in ("fleet", "queue", "missing", "paper")}

    def fleet(self) -> str:
        """Render the page of all queues."""
        fleet = make_fleet(self._source, now=self._now())
        return self._templates["fleet"].render(fleet=fleet, icon=_icon(fleet.level), refreshes=True)

    def queue(self, name: str) -> str | None:
        """Render the page of one queue; None where there is none of that name."""
        one = make_one(self._source, name, now=self._now())
        if one is None:
            return None
        return self._templates["queue"].render(one=one, icon=_icon(one.row.level), refreshes=True)

    def paper(self, title: str, text: str) -> str:
        """Render a document; `text` is HTML already."""
        return self._templates["paper"].render(title=title, text=text, icon=_icon(Level.GOOD), refreshes=False)

    def missing(self, headline: str) -> str:
        """Render that there is nothing here."""
        return self._templates["missing"].render(headline=headline, icon=_icon(Level.WARN), refreshes=False)


def _icon(level: Level) -> str:
    return f"icon-{level.word}.svg"
