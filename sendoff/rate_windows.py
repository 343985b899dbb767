"""Counters of a minute, shared by all processes through Redis.

A window is a minute of the wall clock. Its counters have the minute in their names, so nothing is ever reset, and they
expire by themselves. Requests that come while others are counted share the next round trip, of at most a second; after
that, Redis counts as unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.errors import RateLimited, Unavailable
from sendoff.turns import Grouping

WINDOW_SECONDS = 60
_KEPT_SECONDS = 2 * WINDOW_SECONDS
_PATIENCE_SECONDS = 1.0

_COUNTED_TOGETHER = 200
"""Requests that are counted in one round trip. With more, each waits longer for its own count."""


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

    return Grouping(count_all, most=_COUNTED_TOGETHER)


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
