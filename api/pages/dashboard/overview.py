"""The first page: is all well, and if not, is it us or a receiver?"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from starlette.responses import Response

from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.statistics import StatisticsQuery, get_statistics

from ...health import find_readiness
from ...operator.overview import OverviewView
from ..charts import Chart, charts_of
from ..page import PageRequest
from .failures import find_failures
from .surface import BASE, DASHBOARD

RANGES = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""What charts may show, by the name in the query."""

DEFAULT_RANGE = "24h"
_GROUPS = 10


async def show(page: PageRequest) -> Response:
    readiness, overview, failures, charts = await asyncio.gather(
        find_readiness(page.request.app.state, page.context),
        get_overview(page.context),
        find_failures(page, limit=_GROUPS),
        find_charts(page),
    )
    return page.render(
        "dashboard/overview.html",
        overview=OverviewView.of(overview),
        readiness=readiness,
        failures=[one for one in failures if one.mute is None],
        muted=sum(one.mute is not None for one in failures),
        charts=charts,
        range=chosen_range(page),
        ranges=list(RANGES),
    )


def chosen_range(page: PageRequest) -> str:
    """The name of the time that charts show."""
    chosen = page.query.get("range", DEFAULT_RANGE)
    return chosen if chosen in RANGES else DEFAULT_RANGE


async def find_charts(page: PageRequest, *, endpoint_id: str | None = None) -> list[Chart]:
    """Charts of one endpoint, or of the whole installation."""
    since = page.context.clock.now() - RANGES[chosen_range(page)]
    return charts_of(await get_statistics(page.context, StatisticsQuery(since=since, endpoint_id=endpoint_id)))


ROUTES = (DASHBOARD.get(BASE, show),)
