"""What happens by the clock beside the sweeps: bury every second, tidy every minute, and so on.

Timed by the monotonic clock rather than by arq's cron, which stands still for an hour when the wall clock is set
back by one, and which needs Redis (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger(__name__)

BURY_SECONDS = 1.0
TIDY_SECONDS = 60.0
FIND_ORPHAN_FILES_SECONDS = 86_400.0


FIRST_AFTER_SECONDS = 10.0
"""Whoever starts has deliveries to see to first; on SQLite, housekeeping takes the lock that they need."""


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, that many seconds apart, also after it could not be done."""
    await asyncio.sleep(min(seconds, FIRST_AFTER_SECONDS))
    while True:
        try:
            await work()
        except Exception as error:
            _log.warning("put_off", work=name, error=str(error))
        await asyncio.sleep(seconds)
