"""Every page, for the application."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import reference, static_files
from .dashboard import routes as dashboard
from .portal import routes as portal

ROUTES: tuple[BaseRoute, ...] = (static_files.ROUTE, *reference.ROUTES, *dashboard.ROUTES, *portal.ROUTES)
