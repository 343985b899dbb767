"""What some endpoints have of their own: a retry schedule, a longer timeout, a cap of requests under way.

A claim knows neither of a longer timeout nor of the cap, so that other endpoints pay nothing: both are seen to in a
transaction after it, and only for claims that bring deliveries of such endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from sendoff.context import Context
from sendoff.policy.delivery.retry import RetrySchedule
from sendoff.settings import parse_duration
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import ClaimedRow
from sendoff.store.queries import endpoints
from sendoff.store.queries.endpoints import Destination
from sendoff.store.queries.traffic import deliveries


@dataclass(frozen=True, slots=True)
class BoundedClaims:
    """The result of holding claimed deliveries to their endpoints' own bounds."""

    leases: dict[str, datetime] = field(default_factory=dict)
    """When the leases of deliveries end that were extended, by the delivery's id."""
    released: set[str] = field(default_factory=set)
    """The deliveries that were given back, as held, since their endpoint has its cap under way."""
    waiting_endpoints: set[str] = field(default_factory=set)
    """Those of their endpoints that this claim alone fills: when an attempt of it ends, the next can be claimed."""


def timeout_of(context: Context, endpoint: Destination) -> float:
    """Seconds that an attempt may take, a token for it included."""
    own = endpoint.timeout_seconds
    return context.settings.attempt_timeout_seconds if own is None else own


def schedule_of(context: Context, endpoint: Destination) -> RetrySchedule:
    return context.schedule if endpoint.retry_schedule is None else _parse_schedule(endpoint.retry_schedule)


@lru_cache(maxsize=10_000)
def _parse_schedule(waits: tuple[str, ...]) -> RetrySchedule:
    return RetrySchedule(tuple(map(parse_duration, waits)))


def has_own_bounds(context: Context, endpoint: Destination) -> bool:
    """Whether `hold_to_bounds` has something to do for its deliveries."""
    outlasts_leases = timeout_of(context, endpoint) > context.settings.attempt_timeout_seconds
    return outlasts_leases or endpoint.max_in_flight is not None


async def hold_to_bounds(context: Context, rows: Sequence[ClaimedRow], *, lease_token: str) -> BoundedClaims:
    """Extend the leases of deliveries whose attempts may take longer; give back those beyond their endpoint's cap."""
    bounded = BoundedClaims()
    now = context.clock.now()
    async with context.database.write() as tx:
        await _release_beyond_caps(tx, rows, bounded, lease_token=lease_token, now=now)
        for row in rows:
            seconds = context.settings.lease_for(timeout_of(context, row.endpoint))
            if seconds > context.settings.lease_seconds and row.delivery.id not in bounded.released:
                bounded.leases[row.delivery.id] = now + timedelta(seconds=seconds)
        if bounded.leases:
            await deliveries.extend_leases(tx, bounded.leases, lease_token=lease_token)
    return bounded


async def _release_beyond_caps(
    tx: Transaction, rows: Sequence[ClaimedRow], bounded: BoundedClaims, *, lease_token: str, now: datetime
) -> None:
    """Count under the lock of the endpoints' rows, so that of two workers that claim together the last one goes on.

    Endpoints that others have under way are not `waiting_endpoints`: two workers would claim and give back in turns.
    The backlog comes back to them at its next poll.
    """
    capped = {row.endpoint.id for row in rows if row.endpoint.max_in_flight is not None}
    if not capped:
        return
    await endpoints.find_many(tx, capped, lock=True)
    others = await deliveries.count_in_flight(tx, capped, besides=lease_token, now=now)
    taken = Counter(others)
    for row in rows:
        most = row.endpoint.max_in_flight
        if most is None:
            continue
        taken[row.endpoint.id] += 1
        if taken[row.endpoint.id] > most:
            bounded.released.add(row.delivery.id)
            if not others.get(row.endpoint.id):
                bounded.waiting_endpoints.add(row.endpoint.id)
    if bounded.released:
        await deliveries.release(tx, sorted(bounded.released), lease_token=lease_token, now=now, held=True)
