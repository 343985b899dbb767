"""The backlog: claims held deliveries, oldest first, as endpoints free capacity; endpoints take turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import islice

import structlog

from sendoff.clock import seconds_to_next
from sendoff.context import Context
from sendoff.delivery.claims import Claim, Claims
from sendoff.delivery.pipeline import claim_held
from sendoff.errors import Unavailable
from sendoff.policy.delivery.admission import Admission, Responsiveness
from sendoff.policy.delivery.replay_feed import DueTime
from sendoff.store.queries.traffic import deliveries
from sendoff.work_search import SEARCH_SECONDS, WorkSearch

_log = structlog.get_logger(__name__)

_ENDPOINTS_AT_ONCE = 1_000
"""Endpoints considered in one round, besides those that freed capacity since the last. More than a millisecond's worth
delays deliveries that arrive meanwhile."""

TICK_SECONDS = 0.01
"""Seconds between rounds, and between looks at what waits in memory. Shorter, and endpoints that free capacity together
do not share a claim; longer, and probes start in larger groups."""

REPLAY_SECONDS = 0.02
"""Seconds that a round waits at least for what a replay fed to fall due. Longer, and more is sent at once, which live
deliveries wait for; shorter costs a statement for each few deliveries."""


class BacklogClaimer:
    """Knows which endpoints have held deliveries, and claims them in turn until `stop`."""

    def __init__(
        self,
        context: Context,
        admission: Admission[Claim],
        claim: Callable[[Callable[[], Awaitable[Claims]], int], Awaitable[Claims]],
        wait_for_slot: Callable[[], Awaitable[int]],
    ) -> None:
        """`claim` makes a claim of at most the given number of deliveries, and starts or queues them."""
        self._context = context
        self._admission = admission
        self._claim = claim
        self._wait_for_slot = wait_for_slot
        self._with_held: dict[str, None] = {}  # the next one first
        self._freed: set[str] = set()
        self._due_times: list[DueTime] = []
        """When held deliveries fall due that replays fed, as a heap."""
        self._wakeup = asyncio.Event()
        self._stopping = False
        self._poll_at = float("-inf")
        self.task = asyncio.create_task(self._run())

    @property
    def is_idle(self) -> bool:
        """Whether no endpoint is known to have held deliveries."""
        return not self._with_held

    def add_endpoints(self, endpoint_ids: Iterable[str]) -> None:
        """Note that these endpoints may have held deliveries."""
        for endpoint_id in endpoint_ids:
            self._with_held.setdefault(endpoint_id)
            self.capacity_freed(endpoint_id)

    def add_due_times(self, times: Iterable[DueTime]) -> None:
        """Claim what a replay has just fed to endpoints when it falls due."""
        for one in times:
            heappush(self._due_times, one)
        self._wakeup.set()

    def capacity_freed(self, endpoint_id: str) -> None:
        """This endpoint may have capacity."""
        if endpoint_id in self._with_held:
            self._freed.add(endpoint_id)
            self._wakeup.set()

    def wake(self) -> None:
        """Some endpoint may have capacity."""
        self._wakeup.set()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stopping = True
        self._wakeup.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._wakeup.clear()
            began_at = loop.time()
            try:
                if began_at >= self._poll_at:
                    self._poll_at = began_at + seconds_to_next(SEARCH_SECONDS, began_at)
                    await self._find_endpoints()
                self._add_due_endpoints()
                await self._claim_round()
            except Unavailable as error:
                _log.warning("backlog_claim_failed", error=str(error))
                await asyncio.sleep(SEARCH_SECONDS)  # its endpoints wait again, and would be claimed for at once
            except Exception:
                _log.exception("backlog_claim_failed")
                await asyncio.sleep(SEARCH_SECONDS)
            if self._with_held:
                await self._wait_for_slot()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_next_round()):
                    await self._wakeup.wait()
            await asyncio.sleep(max(0.0, began_at + TICK_SECONDS - loop.time()))

    def _add_due_endpoints(self) -> None:
        """Consider those in this round of which a replay's deliveries fell due, without waking up for another one."""
        now = self._context.clock.now()
        while self._due_times and self._due_times[0].at <= now:
            endpoint_id = heappop(self._due_times).endpoint_id
            self._with_held.setdefault(endpoint_id)
            self._freed.add(endpoint_id)

    async def _find_endpoints(self) -> None:
        if not (await WorkSearch.of(self._context).find()).held:
            return
        async with self._context.database.look() as tx:
            found = await deliveries.find_endpoints_with_held(tx)
        for one in found:
            self._with_held.setdefault(one.id)
            responsiveness = Responsiveness.by_database(one.consecutive_failures, has_succeeded=one.has_succeeded)
            self._admission.seed(one.id, responsiveness)

    async def _claim_round(self) -> None:
        freed, self._freed = self._freed, set()
        first = dict.fromkeys(islice(self._with_held, _ENDPOINTS_AT_ONCE))
        chosen = first | dict.fromkeys(freed & self._with_held.keys())
        quotas = self._admission.allocate(chosen, self._context.clock.monotonic())
        for endpoint_id in chosen:  # before the claim, which does not see deliveries that are held from now on
            del self._with_held[endpoint_id]
        self._with_held |= dict.fromkeys(endpoint_id for endpoint_id in chosen if endpoint_id not in quotas)
        if not quotas:
            return
        with_more = list(quotas)
        try:
            claims = await self._claim(partial(claim_held, self._context, quotas), sum(quotas.values()))
            taken = Counter(claimed.endpoint.id for claimed in claims.to_send)
            with_more = [endpoint_id for endpoint_id, quota in quotas.items() if taken[endpoint_id] >= quota]
        finally:
            self.add_endpoints(with_more)

    def _seconds_to_next_round(self) -> float:
        soonest = self._admission.seconds_to_token(self._with_held, self._context.clock.monotonic())
        to_poll = max(0.0, self._poll_at - asyncio.get_running_loop().time())
        if self._due_times:
            to_due = (self._due_times[0].at - self._context.clock.now()).total_seconds()
            to_poll = min(to_poll, max(REPLAY_SECONDS, to_due))
        return to_poll if soonest is None else min(soonest, to_poll)
