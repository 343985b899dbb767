"""Between queue and dispatcher: gathers the ids of jobs that arrive together, so that one claim serves them all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sendoff.policy.delivery.admission import CLAIM_BATCH_LIMIT, bulk_share

if TYPE_CHECKING:
    from sendoff.delivery.dispatcher import Dispatcher


class DeliveryIntake:
    """Submits deliveries to the dispatcher, one claim at a time, as the dispatcher has capacity."""

    def __init__(self, dispatcher: Dispatcher, *, is_bulk: bool = False) -> None:
        """`is_bulk`: take only a share of the free capacity at a time, so that single deliveries find some."""
        self._dispatcher = dispatcher
        self._is_bulk = is_bulk
        self._waiting: deque[tuple[Sequence[str], asyncio.Future[None]]] = deque()
        self._turn = asyncio.Lock()

    async def hand_over(self, delivery_ids: Sequence[str]) -> None:
        """Return when the dispatcher has taken them. Raises errors.Unavailable when the database cannot be reached.

        Callers that wait for another one's claim share the next one.
        """
        if not delivery_ids:
            return
        if not self._turn.locked():
            async with self._turn:
                is_alone = len(delivery_ids) == 1
                limit = 1 if is_alone else self._limit(await self._dispatcher.wait_for_capacity())
                await self._submit(list(dict.fromkeys(delivery_ids)), limit)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery_ids, done))
        async with self._turn:
            while not done.done():
                await self._submit_waiting()
        await done

    async def _submit_waiting(self) -> None:
        limit = self._limit(await self._dispatcher.wait_for_capacity())
        ids, callers = self._take(limit)
        error: Exception | None = None
        try:
            await self._submit(ids, limit)
        except asyncio.CancelledError:
            for caller in callers:
                caller.cancel()  # with the one whose turn it is; the sweeper finds what they leave
            raise
        except Exception as reason:  # the jobs that brought the ids end with it
            error = reason
        for caller in callers:
            if error is None and not caller.done():
                caller.set_result(None)
            elif error is not None and not caller.done():
                caller.set_exception(error)

    async def _submit(self, ids: Sequence[str], at_once: int) -> None:
        for start in range(0, len(ids), at_once):
            await self._dispatcher.submit(ids[start : start + at_once])

    def _limit(self, capacity: int) -> int:
        return max(1, bulk_share(capacity) if self._is_bulk else min(capacity, CLAIM_BATCH_LIMIT))

    def _take(self, limit: int) -> tuple[list[str], list[asyncio.Future[None]]]:
        """The ids of whole jobs, until there are `limit` or more."""
        ids: list[str] = []
        callers: list[asyncio.Future[None]] = []
        while self._waiting and len(ids) < limit:
            some, caller = self._waiting.popleft()
            ids += some
            callers.append(caller)
        return list(dict.fromkeys(ids)), callers
