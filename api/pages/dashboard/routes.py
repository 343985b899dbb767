"""The dashboard's pages."""

from __future__ import annotations

from starlette.routing import Route

from . import (
    alerts,
    dead_letters,
    deliveries,
    endpoints,
    events,
    failures,
    installation,
    login,
    organizations,
    overview,
    replays,
    search,
)

ROUTES: tuple[Route, ...] = (
    *login.ROUTES,
    *overview.ROUTES,
    *events.ROUTES,
    *deliveries.ROUTES,
    *dead_letters.ROUTES,
    *failures.ROUTES,
    *replays.ROUTES,
    *endpoints.ROUTES,
    *organizations.ROUTES,
    *alerts.ROUTES,
    *installation.ROUTES,
    *search.ROUTES,
)
