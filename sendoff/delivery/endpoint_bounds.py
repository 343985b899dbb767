"""A longer timeout and a cap of an endpoint's own: seen to in a transaction after a claim of deliveries for it.

The claim itself knows neither, so that other endpoints pay nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sendoff.context import Context
from sendoff.delivery.claims import Claim
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import deliveries


async def hold_to_bounds(context: Context, claims: Sequence[Claim], *, lease_token: str) -> tuple[set[str], set[str]]:
    """Extend the leases of claims whose attempts may take longer; release those beyond their endpoint's cap.

    Returns the ids of the deliveries that were released, and those of their endpoints that this claim alone fills:
    when an attempt of it ends, the next can be claimed. Endpoints that others have under way are not among these: two
    workers would claim and release in turns. The backlog comes back to them at its next poll.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        under_other_leases = await _count_under_other_leases(tx, claims, lease_token=lease_token, now=now)
        beyond = _beyond_caps(claims, under_other_leases)
        released = {claimed.delivery.id for claimed in beyond}
        if released:
            await deliveries.release(tx, sorted(released), lease_token=lease_token, now=now, held=True)
        leases: dict[str, datetime] = {}
        for claimed in claims:
            seconds = context.settings.lease_for(claimed.endpoint.timeout_seconds or 0)
            if seconds > context.settings.lease_seconds and claimed.delivery.id not in released:
                leases[claimed.delivery.id] = claimed.leased_until = now + timedelta(seconds=seconds)
        if leases:
            await deliveries.extend_leases(tx, leases, lease_token=lease_token)
    return released, {claimed.endpoint.id for claimed in beyond} - under_other_leases.keys()


async def _count_under_other_leases(
    tx: Transaction, claims: Sequence[Claim], *, lease_token: str, now: datetime
) -> Mapping[str, int]:
    """How many deliveries of the endpoints with a cap are under way under other leases.

    The endpoints' rows are locked, so that of two workers that claim together the last one goes on.
    """
    capped = {claimed.endpoint.id for claimed in claims if claimed.endpoint.max_in_flight is not None}
    if not capped:
        return {}
    await endpoints.find_many(tx, capped, lock=True)
    return await deliveries.count_in_flight(tx, capped, besides=lease_token, now=now)


def _beyond_caps(claims: Sequence[Claim], under_other_leases: Mapping[str, int]) -> list[Claim]:
    taken = Counter(under_other_leases)
    beyond: list[Claim] = []
    for claimed in claims:
        at_most = claimed.endpoint.max_in_flight
        taken[claimed.endpoint.id] += 1
        if at_most is not None and taken[claimed.endpoint.id] > at_most:
            beyond.append(claimed)
    return beyond
