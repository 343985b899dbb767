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
"""Seconds that the first run after a start waits at most, besides `place` times APART_SECONDS. With fewer, deliveries
do not come first: SQLite has one lock for both."""

APART_SECONDS = 2.0
"""Seconds between works that are done as often as each other. Less, and deliveries wait for all of them together, a
quarter of a second at the first time; more, and the last one comes that much later."""


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]], *, place: int = 0) -> None:
    """Run `work` every `seconds`, also after it failed, and `place` times APART_SECONDS after others as frequent."""
    shift = place * APART_SECONDS
    await asyncio.sleep(min(seconds, FIRST_AFTER_SECONDS) + shift)
    while True:
        try:
            await work()
        except Exception as error:
            _log.warning("housekeeping_failed", work=name, error=str(error))
        await asyncio.sleep(seconds_to_next(seconds, asyncio.get_running_loop().time() - shift))
