"""Claims held deliveries, oldest first, as endpoints free capacity; round-robin across endpoints."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import structlog

from sendoff.context import Context
from sendoff.delivery.admission import AdmissionControl, bulk_share
from sendoff.delivery.capacity import PrefetchBuffer, Slots, wait_for
from sendoff.delivery.pipeline import Claims, claim_held
from sendoff.errors import Unavailable
from sendoff.store.queries import deliveries

_log = structlog.get_logger(__name__)

BACKLOG_POLL_SECONDS = 1.0
"""Seconds between queries for endpoints with held deliveries. Longer, and those held by other processes wait longer."""

_ENDPOINTS_AT_ONCE = 1_000
"""Endpoints considered in one round, which takes half a millisecond, besides those that changed since the last."""

_SHORTEST_ROUND_SECONDS = 0.01
"""Seconds that a round takes at least, so that endpoints which free capacity together share a claim."""

Start = Callable[[Claims, float], Awaitable[None]]


class BacklogClaimer:
    """Knows which endpoints have held deliveries, and claims them in turn until `stop`."""

    def __init__(
        self, context: Context, admission: AdmissionControl, prefetched: PrefetchBuffer, slots: Slots, start: Start
    ) -> None:
        """`start` is called with the claims and the time since when they are claimed."""
        self._context = context
        self._admission = admission
        self._prefetched = prefetched
        self._slots = slots
        self._start = start
        self._pending_endpoints: dict[str, None] = {}  # the next one first
        self._priority_endpoints: set[str] = set()
        self._wakeup = asyncio.Event()
        self._stopping = False
        self.task = asyncio.create_task(self._run())

    @property
    def is_idle(self) -> bool:
        """Whether no endpoint is known to have held deliveries."""
        return not self._pending_endpoints

    def add_endpoints(self, endpoint_ids: Iterable[str]) -> None:
        """Note that these endpoints may have held deliveries."""
        for endpoint_id in endpoint_ids:
            self._pending_endpoints.setdefault(endpoint_id)
            self._priority_endpoints.add(endpoint_id)
        self._wakeup.set()

    def wake(self) -> None:
        """Start a round: some endpoint may have capacity."""
        self._wakeup.set()

    def capacity_freed(self, endpoint_id: str) -> None:
        """This endpoint has capacity again."""
        if endpoint_id in self._pending_endpoints:
            self._priority_endpoints.add(endpoint_id)
            self._wakeup.set()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stopping = True
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        polled_at = float("-inf")
        while not self._stopping:
            self._wakeup.clear()
            began_at = loop.time()
            try:
                if began_at - polled_at >= BACKLOG_POLL_SECONDS:
                    polled_at = began_at
                    async with self._context.database.read() as tx:
                        self._pending_endpoints |= dict.fromkeys(await deliveries.find_endpoints_with_held(tx))
                await self._claim_round()
            except Unavailable as error:
                _log.warning("backlog_claim_failed", error=str(error))
            except Exception:
                _log.exception("backlog_claim_failed")
            if self._pending_endpoints and not self._slots.free():
                await self._slots.acquire()
            else:
                await wait_for(self._wakeup, seconds=self._seconds_to_next_round())
            await asyncio.sleep(max(0.0, began_at + _SHORTEST_ROUND_SECONDS - loop.time()))

    async def _claim_round(self) -> None:
        started = self._context.clock.monotonic()
        priority, self._priority_endpoints = self._priority_endpoints, set()
        chosen = dict.fromkeys(islice(self._pending_endpoints, _ENDPOINTS_AT_ONCE)) | dict.fromkeys(
            priority & self._pending_endpoints.keys()
        )
        prefetched = {endpoint_id: self._prefetched.length(endpoint_id) for endpoint_id in chosen}
        at_most = bulk_share(self._slots.free())
        quotas = self._admission.allocate(prefetched, at_most, started)
        for endpoint_id in prefetched:  # before the claim, which does not see deliveries that are held from now on
            del self._pending_endpoints[endpoint_id]
        self._pending_endpoints |= dict.fromkeys(endpoint_id for endpoint_id in prefetched if endpoint_id not in quotas)
        if not quotas:
            return
        reserved = sum(quotas.values())
        self._slots.reserve(reserved)
        unfinished = list(quotas)
        try:
            claims = await claim_held(self._context, quotas)
            taken = Counter(claimed.endpoint.id for claimed in claims.to_send)
            unfinished = [endpoint_id for endpoint_id, quota in quotas.items() if taken[endpoint_id] >= quota]
            await self._start(claims, started)
            if reserved == at_most:
                self._wakeup.set()
        finally:
            self._pending_endpoints |= dict.fromkeys(unfinished)
            self._slots.release(reserved)

    def _seconds_to_next_round(self) -> float:
        soonest = self._admission.seconds_to_token(self._pending_endpoints, self._context.clock.monotonic())
        return BACKLOG_POLL_SECONDS if soonest is None else min(soonest, BACKLOG_POLL_SECONDS)
