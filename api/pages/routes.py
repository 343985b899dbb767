"""Every page, for the application."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import static_files
from .dashboard import routes as dashboard
from .portal import routes as portal

ROUTES: tuple[BaseRoute, ...] = (static_files.ROUTE, *dashboard.ROUTES, *portal.ROUTES)
