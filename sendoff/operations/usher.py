"""The usher: takes up held deliveries, the oldest first, as soon as their endpoint has room. Endpoints take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import structlog

from sendoff.errors import Unavailable
from sendoff.operations.deliver import Claims, claim_held
from sendoff.operations.lines import Lines
from sendoff.operations.runtime import Runtime
from sendoff.operations.slots import Slots
from sendoff.operations.waiting import wait_for
from sendoff.policy.pacing import Pacer, most_of_bulk
from sendoff.store import deliveries

_log = structlog.get_logger(__name__)

LOOK_FOR_HELD_SECONDS = 1.0
"""How often the held deliveries of all endpoints are looked for; those of this process's own are known at once."""

_ENDPOINTS_AT_ONCE = 1_000
"""Looked at in one round, which takes half a millisecond, besides those of which something was heard since the last."""

_SHORTEST_ROUND_SECONDS = 0.01

Start = Callable[[Claims, float], Awaitable[None]]


class Usher:
    """Knows which endpoints have held deliveries, and claims them by turns until it is told to stop."""

    def __init__(self, runtime: Runtime, pacer: Pacer, lines: Lines, slots: Slots, start: Start) -> None:
        """`start` takes what was claimed, and since when."""
        self._runtime = runtime
        self._pacer = pacer
        self._lines = lines
        self._slots = slots
        self._start = start
        self._holders: dict[str, None] = {}  # whose turn is next is the first
        self._heard_of: set[str] = set()
        self._turn_came = asyncio.Event()
        self._stopping = False
        self.task = asyncio.create_task(self._run())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known to be held."""
        return not self._holders

    def look_for(self, endpoint_ids: Iterable[str]) -> None:
        """Deliveries are held for these endpoints, as far as somebody knows."""
        for endpoint_id in endpoint_ids:
            self._holders.setdefault(endpoint_id)
            self._heard_of.add(endpoint_id)
        self._turn_came.set()

    def wake(self) -> None:
        """There may be room for somebody."""
        self._turn_came.set()

    def tell_of_room(self, endpoint_id: str) -> None:
        """This endpoint has room again."""
        if endpoint_id in self._holders:
            self._heard_of.add(endpoint_id)
            self._turn_came.set()

    def stop(self) -> None:
        """End after the turns that are being taken."""
        self._stopping = True
        self._turn_came.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked_at = float("-inf")
        while not self._stopping:
            self._turn_came.clear()
            began_at = loop.time()
            try:
                if began_at - looked_at >= LOOK_FOR_HELD_SECONDS:
                    looked_at = began_at
                    async with self._runtime.database.read() as tx:
                        self._holders |= dict.fromkeys(await deliveries.find_endpoints_with_held(tx))
                await self._take_turns()
            except Unavailable as error:
                _log.warning("held_put_off", error=str(error))
            except Exception:
                _log.exception("held_put_off")
            if self._holders and not self._slots.free():
                await self._slots.wait_for_some()
            else:
                await wait_for(self._turn_came, seconds=self._seconds_to_turn())
            # Alone, nobody waits; of many, the turns come together.
            await asyncio.sleep(max(0.0, began_at + _SHORTEST_ROUND_SECONDS - loop.time()))

    async def _take_turns(self) -> None:
        started = self._runtime.clock.monotonic()
        heard_of, self._heard_of = self._heard_of, set()
        chosen = dict.fromkeys(islice(self._holders, _ENDPOINTS_AT_ONCE)) | dict.fromkeys(
            heard_of & self._holders.keys()
        )
        in_line = {endpoint_id: self._lines.length(endpoint_id) for endpoint_id in chosen}
        at_most = most_of_bulk(self._slots.free())
        rooms = self._pacer.share_out(in_line, at_most, started)
        for endpoint_id in in_line:  # before the claim: what is held from now on, it does not see
            del self._holders[endpoint_id]
        self._holders |= dict.fromkeys(endpoint_id for endpoint_id in in_line if endpoint_id not in rooms)
        if not rooms:
            return
        reserved = sum(rooms.values())
        self._slots.reserve(reserved)
        may_have_more = list(rooms)
        try:
            claims = await claim_held(self._runtime, rooms)
            taken = Counter(claimed.endpoint.id for claimed in claims.to_send)
            may_have_more = [endpoint_id for endpoint_id, room in rooms.items() if taken[endpoint_id] >= room]
            await self._start(claims, started)
            if reserved == at_most:
                self._turn_came.set()
        finally:
            self._holders |= dict.fromkeys(may_have_more)
            self._slots.give_back(reserved)

    def _seconds_to_turn(self) -> float:
        soonest = self._pacer.seconds_to_token(self._holders, self._runtime.clock.monotonic())
        return LOOK_FOR_HELD_SECONDS if soonest is None else min(soonest, LOOK_FOR_HELD_SECONDS)
