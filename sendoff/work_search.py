"""What there is to do: one look at the database serves all loops of a process that ask every second."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.hot.rows import WorkAtHand

SEARCH_SECONDS = 1.0
"""Seconds between looks. Longer, and retries, held deliveries and operational events are found that much later; shorter
costs a statement, and wakes a process that has nothing to do."""

_FRESH_SECONDS = 0.5
"""An answer of this age still serves. The loops ask within milliseconds of each other; the sweep a round trip later."""


class WorkSearch:
    """Asks `HotStore.look_for_work`, and shares the answer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turn = asyncio.Lock()
        self._sweep_lag = timedelta(0)
        self._found: tuple[WorkAtHand, float, timedelta] | None = None
        """The last answer, when it was asked for, and the lag that it leaves out."""

    @classmethod
    def of(cls, context: Context) -> WorkSearch:
        """The process's own."""
        return context.service(cls)

    async def find(self, *, sweep_lag: timedelta | None = None) -> WorkAtHand:
        """What there was to do at most half a second ago. Raises errors.Unavailable.

        `sweep_lag`: deliveries that were accepted within this time may count as well or not. None takes any.
        """
        async with self._turn:
            if sweep_lag is not None:
                self._sweep_lag = sweep_lag
            if self._found is not None:
                work, asked_at, lag = self._found
                is_fresh = self._context.clock.monotonic() - asked_at < _FRESH_SECONDS
                if is_fresh and (sweep_lag is None or lag <= sweep_lag):
                    return work
            now, asked_at, lag = self._context.clock.now(), self._context.clock.monotonic(), self._sweep_lag
            work = await self._context.hot.look_for_work(now=now, enqueued_until=now - lag)
            self._found = work, asked_at, lag
            return work
