"""Every route of the portal."""

from __future__ import annotations

from starlette.routing import BaseRoute

from . import brand, deliveries, endpoints, entrance, event_types, receivers, recovery, settings, signatures

ROUTES: tuple[BaseRoute, ...] = (
    brand.ROUTE,
    *entrance.ROUTES,
    *endpoints.ROUTES,
    *settings.ROUTES,
    *recovery.ROUTES,
    *deliveries.ROUTES,
    *event_types.ROUTES,
    *receivers.ROUTES,
    *signatures.ROUTES,
)
