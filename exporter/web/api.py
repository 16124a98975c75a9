"""The JSON API: the views, read-only, in the shapes of every `--json`.

What goes wrong is told as RFC 9457 has it, in `detail` with a word about what would be right.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from pydantic_core import PydanticSerializationError
from starlette.responses import Response

from exporter.views import HealsView, HostsView, ListedQueuesView, QueuesView, View

from .source import Source

BASE: Final = "/api/v1"
JSON: Final = "application/json"


def list_queues(source: Source) -> str:
    """All queues, without their started jobs, and the hosts that are asked; as `check --json` but for that."""
    queues = ListedQueuesView(queues=tuple(source.list_queues()), hosts=tuple(source.list_hosts()))
    return _write(queues)


def show_attempts(source: Source, queue: str) -> str | None:
    """One queue with its started jobs, as `check --queue QUEUE --json`; 404 (here None) where none has that name."""
    view = source.show_queue(queue)
    return None if view is None else _write(QueuesView(queues=(view,), hosts=tuple(source.list_hosts())))


def list_hosts(source: Source) -> str:
    """The hosts that are asked about workers, as `hosts check --json`."""
    return _write(HostsView(hosts=tuple(source.list_hosts())))


def list_heals(source: Source) -> str:
    """The latest 100 jobs that were put back or refused, the newest last, as `history --json` without `row`."""
    return _write(HealsView(heals=source.look_back().heals))


def _write(view: View) -> str:
    """Write a view; half of a surrogate pair, which a driver may hand on and UTF-8 cannot say, as JSON escapes it."""
    try:
        return view.model_dump_json()
    except PydanticSerializationError:
        return json.dumps(view.model_dump(mode="json"))


LISTS: Final[Mapping[str, Callable[[Source], str]]] = {
    f"{BASE}/queues": list_queues,
    f"{BASE}/hosts": list_hosts,
    f"{BASE}/heals": list_heals,
}
ATTEMPTS: Final = f"{BASE}/queues/{{queue}}/attempts"


def problem(status: int, title: str, detail: str, headers: Mapping[str, str]) -> Response:
    """Answer what is wrong."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status_code=status, headers={**headers, "Content-Type": "application/problem+json"})
