"""What the portal's pages share: session, layout, navigation, brand, notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from sendoff.accounts.page_sessions import SessionKind
from sendoff.accounts.portal_links import Capability
from sendoff.settings import Settings

from ...http.limits import count_request, limit_reads
from ..page import PageRequest, Surface
from ..protection import origin_in_policy
from .brand import Brand

BASE = "/portal"

ACTIONS_PER_MINUTE = 60
"""Forms and counts of one organization within a minute; 429 beyond it. Each can call a receiver or read many rows."""

MOST_CHOICES = 100
"""Endpoints that a form offers to choose from, the newest ones. More make the page larger than 100 kB."""

NAVIGATION = (
    ("", "Endpoints"),
    ("/deliveries", "Deliveries"),
    ("/event-types", "Event types"),
    ("/signatures", "Signature helper"),
)

NOTICES = {
    "saved": "The endpoint is saved.",
    "paused": "The endpoint is paused: nothing is sent to it until you resume it.",
    "resumed": "The endpoint is on again, and its failures are forgotten.",
    "deleted": "The endpoint is deleted.",
    "resent": "The delivery is being sent again.",
    "cancelled": "Nothing more is sent again; what is under way goes on.",
}
"""The sentence for each `notice` that a form's redirect names. Other names show nothing."""


def _mode(settings: Settings) -> str:
    return settings.portal


def _values(page: PageRequest) -> Mapping[str, Any]:
    options = page.found.options if page.found else {}
    return {
        "base": BASE,
        "frame_ancestors": page.context.settings.portal_frame_ancestors,
        "brand": page.context.service(Brand.of),
        "navigation": NAVIGATION,
        "notice": NOTICES.get(page.query.get("notice", "")),
        "return_url": options.get("return_url"),
        "query": page.query,
    }


def _form_targets(page: PageRequest) -> Sequence[str]:
    """Where *Leave* leads: browsers hold the redirect of a form to the page's policy as well."""
    origin = origin_in_policy(page.found.options.get("return_url", "")) if page.found else None
    return () if origin is None else (origin,)


def _scheme(page: PageRequest) -> str:
    """The link's colour scheme, or else the installation's."""
    chosen = page.found.options.get("theme") if page.found else None
    return chosen or page.context.settings.portal_scheme


PORTAL = Surface(
    kind=SessionKind.PORTAL,
    entrance=f"{BASE}/expired",
    layout="portal/layout.html",
    mode=_mode,
    frame_ancestors=lambda settings: settings.portal_frame_ancestors,
    form_targets=_form_targets,
    values=_values,
    scheme=_scheme,
)

Handler = Callable[[PageRequest], Awaitable[Response]]


def get(path: str, handler: Handler, needs: Capability = Capability.VIEW) -> Route:
    """A page to look at; the organization's are counted as its reads are."""

    async def counted(page: PageRequest) -> Response:
        limit_reads(page.context, organization_of(page))
        return await handler(page)

    return PORTAL.get(BASE + path, counted, needs=needs)


def post(path: str, handler: Handler, needs: Capability) -> Route:
    """A form's target; the organization's forms are counted."""

    async def counted(page: PageRequest) -> Response:
        await limit_actions(page)
        return await handler(page)

    return PORTAL.post(BASE + path, counted, needs=needs)


async def limit_actions(page: PageRequest) -> None:
    """Count what costs more than a page. Raises RateLimited."""
    window = await count_request(page.context, f"portal:{organization_of(page)}", limit=ACTIONS_PER_MINUTE)
    window.check(page.context)


def organization_of(page: PageRequest) -> str:
    """The organization that the session is bound to: the only one that its pages read or change."""
    organization_id = page.session.organization_id
    if organization_id is None:
        raise RuntimeError("a session of the portal has no organization")
    return organization_id
