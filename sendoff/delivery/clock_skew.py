"""After the wall clock was set back: what was to happen in a moment lies in the future, and is brought forward.

Retries keep their time: how long they were to wait is not written down, and they are only later than they would be.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from sendoff.context import Context
from sendoff.store.queries import deliveries, uploads

_BATCH = 5_000

_log = structlog.get_logger(__name__)


async def repair_future_times(context: Context) -> int:
    """Make due what waits though it was never tried, and shorten leases that are longer than a lease; how many it was.

    Safe to run at any time, by several at once: it finds nothing unless a clock was set back. Whoever is at work under
    a lease that is shortened keeps it.
    """
    mended = 0
    while True:
        now = context.clock.now()
        until = now + timedelta(seconds=context.settings.lease_seconds)
        async with context.database.write() as tx:
            found = await deliveries.repair_future_times(tx, now=now, until=until, limit=_BATCH)
            await uploads.repair_future_times(tx, until=until)
        mended += found
        if found < _BATCH:
            break
    if mended:
        _log.warning("brought_forward", deliveries=mended)
    return mended
