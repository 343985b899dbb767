"""Organizations and their API keys."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES
from sendoff.accounts.portal_links import NewPortalLink, create_portal_link
from sendoff.operators.installation.statistics import Bucket, StatisticsQuery, get_statistics
from sendoff.operators.queries import list_all_endpoints

from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.schemas import ListQuery
from ..page import PageRequest
from .surface import BASE, DASHBOARD

_ENDPOINTS = 50


async def show_list(page: PageRequest) -> Response:
    query = validate(ListQuery, page.filters)
    found = await organizations.page_organizations(
        page.context, limit=query.limit + 1, before=decode_cursor(query.cursor)
    )
    listed, cursor = split_page(found, query.limit, lambda one: one.id)
    return page.render("dashboard/organizations.html", rows=listed, next_cursor=cursor)


async def create(page: PageRequest) -> Response:
    form = await page.form()
    made = await organizations.create_organization(page.context, page.actor, name=form.get("name", ""), credits=None)
    return page.redirect(f"{BASE}/organizations/{made.id}", notice="organization-created")


async def show(page: PageRequest) -> Response:
    return await _show(page)


async def _show(page: PageRequest, *, key: str | None = None) -> Response:
    """The organization's page, with the key that was made just now, this once."""
    organization = await organizations.get_organization(page.context, page.parameter("organization_id"))
    query = StatisticsQuery(organization_id=organization.id, bucket=Bucket.HOUR)
    (day,) = (await get_statistics(page.context, query)).series
    return page.render(
        "dashboard/organization.html",
        organization=organization,
        keys=await organizations.list_keys(page.context, organization.id),
        endpoints=await list_all_endpoints(page.context, organization_id=organization.id, state=None, limit=_ENDPOINTS),
        day=day.totals,
        scopes=SCOPES,
        key=key,
    )


async def suspend(page: PageRequest) -> Response:
    return await _suspend(page, suspended=True)


async def resume(page: PageRequest) -> Response:
    return await _suspend(page, suspended=False)


async def _suspend(page: PageRequest, *, suspended: bool) -> Response:
    organization_id = page.parameter("organization_id")
    await organizations.suspend_organization(page.context, page.actor, organization_id, suspended=suspended)
    return page.redirect(f"{BASE}/organizations/{organization_id}", notice="suspended" if suspended else "resumed")


async def create_key(page: PageRequest) -> Response:
    pairs = await page.form_pairs()
    minted = await organizations.create_key(
        page.context,
        page.actor,
        organization_id=page.parameter("organization_id"),
        email=dict(pairs).get("email", ""),
        scopes=[value for name, value in pairs if name == "scope"],
    )
    return await _show(page, key=minted.key)


async def revoke_key(page: PageRequest) -> Response:
    organization_id = page.parameter("organization_id")
    await organizations.revoke_key(page.context, page.actor, page.parameter("key_id"))
    return page.redirect(f"{BASE}/organizations/{organization_id}", notice="revoked")


async def open_portal(page: PageRequest) -> Response:
    """Into the customers' portal of the organization, as its customers see it; the session ends with this one's key."""
    link = await create_portal_link(
        page.context,
        page.actor,
        NewPortalLink(),
        base_url="",  # on this host, whatever customers call it
        organization_id=page.parameter("organization_id"),
        key_id=page.session.key_id,
    )
    return page.redirect(link.url)


_ONE = f"{BASE}/organizations/{{organization_id}}"
ROUTES = (
    DASHBOARD.get(f"{BASE}/organizations", show_list),
    DASHBOARD.post(f"{BASE}/organizations", create),
    DASHBOARD.get(_ONE, show),
    DASHBOARD.post(f"{_ONE}/suspend", suspend),
    DASHBOARD.post(f"{_ONE}/resume", resume),
    DASHBOARD.post(f"{_ONE}/portal", open_portal),
    DASHBOARD.post(f"{_ONE}/keys", create_key),
    DASHBOARD.post(f"{_ONE}/keys/{{key_id}}/revoke", revoke_key),
)
