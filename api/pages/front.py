"""The page at `/` for browsers; programs get the same as JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..http.authentication import context_of
from .page import PageRequest
from .reference import DOCS


def is_browser(request: Request) -> bool:
    """Whether the client asks for a page: browsers name `text/html` first, and programs do not name it."""
    return request.headers.get("accept", "").startswith("text/html")


def front_page(request: Request, index: Any) -> Response:
    """What this service is, and where to go from here."""
    return PageRequest(request, DOCS, context_of(request), None).render("front.html", index=index)
