"""The pages: /metrics, /-/healthy, /-/ready, /-/reload and /."""

from collections.abc import Awaitable, Callable, Sequence
from html import escape
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.page import Format

from .negotiation import accepts_gzip, choose_format

NOT_CACHED = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
LIFECYCLE_IS_OFF = "Reloading over HTTP is off: set web.enable_lifecycle to true, or send SIGHUP.\n"
PAGE_HEADERS = {**NOT_CACHED, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def make_app(
    get_page: Callable[[Format, bool], bytes],
    *,
    version: str,
    find_unready: Callable[[], Sequence[str]],
    reload: Callable[[], Awaitable[Sequence[str] | None]] | None = None,
) -> Starlette:
    """Return the application; `get_page` takes whether to compress, `find_unready` says which queue is stale.

    `reload` returns what is wrong with the configuration, or None if it may not be reloaded from here.
    """
    landing = files(__package__).joinpath("landing.html").read_text("utf-8").replace("{version}", escape(version))

    async def metrics(request: Request) -> Response:
        page_format, content_type = choose_format(request.headers.get("accept", ""))
        is_compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {**NOT_CACHED, "Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(get_page(page_format, is_compressed), headers=headers)

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

    async def index(_: Request) -> Response:
        return HTMLResponse(landing, headers=PAGE_HEADERS)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", renew, methods=["POST"]),
        ]
    )
