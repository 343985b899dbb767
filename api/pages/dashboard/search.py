"""Search: the header's box, which takes whatever a support ticket quotes."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.ids import is_event_id

from ..page import Page
from .surface import BASE, DASHBOARD


async def show(page: Page) -> Response:
    asked = page.query.get("q", "").strip()
    if is_event_id(asked):
        return page.redirect(f"{BASE}/events/{asked}")
    return page.redirect(f"{BASE}/deliveries")


ROUTES = (DASHBOARD.get(f"{BASE}/search", show),)
