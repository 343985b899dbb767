"""Bury: the open deliveries of an endpoint that is not sent to any more become dead letters, in small batches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from sendoff.context import Context
from sendoff.ids import new_id
from sendoff.maintenance.throttle import pause_after
from sendoff.policy.outcome import DeadLetterReason
from sendoff.policy.states import EndpointState, ReplayItemState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import dead_letters, deliveries, endpoints, replays
from sendoff.store.queries.dead_letters import Drain
from sendoff.store.queries.deliveries import OpenDelivery
from sendoff.store.queries.endpoints import Destination
from sendoff.store.tables import Endpoint

BURY_AT_ONCE = 200
"""Deliveries in one transaction; more would hold up those who record at the same time."""

_ENDPOINTS_AT_MOST = 1_000

_REASONS = {
    EndpointState.PAUSED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.DISABLED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.GONE: DeadLetterReason.ENDPOINT_GONE,
    EndpointState.DELETED: DeadLetterReason.ENDPOINT_DELETED,
}


def reason_for(endpoint: Endpoint | Destination) -> DeadLetterReason:
    """Why a delivery for an endpoint that is not active is given up."""
    return _REASONS[EndpointState(endpoint.state)]


async def drain_endpoint(context: Context, endpoint_id: str) -> bool:
    """Move what waits for an endpoint to the dead-letter store, at most BURY_AT_ONCE; whether nothing is left to do.

    An endpoint that is active again keeps what it has. Deliveries in flight at this moment are left to whoever sends
    them: their failure buries them, too.
    """
    async with context.database.write() as tx:
        # Locked: whoever switches it on waits for this batch. If another worker is at it, the rest is left to that one.
        endpoint = await endpoints.find_unless_locked(tx, endpoint_id)
        if endpoint is None or endpoint.state == EndpointState.ACTIVE:
            return True
        now = context.clock.now()
        batch = await deliveries.lock_waiting_of_endpoint(tx, endpoint_id, now=now, limit=BURY_AT_ONCE)
        await bury(tx, batch, {endpoint.id: endpoint}, now=now)
        done = len(batch) < BURY_AT_ONCE
        if done:
            await endpoints.mark_buried(tx, endpoint_id)
    return done


async def drain_inactive_endpoints(context: Context) -> None:
    """Bury what waits for endpoints that stopped being active, with a breath between the batches."""
    async with context.database.read() as tx:
        closed = await endpoints.find_drain_due(tx, limit=_ENDPOINTS_AT_MOST)
    for endpoint_id in closed:
        done = False
        while not done:
            started = context.clock.monotonic()
            done = await drain_endpoint(context, endpoint_id)
            await asyncio.sleep(pause_after(context.clock.monotonic() - started))


async def bury(
    tx: Transaction, batch: Sequence[OpenDelivery], closed: Mapping[str, Endpoint | Destination], *, now: datetime
) -> None:
    """Close deliveries that the transaction holds, whose endpoints are all among the `closed` ones."""
    if not batch:
        return
    drained = [Drain(new_id(), delivery.id, reason_for(closed[delivery.endpoint_id])) for delivery in batch]
    await dead_letters.insert_for(tx, drained, now=now)
    await deliveries.mark_dead(tx, [delivery.id for delivery in batch])
    by_replay: dict[str, list[str]] = {}
    for delivery in batch:
        if delivery.replay_id is not None:
            by_replay.setdefault(delivery.replay_id, []).append(delivery.id)
    for replay_id, delivery_ids in by_replay.items():
        await replays.move_items(tx, replay_id, delivery_ids, to=ReplayItemState.FAILED)
