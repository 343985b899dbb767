"""Rate limits, shared by all API processes through Redis (OptimalDial and Dialbird contracts, "Rate limits").

A window is a minute of the wall clock. Its counters have the minute in their names, so that nothing is ever reset, and
expire by themselves. Every request is one round trip of at most a second, after which Redis counts as away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network

import structlog
from redis.exceptions import RedisError

from sendoff.accounts.authentication import Principal
from sendoff.context import Context
from sendoff.errors import RateLimited, Unavailable
from sendoff.metrics import RATE_LIMITS_SKIPPED
from sendoff.policy.addresses import Target, check_url
from sendoff.wire.errors import WireError

PER_KEY = 60
PER_ORGANIZATION = 600

PINGS_PER_HOST = 600
"""Pings a minute to one host, and to one address behind however many names, whoever asks for them: as many as one
organization may have sent, and not a multiple of it for those who have several."""

_WINDOW_SECONDS = 60
_KEPT_SECONDS = 2 * _WINDOW_SECONDS
_PATIENCE_SECONDS = 1.0
_LOOK_UP_SECONDS = 2.0

_log = structlog.get_logger(__name__)


async def limit_writes(context: Context, principal: Principal) -> None:
    """Count a write of the key and of its organization. Raises RateLimited; lets it pass when Redis is away."""
    now = context.clock.now()
    try:
        of_key, of_organization = await _count(
            context, [f"key:{principal.key_id}", f"organization:{principal.organization_id}"], now
        )
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        return
    _refuse_above(PER_KEY, of_key, now)
    _refuse_above(PER_ORGANIZATION, of_organization, now)


async def limit_pings(context: Context, url: str) -> None:
    """Count a ping to the URL's host. Raises UnsafeUrl, RateLimited, and Unavailable when Redis is away.

    It is we who would send the traffic, to somebody who has not asked for it: uncounted, it is not sent.
    """
    target = check_url(url, context.addresses)
    names = {f"pings:{target.host}", *(f"pings:{network}" for network in await _networks(context, target))}
    now = context.clock.now()
    try:
        counted = await _count(context, sorted(names), now)
    except Unavailable as error:
        raise Unavailable("The endpoint cannot be pinged at the moment; try again in a few seconds.") from error
    _refuse_above(PINGS_PER_HOST, max(counted), now)


async def _networks(context: Context, target: Target) -> set[str]:
    """The host's addresses, of IPv6 the /64; none when the ping will find out by itself why there is none."""
    try:
        addresses = await context.wire.check(target, timeout=_LOOK_UP_SECONDS)
    except WireError:
        return set()
    return {str(ip_network((address, 64 if address.version == 6 else 32), strict=False)) for address in addresses}


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

    def check(self, context: Context) -> None:
        """Raise RateLimited when more was spent than there was."""
        if self.observed > self.limit:
            left = max(1, self.resets_at - int(context.clock.now().timestamp()))
            raise RateLimited(limit=self.limit, observed=self.observed, retry_after_seconds=left)


async def spend(context: Context, name: str, *, limit: int) -> Budget:
    """The budget of a counter after this request; the whole of it when Redis is away and nothing can be counted."""
    now = context.clock.now()
    try:
        (observed,) = await _count(context, [name], now)
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        observed = 0
    return Budget(limit, observed, (_minute(now) + 1) * _WINDOW_SECONDS)


async def _count(context: Context, names: Sequence[str], now: datetime) -> list[int]:
    """What the counters of the minute of `now` stand at, this request included.

    The clock is read once for each request: at a minute's edge two readings would speak of two windows.
    """
    minute = _minute(now)
    pipeline = context.redis.pipeline(transaction=False)
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


def _minute(now: datetime) -> int:
    return int(now.timestamp()) // _WINDOW_SECONDS


def _refuse_above(limit: int, observed: int, now: datetime) -> None:
    if observed > limit:
        left = _WINDOW_SECONDS - int(now.timestamp()) % _WINDOW_SECONDS
        raise RateLimited(limit=limit, observed=observed, retry_after_seconds=left)
