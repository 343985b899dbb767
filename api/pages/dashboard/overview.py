"""The first page: is all well, and if not, is it us or a receiver?"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from starlette.responses import Response

from sendoff.operators.installation.backlog import read_backlog
from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.reconciliation_runs import find_last_run
from sendoff.operators.installation.statistics import Bucket, StatisticsQuery, get_statistics

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

_BUCKETS_OF_TABLES = {
    "1h": Bucket.MINUTE,
    "6h": Bucket.FIVE_MINUTES,
    "24h": Bucket.HOUR,
    "7d": Bucket.HOUR,
    "30d": Bucket.DAY,
}
"""The time between two rows. Shorter, and the table makes its page larger than 100 kB."""

DEFAULT_RANGE = "24h"
_GROUPS = 10

_NEEDS = {
    "database": "Database",
    "writable": "Writes",
    "schema": "Schema",
    "redis": "Redis",
    "secrets": "Keys",
    "workers": "Workers",
}
"""What readiness is made of, by its name there."""


async def show(page: PageRequest) -> Response:
    readiness, overview, failures, charts, checked = await asyncio.gather(
        find_readiness(page.request.app.state, page.context),
        get_overview(page.context),
        find_failures(page, limit=_GROUPS),
        find_charts(page),
        find_last_run(page.context),
    )
    return page.render(
        "dashboard/overview.html",
        overview=OverviewView.of(overview),
        readiness=readiness,
        needs=_NEEDS,
        checked=checked,
        failures=[one for one in failures if one.mute is None],
        muted=sum(one.mute is not None for one in failures),
        charts=charts,
        range=chosen_range(page),
        ranges=list(RANGES),
        as_table=shows_table(page),
    )


def chosen_range(page: PageRequest) -> str:
    """The name of the time that charts show."""
    chosen = page.query.get("range", DEFAULT_RANGE)
    return chosen if chosen in RANGES else DEFAULT_RANGE


def shows_table(page: PageRequest) -> bool:
    """Whether the reader wants numbers in a table instead of charts."""
    return page.query.get("view") == "table"


async def find_charts(page: PageRequest, *, endpoint_id: str | None = None) -> list[Chart]:
    """Charts of one endpoint, or of the whole installation."""
    chosen = chosen_range(page)
    query = StatisticsQuery(
        since=page.context.clock.now() - RANGES[chosen],
        bucket=_BUCKETS_OF_TABLES[chosen] if shows_table(page) else None,
        endpoint_id=endpoint_id,
    )
    report = await get_statistics(page.context, query)
    return charts_of(report, None if endpoint_id else await read_backlog(page.context, report))


ROUTES = (DASHBOARD.get(BASE, show),)
