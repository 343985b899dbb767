"""Ordered endpoints: when a delivery has ended, the next in the line becomes due.

A line stands still if a worker dies between the two; the sweeper finds such lines (docs/decisions/0025).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.store.hot.rows import ClaimedRow
from sendoff.store.queries.traffic import ordering

_log = structlog.get_logger(__name__)


async def advance(context: Context, endpoint_ids: Collection[str]) -> list[str]:
    """Make the first of each endpoint's line due and enqueue it; return the ids of those.

    If the database cannot be reached, a later sweep does it.
    """
    if not endpoint_ids:
        return []
    try:
        async with context.database.write() as tx:
            due = await ordering.advance(tx, endpoint_ids, now=context.clock.now())
    except Unavailable as error:
        _log.warning("line_not_advanced", endpoints=len(endpoint_ids), error=str(error))
        return []
    context.queue.enqueue_deliveries(due)
    return due


async def enter_line(context: Context, rows: Sequence[ClaimedRow], lease_token: str) -> None:
    """Send claimed deliveries to the line of their endpoint, which became ordered as they were accepted."""
    async with context.database.write() as tx:
        await ordering.enter_line(tx, [row.delivery.id for row in rows], lease_token=lease_token)
        due = await ordering.advance(tx, {row.endpoint.id for row in rows}, now=context.clock.now())
    context.queue.enqueue_deliveries(due)
