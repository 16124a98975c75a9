"""The files that pages need: style, script, icons. Their names carry a digest, so that they are kept for ever.

A browser that has one asks no more; whoever asks with the digest it has is told that nothing changed.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .negotiation import accepts_gzip

TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
)
FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """One file."""

    name: str
    media_type: str
    etag: str
    body: bytes
    gzipped: bytes


def load_shipped() -> Mapping[str, Shipped]:
    """Return the files by their own names."""
    found = {}
    for file in files(__package__).joinpath("static").iterdir():
        stem, _, ending = file.name.rpartition(".")
        if ending in TYPES:
            body = file.read_bytes()
            digest = sha256(body).hexdigest()[:12]
            found[file.name] = Shipped(
                name=f"{stem}.{digest}.{ending}",
                media_type=TYPES[ending],
                etag=f'"{digest}"',
                body=body,
                gzipped=gzip.compress(body, 9, mtime=0),
            )
    return MappingProxyType(found)


def answer(shipped: Shipped, request: Request, headers: Mapping[str, str]) -> Response:
    """Answer with a file, or that it has not changed."""
    headers = {**headers, "Cache-Control": FOR_EVER, "ETag": shipped.etag, "Vary": "Accept-Encoding"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {shipped.etag, "*"}:
        return Response(status_code=304, headers=headers)
    body = shipped.body
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"], body = "gzip", shipped.gzipped
    return Response(body, headers={**headers, "Content-Type": shipped.media_type})
