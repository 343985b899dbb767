"""Style sheets and scripts, served by us under names that contain their content's hash.

A name never stands for other bytes, so browsers keep them for a year and never ask again.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PREFIX = "/static"

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_LENGTH = 16


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, as it is and compressed."""

    content: bytes
    compressed: bytes
    media_type: str


@cache
def static_url(name: str) -> str:
    """The path of a file below `static/`, such as `/static/pages.0123456789abcdef.css`."""
    return f"{PREFIX}/{_hashed_name(_FOLDER / name)}"


async def serve_static(request: Request) -> Response:
    """The file, cached without end; 404 for a name whose hash is not that of the content."""
    found = _files().get(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    compresses = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
        **({"Content-Encoding": "gzip"} if compresses else {}),
    }
    return Response(found.compressed if compresses else found.content, 200, headers, found.media_type)


ROUTE = Route(PREFIX + "/{name:path}", serve_static, methods=["GET"], include_in_schema=False)


@cache
def _files() -> dict[str, StaticFile]:
    paths = [path for path in _FOLDER.rglob("*") if path.suffix in _TYPES]
    return {_hashed_name(path): _read(path) for path in paths}


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, gzip.compress(content, mtime=0), _TYPES[path.suffix])


def _hashed_name(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:_HASH_LENGTH]
    return str(path.relative_to(_FOLDER).with_name(f"{path.stem}.{digest}{path.suffix}"))
