"""Counters of a minute, shared by all processes through Redis.

A window is a minute of the wall clock. Its counters have the minute in their names, so nothing is ever reset, and they
expire by themselves. Requests that come while others are counted share the next round trip, of at most a second; after
that, Redis counts as unreachable, and a process may count alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import structlog
from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.errors import RateLimited, Unavailable
from sendoff.observability.metrics import RATE_LIMITS_SKIPPED
from sendoff.turns import Grouping

WINDOW_SECONDS = 60
"""Seconds over which requests are counted. The limits in settings and contracts are for a minute: they change with
it."""

_KEPT_SECONDS = 2 * WINDOW_SECONDS
_PATIENCE_SECONDS = 1.0

_COUNTED_TOGETHER = 200
"""Requests that are counted in one round trip. With more, each waits longer for its own count."""

_MOST_LOCAL_COUNTERS = 100_000
"""Counters that a process keeps. With fewer, a flood of addresses resets the counts of all sooner."""

_log = structlog.get_logger(__name__)


async def count(context: Context, names: Sequence[str], now: datetime) -> list[int]:
    """What the counters of the minute of `now` stand at, this request included. Raises Unavailable without Redis.

    The caller reads the clock once for each request: at a minute's edge two readings would mean two windows.
    """
    window = window_of(now)
    keys = [context.settings.redis_key(f"sendoff:limit:{name}:{window}") for name in names]
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):  # its group may wait for others'
            return await context.service(counting).ask(keys)
    except TimeoutError:
        raise Unavailable("Redis did not answer in time.") from None


async def count_even_without_redis(context: Context, names: Sequence[str], now: datetime) -> list[int]:
    """`count`; of this process alone while Redis is away, so that the limit then holds for each process by itself."""
    try:
        return await count(context, names, now)
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
    counters = context.service(_WithoutRedis.of)
    return [counters.count(name, now) for name in names]


def counting(context: Context) -> Grouping[Sequence[str], list[int]]:
    """For `context.service`: counts many requests in one round trip."""

    async def count_all(requests: Sequence[Sequence[str]]) -> Sequence[list[int]]:
        pipeline = context.redis.pipeline(transaction=False)
        for names in requests:
            for name in names:
                pipeline.incr(name)
                pipeline.expire(name, _KEPT_SECONDS)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answers = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis cannot be reached: {type(error).__name__}") from error
        counts = iter(answers[::2])
        return [[int(next(counts)) for _ in names] for names in requests]

    return Grouping(count_all, at_most=_COUNTED_TOGETHER)


class LocalCounters:
    """Counts by name within the current minute, in this process alone."""

    def __init__(self) -> None:
        self._window = 0
        self._counts: Counter[str] = Counter()
        self._most = 0

    @classmethod
    def of(cls, _context: Context) -> LocalCounters:
        return cls()

    def count(self, name: str, now: datetime) -> int:
        """What the counter stands at, this request included. All are reset when a minute ends, or too many are kept."""
        window = window_of(now)
        if window != self._window or len(self._counts) >= _MOST_LOCAL_COUNTERS:
            self._window, self._counts, self._most = window, Counter(), 0
        self._counts[name] += 1
        self._most = max(self._most, self._counts[name])
        return self._counts[name]

    def current(self, name: str, now: datetime) -> int:
        """What the counter stands at."""
        return self._counts[name] if window_of(now) == self._window else 0

    def most(self, now: datetime) -> int:
        """What the highest counter stands at."""
        return self._most if window_of(now) == self._window else 0


class _WithoutRedis(LocalCounters):
    """What would be counted in Redis, while it is away."""


def window_of(now: datetime) -> int:
    """The number of the minute since 1970."""
    return int(now.timestamp()) // WINDOW_SECONDS


def refuse_above(limit: int, observed: int, now: datetime) -> None:
    """Raise RateLimited until the end of the minute if more than `limit` were counted."""
    if observed > limit:
        raise limited_until_the_minute_ends(limit, observed, now)


def limited_until_the_minute_ends(limit: int, observed: int, now: datetime) -> RateLimited:
    """The error for a request beyond the `limit` of this minute; `observed` counts it."""
    left = WINDOW_SECONDS - int(now.timestamp()) % WINDOW_SECONDS
    return RateLimited(limit=limit, observed=observed, retry_after_seconds=left)
