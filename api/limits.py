"""Rate limits, shared by all API processes through Redis (OptimalDial and Dialbird contracts, "Rate limits").

A window is a minute of the wall clock. Its counters have the minute in their names, so that nothing is ever reset, and
expire by themselves. Every request is one round trip of at most a second, after which Redis counts as away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of a counter's minute; `resets_at` is its end in Unix seconds."""

    limit: int
    observed: int
    resets_at: int

    def headers(self) -> dict[str, str]:
        """The budget as every answer of the Dialbird surface carries it (Dialbird contract, "Rate limits")."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.observed)),
            "X-RateLimit-Reset": str(self.resets_at),
        }

    def check(self, runtime: Runtime) -> None:
        """Raise RateLimited when more was spent than there was."""
        if self.observed > self.limit:
            left = max(1, self.resets_at - int(runtime.clock.now().timestamp()))
            raise RateLimited(limit=self.limit, observed=self.observed, retry_after_seconds=left)


async def spend(runtime: Runtime, name: str, *, limit: int) -> Budget:
    """The budget of a counter after this request; the whole of it when Redis is away and nothing can be counted."""
    minute = _minute(runtime)
    try:
        (observed,) = await _count(runtime, [name])
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        observed = 0
    return Budget(limit, observed, (minute + 1) * _WINDOW_SECONDS)


async def _count(runtime: Runtime, names: Sequence[str]) -> list[int]:
    """What the counters of this minute stand at, this request included."""
    minute = _minute(runtime)
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


def _minute(runtime: Runtime) -> int:
    return int(runtime.clock.now().timestamp()) // _WINDOW_SECONDS


def _refuse_above(limit: int, observed: int, runtime: Runtime) -> None:
    if observed > limit:
        left = _WINDOW_SECONDS - int(runtime.clock.now().timestamp()) % _WINDOW_SECONDS
        raise RateLimited(limit=limit, observed=observed, retry_after_seconds=left)
