"""Rate limits, shared by all API processes through Redis (OptimalDial and Dialbird contracts, "Rate limits").

A window is a minute of the wall clock. Its counters have the minute in their names, so that nothing is ever reset, and
expire by themselves. Every request is one round trip of at most a second, after which Redis counts as away.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from sendoff.accounts.authentication import Principal
from sendoff.context import Context
from sendoff.errors import RateLimited, Unavailable
from sendoff.metrics import RATE_LIMITS_SKIPPED
from sendoff.rate_windows import WINDOW_SECONDS, count, refuse_above, window_of

PER_KEY = 60
PER_ORGANIZATION = 600

_log = structlog.get_logger(__name__)


async def limit_writes(context: Context, principal: Principal) -> None:
    """Count a write of the key and of its organization. Raises RateLimited; lets it pass when Redis is away."""
    now = context.clock.now()
    try:
        of_key, of_organization = await count(
            context, [f"key:{principal.key_id}", f"organization:{principal.organization_id}"], now
        )
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        return
    refuse_above(PER_KEY, of_key, now)
    refuse_above(PER_ORGANIZATION, of_organization, now)


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
        (observed,) = await count(context, [name], now)
    except Unavailable as error:
        RATE_LIMITS_SKIPPED.inc()
        _log.warning("rate_limit_skipped", error=error.message)
        observed = 0
    return Budget(limit, observed, (window_of(now) + 1) * WINDOW_SECONDS)
