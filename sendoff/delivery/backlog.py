"""The backlog: takes up held deliveries, the oldest first, as soon as their endpoint has room. Endpoints take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import structlog

from sendoff.context import Context
from sendoff.delivery.admission import AdmissionControl, bulk_share
from sendoff.delivery.pipeline import Claims, claim_held
from sendoff.delivery.prefetch import PrefetchBuffer
from sendoff.delivery.slots import Slots
from sendoff.delivery.waiting import wait_for
from sendoff.errors import Unavailable
from sendoff.store.queries import deliveries

_log = structlog.get_logger(__name__)

BACKLOG_POLL_SECONDS = 1.0
"""How often the held deliveries of all endpoints are looked for; those of this process's own are known at once."""

_ENDPOINTS_AT_ONCE = 1_000
"""Looked at in one round, which takes half a millisecond, besides those of which something was heard since the last."""

_SHORTEST_ROUND_SECONDS = 0.01

Start = Callable[[Claims, float], Awaitable[None]]


class BacklogClaimer:
    """Knows which endpoints have held deliveries, and claims them by turns until it is told to stop."""

    def __init__(
        self, context: Context, admission: AdmissionControl, lines: PrefetchBuffer, slots: Slots, start: Start
    ) -> None:
        """`start` takes what was claimed, and since when."""
        self._context = context
        self._admission = admission
        self._lines = lines
        self._slots = slots
        self._start = start
        self._pending_endpoints: dict[str, None] = {}  # whose turn is next is the first
        self._priority_endpoints: set[str] = set()
        self._wakeup = asyncio.Event()
        self._stopping = False
        self.task = asyncio.create_task(self._run())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known to be held."""
        return not self._pending_endpoints

    def look_for(self, endpoint_ids: Iterable[str]) -> None:
        """Deliveries are held for these endpoints, as far as somebody knows."""
        for endpoint_id in endpoint_ids:
            self._pending_endpoints.setdefault(endpoint_id)
            self._priority_endpoints.add(endpoint_id)
        self._wakeup.set()

    def wake(self) -> None:
        """There may be room for somebody."""
        self._wakeup.set()

    def capacity_freed(self, endpoint_id: str) -> None:
        """This endpoint has room again."""
        if endpoint_id in self._pending_endpoints:
            self._priority_endpoints.add(endpoint_id)
            self._wakeup.set()

    def stop(self) -> None:
        """End after the turns that are being taken."""
        self._stopping = True
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked_at = float("-inf")
        while not self._stopping:
            self._wakeup.clear()
            began_at = loop.time()
            try:
                if began_at - looked_at >= BACKLOG_POLL_SECONDS:
                    looked_at = began_at
                    async with self._context.database.read() as tx:
                        self._pending_endpoints |= dict.fromkeys(await deliveries.find_endpoints_with_held(tx))
                await self._claim_round()
            except Unavailable as error:
                _log.warning("held_put_off", error=str(error))
            except Exception:
                _log.exception("held_put_off")
            if self._pending_endpoints and not self._slots.free():
                await self._slots.acquire()
            else:
                await wait_for(self._wakeup, seconds=self._seconds_to_turn())
            # Alone, nobody waits; of many, the turns come together.
            await asyncio.sleep(max(0.0, began_at + _SHORTEST_ROUND_SECONDS - loop.time()))

    async def _claim_round(self) -> None:
        started = self._context.clock.monotonic()
        heard_of, self._priority_endpoints = self._priority_endpoints, set()
        chosen = dict.fromkeys(islice(self._pending_endpoints, _ENDPOINTS_AT_ONCE)) | dict.fromkeys(
            heard_of & self._pending_endpoints.keys()
        )
        in_line = {endpoint_id: self._lines.length(endpoint_id) for endpoint_id in chosen}
        at_most = bulk_share(self._slots.free())
        rooms = self._admission.allocate(in_line, at_most, started)
        for endpoint_id in in_line:  # before the claim: what is held from now on, it does not see
            del self._pending_endpoints[endpoint_id]
        self._pending_endpoints |= dict.fromkeys(endpoint_id for endpoint_id in in_line if endpoint_id not in rooms)
        if not rooms:
            return
        reserved = sum(rooms.values())
        self._slots.reserve(reserved)
        may_have_more = list(rooms)
        try:
            claims = await claim_held(self._context, rooms)
            taken = Counter(claimed.endpoint.id for claimed in claims.to_send)
            may_have_more = [endpoint_id for endpoint_id, room in rooms.items() if taken[endpoint_id] >= room]
            await self._start(claims, started)
            if reserved == at_most:
                self._wakeup.set()
        finally:
            self._pending_endpoints |= dict.fromkeys(may_have_more)
            self._slots.release(reserved)

    def _seconds_to_turn(self) -> float:
        soonest = self._admission.seconds_to_token(self._pending_endpoints, self._context.clock.monotonic())
        return BACKLOG_POLL_SECONDS if soonest is None else min(soonest, BACKLOG_POLL_SECONDS)
