"""`GET /openapi.json`: the document as bytes, with an ETag.

Putting it together takes most of a second of computing, in one go. The first request has another process do it, so that
the event loop goes on meanwhile; after that it is bytes in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sendoff.errors import Unavailable

PATH = "/openapi.json"
_PATIENCE_SECONDS = 60.0
"""How long the other process may take; it takes 2 seconds on an idle machine."""


class ServedDocument:
    """The document of this process's routes, which do not depend on settings. Built at most once."""

    def __init__(self) -> None:
        self._built: asyncio.Task[bytes] | None = None
        self._bytes = b""

    async def get(self) -> bytes:
        """Requests share the building; one that leaves does not end it for the others."""
        if not self._bytes:
            if self._built is None or self._built.done():
                self._built = asyncio.create_task(_build())
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


async def _build() -> bytes:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __package__),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            content, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable("The document takes long to build; ask again.") from None
    if process.returncode:
        raise RuntimeError(f"the OpenAPI document cannot be built:\n{complaint.decode(errors='replace')}")
    return content
