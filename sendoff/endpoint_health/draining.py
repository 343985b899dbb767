"""Dead-letter the open deliveries of endpoints that are not sent to any more, in small batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sendoff.ids import new_id
from sendoff.maintenance.throttle import pause_after
from sendoff.observability.metrics import DEAD_LETTERS, DELIVERIES
from sendoff.observability.statistics import Statistics
from sendoff.policy.states import CLOSE_ITEM, DeadLetterReason, EndpointState, ReplayItemState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import dead_letters, deliveries, replays
from sendoff.store.queries.traffic.dead_letters import Drain, InsertedLetter
from sendoff.store.queries.traffic.deliveries import OpenDelivery

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.hot.rows import ClaimedRow

DRAIN_BATCH = 200
"""Deliveries in one transaction; a larger batch keeps its locks longer, and recording waits for them."""

_ENDPOINTS_AT_MOST = 1_000

_REASONS_BY_STATE = {
    EndpointState.PAUSED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.DISABLED: DeadLetterReason.ENDPOINT_DISABLED,
    EndpointState.GONE: DeadLetterReason.ENDPOINT_GONE,
    EndpointState.DELETED: DeadLetterReason.ENDPOINT_DELETED,
}


async def drain_endpoint(context: Context, endpoint_id: str) -> bool:
    """Dead-letter at most DRAIN_BATCH deliveries that wait for an endpoint; return whether none is left.

    An endpoint that is active again keeps its deliveries. A delivery in flight is left to its worker: when the attempt
    fails, recording dead-letters it.
    """
    async with context.database.write() as tx:
        # Locked: switching the endpoint on waits for this batch. If another worker has the lock, it does the rest.
        endpoint = await endpoints.find_unless_locked(tx, endpoint_id)
        if endpoint is None or endpoint.state == EndpointState.ACTIVE:
            return True
        now = context.clock.now()
        batch = await deliveries.lock_waiting_of_endpoint(tx, endpoint_id, now=now, limit=DRAIN_BATCH)
        off = {endpoint.id: EndpointState(endpoint.state)}
        letters = await dead_letter_open_deliveries(tx, batch, off, now=now)
        done = len(batch) < DRAIN_BATCH
        if done:
            await endpoints.mark_drained(tx, endpoint_id)
    count_drained(context, letters)
    return done


async def drain_inactive_endpoints(context: Context) -> None:
    """Dead-letter what waits for endpoints that stopped being active, pausing after each batch."""
    async with context.database.look() as tx:
        drain_due = await endpoints.find_drain_due(tx, limit=_ENDPOINTS_AT_MOST)
    for endpoint_id in drain_due:
        done = False
        while not done:
            started = context.clock.monotonic()
            done = await drain_endpoint(context, endpoint_id)
            await asyncio.sleep(pause_after(context.clock.monotonic() - started))


async def dead_letter_claimed(context: Context, rows: Sequence[ClaimedRow], lease_token: str) -> None:
    """Dead-letter deliveries that were claimed and whose endpoints are not active.

    Should the process die before this, the lease ends and the next claim does it.
    """
    async with context.database.write() as tx:
        ours = await deliveries.lock_leased(tx, ((row.delivery.id, lease_token) for row in rows))
        batch = [
            OpenDelivery(row.delivery.id, row.endpoint.id, row.delivery.replay_id)
            for row in rows
            if (row.delivery.id, lease_token) in ours
        ]
        off = {row.endpoint.id: EndpointState(row.endpoint.state) for row in rows}
        letters = await dead_letter_open_deliveries(tx, batch, off, now=context.clock.now())
    count_drained(context, letters)


async def dead_letter_open_deliveries(
    tx: Transaction, batch: Sequence[OpenDelivery], off: Mapping[str, EndpointState], *, now: datetime
) -> list[InsertedLetter]:
    """Dead-letter deliveries that the transaction has locked; `off` has the state of each of their endpoints.

    Returns the dead letters, for `count_drained` after the commit.
    """
    if not batch:
        return []
    reasons = [_REASONS_BY_STATE[off[delivery.endpoint_id]] for delivery in batch]
    drained = [Drain(new_id(), delivery.id, reason) for delivery, reason in zip(batch, reasons, strict=True)]
    letters = await dead_letters.insert_for(tx, drained, now=now)
    await deliveries.mark_dead(tx, [delivery.id for delivery in batch])
    by_replay: dict[str, list[str]] = {}
    for delivery in batch:
        if delivery.replay_id is not None:
            by_replay.setdefault(delivery.replay_id, []).append(delivery.id)
    for replay_id, delivery_ids in by_replay.items():
        await replays.move_items(tx, replay_id, delivery_ids, CLOSE_ITEM, to=ReplayItemState.FAILED)
    return letters


def count_drained(context: Context, letters: Sequence[InsertedLetter]) -> None:
    """Count dead letters that were committed, and that no attempt has made."""
    count_dead_letters(letter.reason for letter in letters)
    Statistics.of(context).count_dead(letters, now=context.clock.now())


def count_dead_letters(reasons: Iterable[DeadLetterReason]) -> None:
    """Count dead letters that were committed, whatever made them."""
    for reason in reasons:
        DEAD_LETTERS.labels(reason).inc()
        DELIVERIES.labels("dead").inc()
