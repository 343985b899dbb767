"""Statistics in the database: what processes wrote is folded into sums, and sums have a retention."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sendoff.maintenance.throttle import pause_after
from sendoff.policy.statistics import KEPT_MINUTES, minute_of
from sendoff.store.queries.installation import statistics

if TYPE_CHECKING:
    from sendoff.context import Context

FOLD_SECONDS = 60.0
"""Seconds between folds. A fold costs the database about 0.2 ms for each endpoint in use, however much was counted
meanwhile; longer, and charts, which read what is not folded as well, take longer."""

PURGE_STATISTICS_SECONDS = 600.0
"""Seconds between purges. Longer, and sums are kept for longer than they are shown."""

FOLDED_AT_ONCE = 2_000
"""Rows that are summed in one transaction. More of them hold SQLite's only lock for longer."""

REMOVED_AT_ONCE = 1_000
"""Rows in one transaction. On SQLite all other writers wait for it, some ten milliseconds."""


async def fold_statistics(context: Context) -> int:
    """Add what processes wrote to the sums; return the number of increments. Safe in several processes at once."""
    folded = 0
    async with context.database.read() as tx:
        newest = await statistics.newest_increment(tx)
    while True:
        started = context.clock.monotonic()
        async with context.database.write() as tx:
            count = await statistics.fold(tx, newest=newest, limit=FOLDED_AT_ONCE)
        folded += count
        if count < FOLDED_AT_ONCE:
            return folded
        await asyncio.sleep(pause_after(context.clock.monotonic() - started))


async def purge_statistics(context: Context) -> int:
    """Remove sums that are past their time; return their number."""
    removed, now = 0, minute_of(context.clock.now())
    for span, kept in KEPT_MINUTES.items():
        count = REMOVED_AT_ONCE
        while count == REMOVED_AT_ONCE:
            started = context.clock.monotonic()
            async with context.database.write() as tx:
                count = await statistics.remove_old(tx, span=span, until=now - kept, limit=REMOVED_AT_ONCE)
            removed += count
            await asyncio.sleep(pause_after(context.clock.monotonic() - started))
    return removed
