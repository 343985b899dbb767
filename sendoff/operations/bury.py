"""Bury: the open deliveries of an endpoint that is not sent to any more become dead letters, in small batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendoff.ids import new_id
from sendoff.operations.runtime import Runtime
from sendoff.policy.outcome import DeadLetterReason
from sendoff.policy.states import EndpointState, ReplayItemState
from sendoff.store import dead_letters, deliveries, endpoints, events, replays
from sendoff.store.database import Transaction
from sendoff.store.tables import Delivery, Endpoint

_BATCH = 500

_REASONS = {
    EndpointState.PAUSED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.DISABLED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.GONE: DeadLetterReason.ENDPOINT_GONE,
    EndpointState.DELETED: DeadLetterReason.ENDPOINT_DELETED,
}


def reason_for(endpoint: Endpoint) -> DeadLetterReason:
    """Why a delivery for an endpoint that is not active is given up."""
    return _REASONS[EndpointState(endpoint.state)]


async def bury_endpoint(runtime: Runtime, endpoint_id: str) -> int:
    """Move what waits for an endpoint to the dead-letter store, unless it is active again; how many.

    Deliveries in flight at this moment are left to whoever sends them: their failure buries them, too.
    """
    buried = 0
    while True:
        async with runtime.database.write() as tx:
            endpoint = await endpoints.find(tx, endpoint_id)
            if endpoint is None or endpoint.state == EndpointState.ACTIVE:
                return buried
            now = runtime.clock.now()
            batch = await deliveries.lock_waiting_of_endpoint(tx, endpoint_id, now=now, limit=_BATCH)
            await bury(tx, batch, {endpoint.id: endpoint}, now=now)
            if len(batch) < _BATCH:
                await endpoints.mark_buried(tx, endpoint_id)
        buried += len(batch)
        if len(batch) < _BATCH:
            return buried


async def bury(tx: Transaction, batch: Sequence[Delivery], closed: dict[str, Endpoint], *, now: datetime) -> None:
    """Close deliveries that the transaction holds, whose endpoints are all among the `closed` ones."""
    if not batch:
        return
    occurred = await events.find_many(tx, (delivery.event_id for delivery in batch))
    letters = [
        dead_letters.letter_for(
            delivery,
            identifier=new_id(),
            event_type=occurred[delivery.event_id].type,
            endpoint_url=closed[delivery.endpoint_id].url,
            reason=reason_for(closed[delivery.endpoint_id]),
            now=now,
        )
        for delivery in batch
    ]
    await dead_letters.insert_many(tx, letters)
    await deliveries.mark_dead(tx, [delivery.id for delivery in batch])
    await fail_replay_items(tx, batch)


async def fail_replay_items(tx: Transaction, batch: Sequence[Delivery]) -> None:
    """Tell the replays, on whose word the deliveries were open, that they failed."""
    by_replay: dict[str, list[str]] = {}
    for delivery in batch:
        if delivery.replay_id is not None:
            by_replay.setdefault(delivery.replay_id, []).append(delivery.id)
    for replay_id, delivery_ids in by_replay.items():
        await replays.move_items(tx, replay_id, delivery_ids, to=ReplayItemState.FAILED)
