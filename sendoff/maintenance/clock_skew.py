"""Clock skew: after the wall clock was set back, due times and leases that lie too far in the future are repaired.

Retries keep their time: how long they were to wait is not written down, and they are only later than they would be.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from sendoff.context import Context
from sendoff.settings import LONGEST_ENDPOINT_TIMEOUT_SECONDS
from sendoff.store.queries import uploads
from sendoff.store.queries.traffic import deliveries

_BATCH = 5_000

_log = structlog.get_logger(__name__)


async def repair_future_times(context: Context) -> int:
    """Make untried deliveries due, and end leases within a lease's time from now; return how many were repaired.

    Safe to run at any time and concurrently: it finds nothing unless a clock was set back. A worker keeps the lease
    that is shortened.
    """
    repaired = 0
    while True:
        now = context.clock.now()
        until = now + timedelta(seconds=context.settings.lease_for(LONGEST_ENDPOINT_TIMEOUT_SECONDS))
        async with context.database.write() as tx:
            found = await deliveries.repair_future_times(tx, now=now, until=until, limit=_BATCH)
            await uploads.repair_future_times(tx, until=until)
        repaired += found
        if found < _BATCH:
            break
    if repaired:
        _log.warning("future_times_repaired", deliveries=repaired)
    return repaired
