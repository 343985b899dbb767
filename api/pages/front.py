"""The page at `/` for browsers, of an API and of the router before several; programs get the same as JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..http.authentication import context_of
from .cookies import chosen_scheme
from .page import PageRequest
from .protection import page_headers
from .reference import DOCS
from .rendering import render


def is_browser(request: Request) -> bool:
    """Whether the client asks for a page: browsers name `text/html` first, and programs do not name it."""
    return request.headers.get("accept", "").startswith("text/html")


def front_page(request: Request, index: Any) -> Response:
    """What this service is, and where to go from here."""
    return PageRequest(request, DOCS, context_of(request), None).render("front.html", index=index)


def router_page(request: Request, *, status: int) -> Response:
    """What the router is and where the pages are; it has none of its own, since sessions are kept in each cell."""
    html = render("router.html", scheme=chosen_scheme(request) or "auto")
    return Response(html, status, page_headers(), "text/html; charset=utf-8")
