"""Rate limits, shared by all API processes through Redis (OptimalDial contract, "Rate limits").

A window is a minute of the wall clock. Its counters have the minute in their names, so that nothing is ever reset, and
expire by themselves. Every request is one round trip of at most a second, after which Redis counts as away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from sendoff.errors import RateLimited, Unavailable
from sendoff.metrics import RATE_LIMITS_SKIPPED
from sendoff.operations.authenticate import Principal
from sendoff.operations.runtime import Runtime
from sendoff.policy.addresses import check_url

PER_KEY = 60
PER_ORGANIZATION = 600

PINGS_PER_HOST = 600
"""Pings a minute to one host, whoever asks for them: as many as one organization may have sent, and not a multiple of
it for those who have several organizations."""

_WINDOW_SECONDS = 60
_KEPT_SECONDS = 2 * _WINDOW_SECONDS
_PATIENCE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


async def limit_writes(runtime: Runtime, principal: Principal) -> None:
    """Count a write of the key and of its organization. Raises RateLimited; lets it pass when Redis is away."""
    try:
        of_key, of_organization = await _count(
            runtime, [f"key:{principal.key_id}", f"organization:{principal.organization_id}"]
        )
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        return
    _refuse_above(PER_KEY, of_key, runtime)
    _refuse_above(PER_ORGANIZATION, of_organization, runtime)


async def limit_pings(runtime: Runtime, url: str) -> None:
    """Count a ping to the URL's host. Raises UnsafeUrl, RateLimited, and Unavailable when Redis is away.

    It is we who would send the traffic, to somebody who has not asked for it: uncounted, it is not sent.
    """
    host = check_url(url, runtime.addresses).host
    try:
        (of_host,) = await _count(runtime, [f"pings:{host}"])
    except Unavailable as error:
        raise Unavailable("The endpoint cannot be pinged at the moment; try again in a few seconds.") from error
    _refuse_above(PINGS_PER_HOST, of_host, runtime)


async def _count(runtime: Runtime, names: Sequence[str]) -> list[int]:
    """What the counters of this minute stand at, this request included."""
    minute = int(runtime.clock.now().timestamp()) // _WINDOW_SECONDS
    pipeline = runtime.redis.pipeline(transaction=False)
    for name in names:
        key = f"sendoff:limit:{name}:{minute}"
        pipeline.incr(key)
        pipeline.expire(key, _KEPT_SECONDS)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answers = await pipeline.execute()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis cannot be reached: {type(error).__name__}") from error
    return [int(answer) for answer in answers[::2]]


def _refuse_above(limit: int, observed: int, runtime: Runtime) -> None:
    if observed > limit:
        left = _WINDOW_SECONDS - int(runtime.clock.now().timestamp()) % _WINDOW_SECONDS
        raise RateLimited(limit=limit, observed=observed, retry_after_seconds=left)
