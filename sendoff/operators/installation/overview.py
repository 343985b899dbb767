"""The overview: is all well, what waits, which endpoints fail, and who works."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sendoff.operators.installation.statistics import rank_endpoints
from sendoff.operators.installation.workers import list_workers
from sendoff.store.queries.installation.overview import count_open

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sendoff.context import Context
    from sendoff.operators.installation.statistics import EndpointSums
    from sendoff.store.queries.installation.overview import OpenCounts
    from sendoff.store.tables import Worker


COUNTED_AT_MOST = 10_000
"""No count of the overview goes beyond this, and then it means this many or more: a page asks for it while it is open.
Ten thousand index entries take one to three milliseconds."""

ENDPOINTS_RANKED = 10
"""Endpoints in each ranking of the overview."""

RANKED_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Overview:
    """The installation at one moment."""

    at: datetime
    open: OpenCounts
    most_failing: Sequence[EndpointSums]
    """The endpoints with the most failed attempts in the last hour."""
    slowest: Sequence[EndpointSums]
    """Those whose attempts took longest on average in the last hour."""
    busiest: Sequence[EndpointSums]
    """Those with the most attempts in the last hour."""
    workers: Sequence[Worker]

    @property
    def oldest_due_seconds(self) -> float:
        """For how long the delivery that has been due for longest waits; 0 if none is due."""
        since = self.open.oldest_due_at
        return 0.0 if since is None else max(0.0, (self.at - since).total_seconds())


async def get_overview(context: Context) -> Overview:
    """The state of all organizations together. Its cost does not grow with the history."""
    now = context.clock.now()
    async with context.database.read() as tx:
        counts = await count_open(tx, now=now, at_most=COUNTED_AT_MOST)
    ranked = await rank_endpoints(
        context, orders=("failed_attempts", "duration", "attempts"), limit=ENDPOINTS_RANKED, within=RANKED_WITHIN
    )
    return Overview(
        now,
        counts,
        most_failing=ranked["failed_attempts"],
        slowest=ranked["duration"],
        busiest=ranked["attempts"],
        workers=await list_workers(context),
    )
