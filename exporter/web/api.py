"""The JSON API: the views, read-only, in the shapes of every `--json`.

What goes wrong is told as RFC 9457 has it, in `detail` with a word about what would be right.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from starlette.responses import Response

from exporter.views import HealsView, HostsView, ListedQueuesView, QueuesView

from .source import Source

BASE: Final = "/api/v1"
JSON: Final = "application/json"


def list_queues(source: Source) -> str:
    """All queues, without their started jobs, and the hosts that are asked; as `check --json` but for that."""
    return ListedQueuesView(queues=tuple(source.list_queues()), hosts=tuple(source.list_hosts())).write()


def show_attempts(source: Source, queue: str) -> str | None:
    """One queue with its started jobs, as `check --queue QUEUE --json`; 404 (here None) where none has that name."""
    view = source.show_queue(queue)
    return None if view is None else QueuesView(queues=(view,), hosts=tuple(source.list_hosts())).write()


def list_hosts(source: Source) -> str:
    """The hosts that are asked about workers, as `hosts check --json`."""
    return HostsView(hosts=tuple(source.list_hosts())).write()


def list_heals(source: Source) -> str:
    """The latest 100 jobs that were put back or refused, the newest last, as `history --json` without `row`."""
    return HealsView(heals=source.look_back().heals).write()


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
