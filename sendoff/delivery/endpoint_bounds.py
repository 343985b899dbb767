"""A longer timeout and a cap of an endpoint's own: seen to in a transaction after a claim of deliveries for it.

The claim itself knows neither, so that other endpoints pay nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sendoff.context import Context
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import ClaimedRow
from sendoff.store.queries import endpoints
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


async def hold_to_bounds(context: Context, rows: Sequence[ClaimedRow], *, lease_token: str) -> BoundedClaims:
    """Extend the leases of deliveries whose attempts may take longer; give back those beyond their endpoint's cap."""
    bounded = BoundedClaims()
    now = context.clock.now()
    async with context.database.write() as tx:
        await _release_beyond_caps(tx, rows, bounded, lease_token=lease_token, now=now)
        for row in rows:
            seconds = context.settings.lease_for(row.endpoint.timeout_seconds or 0)
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
    under_other_leases = await deliveries.count_in_flight(tx, capped, besides=lease_token, now=now)
    taken = Counter(under_other_leases)
    for row in rows:
        most = row.endpoint.max_in_flight
        if most is None:
            continue
        taken[row.endpoint.id] += 1
        if taken[row.endpoint.id] > most:
            bounded.released.add(row.delivery.id)
            if not under_other_leases.get(row.endpoint.id):
                bounded.waiting_endpoints.add(row.endpoint.id)
    if bounded.released:
        await deliveries.release(tx, sorted(bounded.released), lease_token=lease_token, now=now, held=True)
