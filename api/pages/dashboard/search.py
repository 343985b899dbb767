"""Search: the header's box, which takes whatever a support ticket quotes."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.operators.search import MOST_FOUND, Found, SearchedKind, SearchReport, SearchResult, search

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
    report = await search(page.context, asked) if asked else SearchReport(SearchedKind.TEXT, ())
    if len(report.results) == 1:
        return page.redirect(_path(report.results[0]))
    found = [(one, _path(one)) for one in report.results]
    return page.render("dashboard/search.html", asked=asked, report=report, found=found, most_found=MOST_FOUND)


def _path(found: SearchResult) -> str:
    if found.type is Found.KEY:
        return f"{BASE}/organizations/{found.organization_id}"
    return f"{BASE}/{_PLACES[found.type]}/{found.id}"


ROUTES = (DASHBOARD.get(f"{BASE}/search", show),)
