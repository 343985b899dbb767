"""Notices when the wall clock is set back, against the monotonic one."""

from __future__ import annotations

import asyncio

import structlog

from sendoff.clock import Clock
from sendoff.context import Context
from sendoff.delivery.clock_skew import repair_future_times

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0

SET_BACK_SECONDS = 1.0
"""Clocks that are merely kept in time move by less than this at once."""


async def watch_clock(context: Context) -> None:
    """Bring forward what waits too long: at the start, for the clock may be another's, and whenever it is set back."""
    offset = float("inf")
    while True:
        before, offset = offset, _offset(context.clock)
        if before - offset > SET_BACK_SECONDS:
            try:
                await repair_future_times(context)
            except Exception as error:
                _log.warning("not_brought_forward", error=str(error))
                offset = before
        await asyncio.sleep(LOOK_SECONDS)


def _offset(clock: Clock) -> float:
    return clock.now().timestamp() - clock.monotonic()
