"""Search: the header's box, which takes whatever a support ticket quotes."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.accounts.organizations import find_names
from sendoff.ids import is_event_id
from sendoff.operators.search import MOST_FOUND, Found, SearchedKind, SearchReport, SearchResult, search_briefly

from ...http.pagination import decode_cursor, encode_cursor
from ..page import PageRequest
from .surface import BASE, DASHBOARD

_PLACES = {
    Found.EVENT: "events",
    Found.DELIVERY: "deliveries",
    Found.DEAD_LETTER: "dead-letters",
    Found.ENDPOINT: "endpoints",
    Found.REPLAY: "replays",
    Found.ORGANIZATION: "organizations",
}


async def show(page: PageRequest) -> Response:
    """What was found; a single result is opened at once."""
    asked = page.query.get("q", "").strip()
    before = decode_cursor(page.query.get("cursor"), is_id=is_event_id)
    report = SearchReport(SearchedKind.TEXT, ())
    if asked:
        report = await search_briefly(page.context, asked, before=before)
    if len(report.results) == 1:
        return page.redirect(_path(report.results[0]))
    found = [(one, _path(one)) for one in report.results]
    names = await find_names(page.context, {one.organization_id for one, _ in found if one.organization_id})
    return page.render(
        "dashboard/search.html",
        asked=asked,
        report=report,
        found=found,
        names=names,
        most_found=MOST_FOUND,
        next_cursor=report.last_id and encode_cursor(report.last_id),
    )


def _path(found: SearchResult) -> str:
    if found.type is Found.KEY:
        return f"{BASE}/organizations/{found.organization_id}"
    return f"{BASE}/{_PLACES[found.type]}/{found.id}"


ROUTES = (DASHBOARD.get(f"{BASE}/search", show),)
