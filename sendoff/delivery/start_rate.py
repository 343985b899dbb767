"""Start rate: attempts for endpoints that are not known to answer start a few at a time.

Attempts that start together also time out together, and endpoints that answer wait behind both. An attempt that was
answered gives its start to the next one: the limit is on how many are outstanding, not on how many are made. The more
endpoints have not answered yet, the fewer attempts start.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from sendoff.delivery.admission import TokenBucket

STARTS_PER_SECOND = 200
"""Starts per second while at most FEW_ENDPOINTS have not answered yet."""

FEW_ENDPOINTS = 20

FEW_MORE, MANY_MORE = 5, 50
"""Start rate = STARTS_PER_SECOND ÷ (1 + excess/more), where excess is the number of endpoints under way above
FEW_ENDPOINTS. With FEW_MORE, hundreds that time out after ten seconds settle at eleven starts a second with 110 under
way. With MANY_MORE, a few hundred endpoints that are not known to this process yet are tried within seconds."""

_BURST_SECONDS = 0.025
"""Starts that accumulate within this time may happen at the same moment."""

_TICK_SECONDS = 0.01


class StartRateLimiter:
    """Queues attempts until they may start, round-robin across endpoints.

    `now` gives monotonic seconds; `more` is FEW_MORE or MANY_MORE.
    """

    def __init__(self, now: Callable[[], float], *, more: int) -> None:
        self._now = now
        self._more = more
        self._starts = TokenBucket(STARTS_PER_SECOND, 0.0, float("-inf"), _BURST_SECONDS)
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next one first
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: Counter[str] = Counter()

    async def wait(self, endpoint_id: str) -> None:
        """Wait until an attempt of this endpoint may start; call `release` when it is over."""
        self._starts.fill(self._now())
        if not self._waiting and self._starts.tokens >= 1.0:
            self._starts.tokens -= 1.0
        else:
            start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(endpoint_id, deque()).append(start)
            self._watch()
            await start
        self._under_way[endpoint_id] += 1
        self._set_rate()

    def release(self, endpoint_id: str, *, answered: bool) -> None:
        """An attempt that started is over; `answered` lets another start at once."""
        self._under_way[endpoint_id] -= 1
        if not self._under_way[endpoint_id]:
            del self._under_way[endpoint_id]
        self._set_rate()
        if answered:
            self._starts.tokens = min(self._starts.depth, self._starts.tokens + 1.0)
            self._start_some()

    def admit_all(self, endpoint_id: str) -> None:
        """The endpoint answers: start all of its waiting attempts."""
        for start in self._waiting.pop(endpoint_id, ()):
            _let_go(start)

    def _set_rate(self) -> None:
        self._starts.fill(self._now())
        self._starts.rate = STARTS_PER_SECOND / (1 + max(0, len(self._under_way) - FEW_ENDPOINTS) / self._more)

    def _watch(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._start_some()
        self._watch()

    def _start_some(self) -> None:
        self._starts.fill(self._now())
        while self._waiting and self._starts.tokens >= 1.0:
            endpoint_id, starts = self._waiting.popitem(last=False)
            self._starts.tokens -= _let_go(starts.popleft())
            if starts:
                self._waiting[endpoint_id] = starts


def _let_go(start: asyncio.Future[None]) -> bool:
    """Whether an attempt still waited for it."""
    if start.done():
        return False
    start.set_result(None)
    return True
