"""Runs regular work besides the sweeps; `WorkerHost.start` lists it.

Timed by the monotonic clock. arq's cron stands still when the wall clock is set back, and needs Redis (decision 0002).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sendoff.clock import seconds_to_next

_log = structlog.get_logger(__name__)

DEAD_LETTER_RATE_SECONDS = 60.0
"""Seconds between two looks at how fast dead letters come."""

PURGE_SECONDS = 60.0
"""Seconds between two purges. With longer ones each has more to remove at once."""

FIND_ORPHAN_FILES_SECONDS = 86_400.0
"""Seconds between two searches for stored files without an upload, which list the whole storage."""


FIRST_AFTER_SECONDS = 10.0
"""The first run after a start waits at most this long, so that deliveries come first: SQLite has one lock for both."""


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` every `seconds`, also after it failed."""
    await asyncio.sleep(min(seconds, FIRST_AFTER_SECONDS))
    while True:
        try:
            await work()
        except Exception as error:
            _log.warning("housekeeping_failed", work=name, error=str(error))
        await asyncio.sleep(seconds_to_next(seconds, asyncio.get_running_loop().time()))
