"""Every page, for the application."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import static_files
from .dashboard import deliveries, login, overview
from .portal import routes as portal

ROUTES: tuple[BaseRoute, ...] = (
    static_files.ROUTE,
    *login.ROUTES,
    *overview.ROUTES,
    *deliveries.ROUTES,
    *portal.ROUTES,
)
