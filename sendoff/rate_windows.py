"""Counters of a minute, shared by all processes through Redis.

A window is a minute of the wall clock. Its counters have the minute in their names, so nothing is ever reset, and they
expire by themselves. Counting is one round trip of at most a second; after that, Redis counts as unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.errors import RateLimited, Unavailable

WINDOW_SECONDS = 60
_KEPT_SECONDS = 2 * WINDOW_SECONDS
_PATIENCE_SECONDS = 1.0


async def count(context: Context, names: Sequence[str], now: datetime) -> list[int]:
    """What the counters of the minute of `now` stand at, this request included. Raises Unavailable without Redis.

    The caller reads the clock once for each request: at a minute's edge two readings would mean two windows.
    """
    window = window_of(now)
    pipeline = context.redis.pipeline(transaction=False)
    for name in names:
        key = f"sendoff:limit:{name}:{window}"
        pipeline.incr(key)
        pipeline.expire(key, _KEPT_SECONDS)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answers = await pipeline.execute()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis cannot be reached: {type(error).__name__}") from error
    return [int(answer) for answer in answers[::2]]


def window_of(now: datetime) -> int:
    """The number of the minute since 1970."""
    return int(now.timestamp()) // WINDOW_SECONDS


def refuse_above(limit: int, observed: int, now: datetime) -> None:
    """Raise RateLimited until the end of the minute if more than `limit` were counted."""
    if observed > limit:
        left = WINDOW_SECONDS - int(now.timestamp()) % WINDOW_SECONDS
        raise RateLimited(limit=limit, observed=observed, retry_after_seconds=left)
