"""Notices when the wall clock is set back, against the monotonic one."""

from __future__ import annotations

import asyncio

import structlog

from sendoff.clock import seconds_to_next
from sendoff.context import Context
from sendoff.maintenance.clock_skew import repair_future_times

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Seconds between two looks at the wall clock. A step back is repaired later by as much."""

SET_BACK_SECONDS = 1.0
"""A smaller step back is ordinary time synchronization and is ignored. A larger one delays retries by its length."""


async def watch_clock(context: Context) -> None:
    """Repair due times that lie too far ahead: at the start, and whenever the wall clock is set back."""
    offset = float("inf")
    while True:
        before, offset = offset, context.clock.now().timestamp() - context.clock.monotonic()
        if before - offset > SET_BACK_SECONDS:
            try:
                await repair_future_times(context)
            except Exception as error:
                _log.warning("clock_repair_failed", error=str(error))
                offset = before
        await asyncio.sleep(seconds_to_next(LOOK_SECONDS, asyncio.get_running_loop().time()))
