"""After the wall clock was set back: what was to happen in a moment lies in the future, and is brought forward.

Retries keep their time: how long they were to wait is not written down, and they are only later than they would be.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from sendoff.operations.runtime import Runtime
from sendoff.store import deliveries, uploads

_BATCH = 5_000

_log = structlog.get_logger(__name__)


async def bring_forward(runtime: Runtime) -> int:
    """Make due what waits though it was never tried, and shorten leases that are longer than a lease; how many it was.

    Safe to run at any time, by several at once: it finds nothing unless a clock was set back. Whoever is at work under
    a lease that is shortened keeps it.
    """
    mended = 0
    while True:
        now = runtime.clock.now()
        until = now + timedelta(seconds=runtime.settings.lease_seconds)
        async with runtime.database.write() as tx:
            found = await deliveries.bring_forward(tx, now=now, until=until, limit=_BATCH)
            await uploads.bring_forward(tx, until=until)
        mended += found
        if found < _BATCH:
            break
    if mended:
        _log.warning("brought_forward", deliveries=mended)
    return mended
