"""`GET /openapi.json`: the document as bytes, with an ETag.

Putting it together takes most of a second of computing, which the first request has a thread do: the event loop goes on
meanwhile, more slowly. A process of its own would take three times as long, most of it for imports. After that it is
bytes in memory.
"""

from __future__ import annotations

import asyncio
import hashlib

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/openapi.json"


class ServedDocument:
    """The document of this process's routes, which do not depend on settings. Built at most once."""

    def __init__(self) -> None:
        self._built: asyncio.Task[bytes] | None = None
        self._bytes = b""

    async def get(self) -> bytes:
        """Requests share the building; one that leaves does not end it for the others."""
        if not self._bytes:
            if self._built is None or self._built.done():
                self._built = asyncio.create_task(asyncio.to_thread(build))
            self._bytes = await asyncio.shield(self._built)
        return self._bytes


_document = ServedDocument()


async def document_bytes() -> bytes:
    """The document, built at the first call."""
    return await _document.get()


async def serve_document(request: Request) -> Response:
    """The document, or 304 when the client has it already."""
    content = await document_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


ROUTE = Route(PATH, serve_document, methods=["GET"], include_in_schema=False)


def build() -> bytes:
    """The document of every route."""
    from ..app import include_routes  # it imports this module
    from ..events.schemas import PLAIN_OPERATIONS
    from .document import document

    app = FastAPI(openapi_url=None)
    include_routes(app)
    return orjson.dumps(document(app, PLAIN_OPERATIONS))
