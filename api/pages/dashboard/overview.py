"""The first page."""

from __future__ import annotations

from starlette.responses import Response

from ..page import Page
from .surface import BASE, DASHBOARD


async def show(page: Page) -> Response:
    return page.redirect(f"{BASE}/deliveries")


ROUTES = (DASHBOARD.get(BASE, show),)
