"""Every page, for the application, and the answer where there is none."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..http.errors import NoSuchRoute, answer_error
from . import reference, static_files
from .dashboard import routes as dashboard
from .dashboard.surface import BASE as DASHBOARD_BASE
from .dashboard.surface import DASHBOARD
from .front import is_browser
from .portal import routes as portal
from .portal.surface import BASE as PORTAL_BASE
from .portal.surface import PORTAL

ROUTES: tuple[BaseRoute, ...] = (static_files.ROUTE, *reference.ROUTES, *dashboard.ROUTES, *portal.ROUTES)

_SURFACES = ((DASHBOARD_BASE, DASHBOARD), (PORTAL_BASE, PORTAL))


async def answer_framework_error(request: Request, error: HTTPException) -> Response:
    """What the framework refuses; a browser that asks for a page which does not exist gets one that says so."""
    if error.status_code == 404 and request.method in ("GET", "HEAD") and is_browser(request):
        for base, surface in _SURFACES:
            if request.url.path.startswith(f"{base}/"):
                return await surface.show_error(request, NoSuchRoute("There is no page at this address."))
    return await answer_error(request, error)
