"""The first page: is all well, and if not, is it us or a receiver?"""

from __future__ import annotations

from starlette.responses import Response

from sendoff.operators.failures import list_failures
from sendoff.operators.overview import get_overview

from ...health import find_readiness
from ...operator.overview import OverviewView
from ..page import Page
from .dead_letters import replay_url
from .surface import BASE, DASHBOARD

_GROUPS = 10


async def show(page: Page) -> Response:
    readiness = await find_readiness(page.request.app.state, page.context)
    return page.render(
        "dashboard/overview.html",
        overview=OverviewView.of(await get_overview(page.context)),
        readiness=readiness,
        groups=await list_failures(page.context, limit=_GROUPS),
        replay_url=replay_url,
    )


ROUTES = (DASHBOARD.get(BASE, show),)
