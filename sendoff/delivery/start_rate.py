"""The ramp: attempts for endpoints that are not known to answer start a few at a time.

As many as start together also time out together, and whoever does well waits behind both. An attempt that was answered
gives its start to the next one, so that what is held back is only that ever more are under way, not how many are made.
The more endpoints there are that owe an answer, the fewer start: hundreds may hang, and to try them all the time costs
as much as to deliver to others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from sendoff.delivery.token_bucket import TokenBucket

STARTS_PER_SECOND = 200
"""As long as few endpoints owe an answer."""

FEW_ENDPOINTS = 20

FEW_MORE, MANY_MORE = 5, 50
"""So many more endpoints that owe an answer, and half as many attempts start; twice as many more, and it is a third.
With few more, hundreds that time out after ten seconds come to rest at eleven starts a second, with 110 under way. With
many more, a few hundred are tried within seconds: those that did well elsewhere, of which nothing is known here yet."""

_AT_ONCE_SECONDS = 0.025  # of those, as many as come in it may start in the same moment
_TICK_SECONDS = 0.01


class StartRateLimiter:
    """Who waits for a start; endpoints take turns. `now`: monotonic seconds; `more`: FEW_MORE or MANY_MORE."""

    def __init__(self, now: Callable[[], float], *, more: int) -> None:
        self._now = now
        self._more = more
        self._starts = TokenBucket(STARTS_PER_SECOND, 0.0, float("-inf"), _AT_ONCE_SECONDS)
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # who is next is the first
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: Counter[str] = Counter()

    async def wait(self, endpoint_id: str) -> None:
        """Wait until an attempt of this endpoint may start; whoever does leaves again."""
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

    def leave(self, endpoint_id: str, *, answered: bool) -> None:
        """An attempt that started is over."""
        self._under_way[endpoint_id] -= 1
        if not self._under_way[endpoint_id]:
            del self._under_way[endpoint_id]
        self._set_rate()
        if answered:
            self._starts.tokens = min(self._starts.depth, self._starts.tokens + 1.0)
            self._start_some()

    def admit_all(self, endpoint_id: str) -> None:
        """The endpoint turned out to answer: nothing of it waits any more."""
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
    """Whether anybody still waited for it."""
    if start.done():
        return False
    start.set_result(None)
    return True
