"""The pages: /metrics, /-/healthy, /-/ready, /-/reload; the status page, the JSON API and the documents."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter import clock
from exporter.page import Format

from . import api
from .metrics import METHODS, NOT_CACHED, PATH, Metrics
from .negotiation import accepts_gzip
from .pages import Pages
from .papers import Papers
from .rendering import Busy, Rendering
from .shipped import answer, load_shipped
from .source import Source
from .words import plain

LIFECYCLE_IS_OFF = "Reloading over HTTP is off: set web.enable_lifecycle to true, or send SIGHUP.\n"
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
PAGE_HEADERS: Final = {
    **NOT_CACHED,
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DATA_HEADERS: Final = {**NOT_CACHED, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
HTML: Final = "text/html; charset=utf-8"
LATER: Final = {"Retry-After": "1"}


def make_app(
    get_page: Callable[[Format, bool], bytes],
    *,
    find_page: Callable[[Format, bool], bytes | None],
    version: str,
    source: Source,
    papers: Papers,
    find_unready: Callable[[], Sequence[str]],
    reload: Callable[[], Awaitable[Sequence[str] | None]] | None = None,
) -> ASGIApp:
    """Return the application; `get_page` takes whether to compress, `find_unready` says which queue is stale.

    `find_page` is None where that takes long, which is then done by a thread that calls `get_page`.
    `reload` returns what is wrong with the configuration, or None if it may not be reloaded from here.
    """

    metrics = Metrics(find_page, get_page)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("Queuemedic is healthy.\n", headers=NOT_CACHED)

    async def ready(_: Request) -> Response:
        unready = find_unready()
        if not unready:
            return PlainTextResponse("Queuemedic is ready.\n", headers=NOT_CACHED)
        return PlainTextResponse("".join(f"{line}\n" for line in unready), status_code=503, headers=NOT_CACHED)

    async def renew(_: Request) -> Response:
        faults = await reload() if reload else None
        if faults is None:
            return PlainTextResponse(LIFECYCLE_IS_OFF, status_code=403, headers=NOT_CACHED)
        if not faults:
            return PlainTextResponse("The configuration was reloaded.\n", headers=NOT_CACHED)
        return PlainTextResponse("".join(f"{fault}\n" for fault in faults), status_code=500, headers=NOT_CACHED)

    app = Starlette(
        routes=[
            Route(PATH, metrics, methods=METHODS),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", renew, methods=["POST"]),
            *_Shown(source, papers, version=version).routes(),
        ],
        exception_handlers={HTTPException: _say_wrong},
    )
    app.router.redirect_slashes = False  # it would redirect to whatever host the request names

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        """Let scrapes pass by the framework, which would take as long again."""
        is_scrape = scope["path"] == PATH and scope["method"] in METHODS
        await (metrics if is_scrape else app)(scope, receive, send)

    return serve


class _Shown:
    """What is rendered: pages for people, JSON for programs, files for browsers."""

    def __init__(self, source: Source, papers: Papers, *, version: str) -> None:
        self._source = source
        self._papers = papers
        self._shipped = load_shipped()
        self._by_address = {one.name: one for one in self._shipped.values()}
        self._pages = Pages(source, self._shipped, version=version, now=clock.now)
        self._rendering = Rendering()

    def routes(self) -> list[Route]:
        """Return the routes."""
        lists = [Route(path, partial(self._list, render)) for path, render in api.LISTS.items()]
        return [
            Route("/", self._index),
            Route("/queues/{queue}", self._queue),
            *lists,
            Route(api.ATTEMPTS, self._attempts),
            Route("/static/{name}", self._static),
            Route("/docs/{path:path}", self._paper),
        ]

    async def _index(self, request: Request) -> Response:
        return await self._answer(request, self._pages.fleet, PAGE_HEADERS, HTML)

    async def _queue(self, request: Request) -> Response:
        name: str = request.path_params["queue"]
        found = await self._answer(request, lambda: self._pages.queue(name), PAGE_HEADERS, HTML)
        return found if found.status_code != HTTPStatus.NOT_FOUND else self._missing(f"No queue is named {plain(name)}")

    async def _list(self, render: Callable[[Source], str], request: Request) -> Response:
        return await self._answer(request, lambda: render(self._source), DATA_HEADERS, api.JSON)

    async def _attempts(self, request: Request) -> Response:
        name: str = request.path_params["queue"]
        found = await self._answer(request, lambda: api.show_attempts(self._source, name), DATA_HEADERS, api.JSON)
        if found.status_code != HTTPStatus.NOT_FOUND:
            return found
        detail = f"No queue is named {plain(name)!r}; {api.BASE}/queues lists them."
        return api.problem(404, "Not Found", detail, DATA_HEADERS)

    async def _static(self, request: Request) -> Response:
        file = self._by_address.get(request.path_params["name"])
        return answer(file, request, PAGE_HEADERS) if file else self._missing("There is no such file")

    async def _paper(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        if image := self._papers.find_image(path):
            return Response(image[0], headers={**PAGE_HEADERS, "Content-Type": image[1], "Cache-Control": "no-cache"})
        found = await self._answer(request, lambda: self._papers.render(path, self._pages.paper), PAGE_HEADERS, HTML)
        return found if found.status_code != HTTPStatus.NOT_FOUND else self._missing("There is no such document")

    async def _answer(
        self, request: Request, render: Callable[[], str | None], headers: Mapping[str, str], content_type: str
    ) -> Response:
        is_compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
        try:
            body = await self._rendering.get(request.scope["path"], render, is_compressed=is_compressed)
        except Busy:
            return PlainTextResponse("Too much is asked at once.\n", status_code=503, headers={**headers, **LATER})
        if body is None:
            return Response(status_code=404)
        headers = {**headers, "Content-Type": content_type, "Vary": "Accept-Encoding"}
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    def _missing(self, headline: str) -> Response:
        headers = {**PAGE_HEADERS, "Content-Type": HTML}
        return Response(self._pages.missing(headline), status_code=404, headers=headers)


async def _say_wrong(request: Request, error: Exception) -> Response:
    """Say that there is nothing at an address, or that it takes no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    path, status = quote(request.url.path), error.status_code
    title, headers = HTTPStatus(status).phrase, dict(error.headers or {})
    detail = {404: f"There is nothing at {path}.", 405: f"{path} takes {headers.get('Allow', 'GET')}."}.get(
        status, f"{error.detail}."
    )
    if path.startswith(f"{api.BASE}/"):
        return api.problem(status, title, detail, {**DATA_HEADERS, **headers})
    return PlainTextResponse(f"{title}: {detail}\n", status_code=status, headers={**DATA_HEADERS, **headers})
